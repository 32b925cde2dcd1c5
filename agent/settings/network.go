package settings

import (
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Direct is the value of network.proxy that is no proxy, whatever the environment says.
const Direct = "direct"

// Network is the table [network].
type Network struct {
	// Proxy is "" for what the environment says, Direct, or a URL.
	Proxy string `toml:"proxy"`
	// NoProxy are hosts that are reached without it.
	NoProxy []string `toml:"no_proxy"`
	// ProxyUser is who the proxy knows; "" where it does not ask.
	ProxyUser string `toml:"proxy_user"`
	// ProxyPasswordFile holds the password; "" is the systemd credential of that
	// name.
	ProxyPasswordFile string `toml:"proxy_password_file"`
}

// ProxyURL is the proxy, nil where there is none or the environment says.
func (n Network) ProxyURL() *url.URL {
	if n.Proxy == "" || n.Proxy == Direct {
		return nil
	}
	u, err := url.Parse(n.Proxy)
	if err != nil {
		return nil // which was refused
	}
	return u
}

// Exempt are the hosts as NO_PROXY has them.
func (n Network) Exempt() string { return strings.Join(n.NoProxy, ",") }

const (
	keyProxy     = "network.proxy"
	keyProxyUser = "network.proxy_user"
	keyProxyFile = "network.proxy_password_file"
	keyNoProxy   = "network.no_proxy"
)

func (r *reader) network() {
	n := r.loaded.Network
	named := n.Proxy != "" && n.Proxy != Direct
	if named {
		r.proxy(n.Proxy)
	}
	for _, s := range []struct {
		key  string
		used bool
		set  bool
	}{{keyNoProxy, named, len(n.NoProxy) > 0}, {keyProxyUser, named, n.ProxyUser != ""}, {keyProxyFile, n.ProxyUser != "", n.ProxyPasswordFile != ""}} {
		if s.set && !s.used {
			needed := keyProxy
			if s.key == keyProxyFile {
				needed = keyProxyUser
			}
			r.complain(s.key, "%s is set and not used: set %s", s.key, needed)
		}
	}
	if strings.ContainsAny(n.ProxyUser, ":\r\n") {
		r.complain(keyProxyUser, "%s holds a colon or a line end, which no proxy understands", keyProxyUser)
	}
	if n.ProxyPasswordFile != "" && !filepath.IsAbs(n.ProxyPasswordFile) {
		r.complain(keyProxyFile, "%s is an absolute path", keyProxyFile)
	}
	if i := slices.IndexFunc(n.NoProxy, func(host string) bool { return !isExemption(host) }); i >= 0 {
		r.complain(keyNoProxy, `%s is a list of hosts, each in quotes of its own, such as ["10.0.0.0/8", ".example.org", "192.0.2.7:8443"], and %.60q is none`, keyNoProxy, n.NoProxy[i])
	}
}

// isExemption reports whether a text is a host as NO_PROXY has them. What is none of
// them would be taken for a name that no server has, and exempt nothing.
func isExemption(text string) bool {
	if text == "*" {
		return true
	}
	if strings.Contains(text, "/") {
		_, err := netip.ParsePrefix(text)
		return err == nil
	}
	if _, err := netip.ParseAddr(text); err == nil {
		return true
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host = text
	} else if !isPort(port) {
		return false
	} else if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	name := strings.TrimPrefix(strings.TrimPrefix(host, "*"), ".")
	return name != "" && !strings.ContainsAny(name, "*,;:[]@ \t")
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

// proxy refuses what is no URL of a proxy. Where there may be a password in it, it shows
// nothing of the line.
func (r *reader) proxy(text string) {
	u, err := url.Parse(text)
	switch {
	case err == nil && u.User != nil:
		r.complain(keyProxy, "%s holds a user or a password, which every local user could read: put the user into %s, and the password into a file that %s names, or the credential countersign.proxy-password", keyProxy, keyProxyUser, keyProxyFile)
		r.problems[len(r.problems)-1].Text = ""
	case err != nil && strings.Contains(text, "@"):
		r.complain(keyProxy, "%s is no URL", keyProxy)
		r.problems[len(r.problems)-1].Text = ""
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.Port() != "" && !isPort(u.Port()), strings.Trim(u.Path, "/") != "", u.RawQuery != "", u.Fragment != "":
		r.complain(keyProxy, `%s is "http://HOST:PORT" or "https://HOST:PORT", "direct" for none, or "" for what HTTPS_PROXY and NO_PROXY of the service's environment say`, keyProxy)
	}
}
