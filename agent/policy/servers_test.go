package policy

import (
	"slices"
	"testing"
)

func servers(t *testing.T, list ...string) Servers {
	t.Helper()
	s, err := ParseServers(list)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestServersThatAreNone(t *testing.T) {
	for _, list := range [][]string{
		{},
		{""},
		{"*", "a.example"},
		{"a.example:443"},
		{"http://a.example"},
		{"https://"},
		{"https://u@a.example"},
		{"https://a.example?x=1"},
		{"*.org"},
		{"*" + "a.example"},
		{"a.*.example"},
		{"*.*.example"},
		{"**.example.org"},
		{"*.127.0.0.1"},
		{"bücher.example"},
		{"a..example"},
		{"a.example/path"},
		{"a b"},
		{".example.org"},
		{"ok.example", "not ok"},
	} {
		if s, err := ParseServers(list); err == nil {
			t.Errorf("%q is taken for %v", list, s.Strings())
		}
	}
}

func TestEverywhere(t *testing.T) {
	s := servers(t, Everywhere)
	if !s.AllowsURL("https://a.example") || !slices.Equal(s.Strings(), []string{"*"}) {
		t.Error("* is not every server")
	}
}

func TestHosts(t *testing.T) {
	s := servers(t, "auth.example.org", "*.corp.example", "::1", "192.0.2.7", "Upper.Example.")
	for url, want := range map[string]bool{
		"https://auth.example.org":           true,
		"https://auth.example.org:8443/x":    true,
		"https://AUTH.example.org.":          true,
		"https://auth.example.org.evil.test": false,
		"https://xauth.example.org":          false,
		"https://x.auth.example.org":         false,
		"https://example.org":                false,
		"http://auth.example.org":            false,
		"https://auth.example.org@evil.test": false,
		"https://evil.test/auth.example.org": false,
		"https://a.corp.example":             true,
		"https://a.b.corp.example":           false,
		"https://corp.example":               false,
		"https://.corp.example":              false,
		"https://[::1]:8443":                 true,
		"https://[0:0:0:0:0:0:0:1]":          true,
		"https://[::2]":                      false,
		"https://192.0.2.7":                  true,
		"https://[::ffff:192.0.2.7]":         true,
		"https://upper.example":              true,
		"":                                   false,
		"::":                                 false,
	} {
		if got := s.AllowsURL(url); got != want {
			t.Errorf("%s as a place: %v", url, got)
		}
		if got := s.AllowsIssuer(url); got != want {
			t.Errorf("%s as a name: %v", url, got)
		}
	}
}

// TestIssuers: an entry that is a URL allows that name alone, at any port and
// path of its host.
func TestIssuers(t *testing.T) {
	s := servers(t, "https://auth.example.org:443/", "https://two.example:8443/tenant")
	for url, want := range map[string][2]bool{
		"https://auth.example.org":         {true, true},
		"https://Auth.Example.org/":        {true, true},
		"https://auth.example.org:8443":    {true, false},
		"https://auth.example.org/other":   {true, false},
		"https://two.example:8443/tenant":  {true, true},
		"https://two.example:8443/tenant/": {true, true},
		"https://two.example:8443/tenant2": {true, false},
		"https://two.example/tenant":       {true, false},
		"https://evil.test":                {false, false},
	} {
		if got := [2]bool{s.AllowsURL(url), s.AllowsIssuer(url)}; got != want {
			t.Errorf("%s: as a place and a name %v, want %v", url, got, want)
		}
	}
	if got := s.Strings(); !slices.Equal(got, []string{"https://auth.example.org:443/", "https://two.example:8443/tenant"}) {
		t.Errorf("shown as %q", got)
	}
}
