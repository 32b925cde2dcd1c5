package policy

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"countersign/protocol"
)

// Servers are servers that may be enrolled at, as ParseServers reads them.
type Servers []server

// server is one entry: a URL, or a host with any port.
type server struct {
	text string
	// issuer is the one URL that is meant, or "".
	issuer string
	// host is the entry's host. With wild it has any one label before it.
	host string
	wild bool
}

// Everywhere is the entry for every server.
const Everywhere = "*"

// ParseServers reads a list of hosts ("auth.example.org"), of hosts with any one
// label before ("*.example.org"), of issuers ("https://auth.example.org") or of
// Everywhere alone. An empty list is an error: nothing would be allowed, and it
// is what a template without a value becomes.
func ParseServers(list []string) (Servers, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("the list is empty and would allow no server: name some, or %q for all", Everywhere)
	}
	if slices.Equal(list, []string{Everywhere}) {
		return nil, nil
	}
	out := make(Servers, 0, len(list))
	for _, text := range list {
		s, err := parseServer(text)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func parseServer(text string) (server, error) {
	bad := func(why string) (server, error) { return server{}, fmt.Errorf("%.80q: %s", text, why) }
	if text == Everywhere {
		return bad("it means every server and stands alone")
	}
	if strings.Contains(text, "://") {
		u, err := url.Parse(strings.TrimSuffix(text, "/"))
		if err != nil || !protocol.ValidIssuer(u.String()) {
			return bad("an issuer is an https URL such as https://auth.example.org")
		}
		return server{text: text, issuer: normalURL(u.String()), host: hostOf(u)}, nil
	}
	name, wild := strings.CutPrefix(text, "*.")
	host := normalHost(name)
	if host == "" || wild && isAddress(host) || wild && !strings.Contains(host, ".") {
		return bad(`a server is a host such as auth.example.org, without a port; "*." for any one label before it; or an issuer such as https://auth.example.org`)
	}
	return server{text: text, host: host, wild: wild}, nil
}

// Strings are the entries as they were written.
func (s Servers) Strings() []string {
	if s == nil {
		return []string{Everywhere}
	}
	out := make([]string, len(s))
	for i, e := range s {
		out[i] = e.text
	}
	return out
}

// AllowsURL reports whether a device may talk to a URL: it is on the host of an
// entry.
func (s Servers) AllowsURL(text string) bool { return s.allow(text, server.hosts) }

// AllowsIssuer reports whether a server may call itself by a name: it is an entry,
// or on the host of an entry that names no URL.
func (s Servers) AllowsIssuer(text string) bool {
	return s.allow(text, func(e server, host string) bool {
		if e.issuer != "" {
			return e.issuer == normalURL(text)
		}
		return e.hosts(host)
	})
}

// allow reports whether an entry allows a URL, which is on host.
func (s Servers) allow(text string, entry func(e server, host string) bool) bool {
	if s == nil {
		return true
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" {
		return false
	}
	host := hostOf(u)
	return slices.ContainsFunc(s, func(e server) bool { return entry(e, host) })
}

func (e server) hosts(host string) bool {
	if !e.wild {
		return host != "" && host == e.host
	}
	label, rest, ok := strings.Cut(host, ".")
	return ok && label != "" && rest == e.host
}

func hostOf(u *url.URL) string { return normalHost(u.Hostname()) }

// normalURL has the parts that are the same however they are written, the same:
// the host's letters, its port where it is https's own, and a slash at the end.
func normalURL(text string) string {
	u, err := url.Parse(strings.TrimSuffix(text, "/"))
	if err != nil {
		return ""
	}
	host := hostOf(u)
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if p := u.Port(); p != "" && p != "443" {
		host += ":" + p
	}
	return "https://" + host + u.EscapedPath()
}

// normalHost is a host's name or address in its one spelling, or "" where it is
// neither.
func normalHost(s string) string {
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); err == nil {
		return a.Unmap().String()
	}
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return ""
		}
	}
	if len(s) > 253 {
		return ""
	}
	return s
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}
