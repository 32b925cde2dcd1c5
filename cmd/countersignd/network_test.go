package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"countersign/agent/settings"
	"countersign/ipc"
)

// asking is a configuration with a proxy that asks for a password.
func asking(file string) config {
	c := config{user: true}
	c.Network = settings.Network{Proxy: "http://proxy.example:3128", ProxyUser: "alice", ProxyPasswordFile: file}
	c.Origins = map[string]settings.Origin{keyProxyPassword: {File: "/etc/countersign/countersignd.toml", Line: 4}}
	return c
}

// TestProxyPasswordFile: one that is not as it must be is no password, and is told by
// its setting before a proxy asks.
func TestProxyPasswordFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	c := asking(file)
	self := uint32(os.Geteuid())
	write := func(text string, mode os.FileMode) func() error {
		return func() error {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				return err
			}
			return os.Chmod(file, mode)
		}
	}
	for _, bad := range []struct {
		name string
		make func() error
		want string
	}{
		{"missing", func() error { return nil }, "does not exist"},
		{"readable by everybody", write("sesame\n", 0o644), "can be read or replaced by others"},
		{"readable by its group", write("sesame\n", 0o640), "can be read or replaced by others"},
		{"writable by everybody", write("sesame\n", 0o602), "can be read or replaced by others"},
		{"empty", write("", 0o600), "is empty"},
		{"a line end", write("\r\n", 0o600), "is empty"},
		{"no password", write(strings.Repeat("x", maxSecret+1), 0o600), "is larger than"},
		{"a pipe", func() error {
			_ = os.Remove(file)
			return syscall.Mkfifo(file, 0o600)
		}, "is no file"},
	} {
		if err := bad.make(); err != nil {
			t.Fatal(err)
		}
		problems := c.secrets(self)
		if len(problems) != 1 || !strings.Contains(problems[0].Message, file+" "+bad.want) || problems[0].Key != keyProxyPassword || problems[0].Line != 4 {
			t.Errorf("%s: %+v", bad.name, problems)
		}
		password, err := c.proxyPassword(self)
		if err == nil || !password.Empty() || ipc.AsError(err).Code != ipc.CodeProxyAuth || !strings.Contains(ipc.AsError(err).Cure, "chmod 0600 "+file) {
			t.Errorf("%s: there is a password, or %v", bad.name, err)
		}
		if strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: its words are told: %v", bad.name, err)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := write("sesame\r\n", 0o600)(); err != nil {
		t.Fatal(err)
	}
	if password, err := c.proxyPassword(self); err != nil || string(password.Reveal()) != "sesame" {
		t.Errorf("a good one: %q, %v", password.Reveal(), err)
	}
	if problems := c.secrets(self); len(problems) > 0 {
		t.Errorf("a good one: %v", problems)
	}
	if err := c.network().Password(); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

// TestProxyPasswordOfACredential is told by the service, which alone sees it.
func TestProxyPasswordOfACredential(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	c := asking("")
	err := c.network().Password()
	if err == nil || !strings.Contains(err.Error(), "the credential countersign.proxy-password does not exist") {
		t.Errorf("without one: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, proxyPasswordName), []byte("sesame\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := c.network().Password(); err != nil {
		t.Errorf("with one: %v", err)
	}
	c.Network.ProxyUser = ""
	if err := c.network().Password(); err != nil {
		t.Errorf("a proxy that asks for none: %v", err)
	}
}

// TestCheckNamesThePasswordFile of whoever asks about a service of their own, and does
// not look at it with other eyes than the service's.
func TestCheckNamesThePasswordFile(t *testing.T) {
	dir := t.TempDir()
	file, password := filepath.Join(dir, "own.toml"), filepath.Join(dir, "password")
	text := "[network]\nproxy = \"http://proxy.example:3128\"\nproxy_user = \"alice\"\nproxy_password_file = \"" + password + "\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f := flags{user: true, file: file, state: dir, socket: filepath.Join(dir, "s"), check: true}
	c := f.checked()
	if c.OK || len(c.Errors) != 1 || c.Errors[0].Line != 4 || c.Errors[0].File != file || !strings.Contains(c.Errors[0].Message, "does not exist") {
		t.Errorf("without a file: %+v", c.Errors)
	}
	if err := os.WriteFile(password, []byte("sesame"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c = f.checked(); !c.OK {
		t.Errorf("with one: %+v", c.Errors)
	}
	data, err := json.Marshal(c)
	if err != nil || strings.Contains(string(data), "sesame") {
		t.Errorf("the password is told: %s, %v", data, err)
	}
}
