package tokenserver_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"countersign/tokenserver"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/store/sqlite"
)

// build makes a server that is not run.
func build(t *testing.T, change func(*tokenserver.Config)) (*tokenserver.Server, error) {
	t.Helper()
	dir := t.TempDir()
	authority, err := pki.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	st, err := sqlite.Open(context.Background(), filepath.Join(dir, "server.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	c := tokenserver.Config{Store: st, PKI: authority, Listen: "127.0.0.1:0", DeviceListen: "127.0.0.1:0"}
	change(&c)
	s, err := tokenserver.New(t.Context(), c)
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

func TestConfigNamesTheServer(t *testing.T) {
	s, err := build(t, func(c *tokenserver.Config) {
		c.Listen, c.DeviceListen = "localhost:0", "[::1]:0"
		c.Issuer, c.DeviceURL = "https://sign.example", "https://devices.example/x"
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Issuer() != "https://sign.example" || s.DeviceURL() != "https://devices.example/x" || len(s.Pin()) != 32 {
		t.Errorf("issuer %s, device URL %s, pin %x", s.Issuer(), s.DeviceURL(), s.Pin())
	}
}

func TestConfigDeviceURLEndsInNoSlash(t *testing.T) {
	s, err := build(t, func(c *tokenserver.Config) { c.DeviceURL = "https://devices.example/x/" })
	if err != nil {
		t.Fatal(err)
	}
	if s.DeviceURL() != "https://devices.example/x" {
		t.Errorf("a device would call below %s", s.DeviceURL())
	}
}

func TestConfigRefused(t *testing.T) {
	for name, change := range map[string]func(*tokenserver.Config){
		"no host":        func(c *tokenserver.Config) { c.Listen = ":0" },
		"any host":       func(c *tokenserver.Config) { c.DeviceListen = "0.0.0.0:0" },
		"http issuer":    func(c *tokenserver.Config) { c.Issuer = "http://sign.example" },
		"long issuer":    func(c *tokenserver.Config) { c.Issuer = "https://" + strings.Repeat("a", 600) + ".example" },
		"no address":     func(c *tokenserver.Config) { c.Listen = "nonsense" },
		"unknown policy": func(c *tokenserver.Config) { c.Enrollment = enroll.Policy{Mode: "many"} },
		"no maximum":     func(c *tokenserver.Config) { c.Enrollment = enroll.Policy{Mode: enroll.ModeMultiple} },
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := build(t, change); err == nil {
				t.Error("taken")
			}
		})
	}
}
