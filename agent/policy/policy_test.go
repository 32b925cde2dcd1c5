package policy

import (
	"slices"
	"testing"
	"time"

	"countersign/protocol"
)

func TestZeroLocksNothing(t *testing.T) {
	var p Policy
	for _, s := range []string{protocol.SurfacePrompt, protocol.SurfaceTTY, protocol.SurfaceCLI} {
		if !p.AllowsSurface(s) {
			t.Errorf("%s is locked", s)
		}
	}
	if !p.AllowsKey("tpm") || !p.AllowsPIN([]byte("123456")) || p.Mute(time.Hour) != time.Hour ||
		!p.Servers.AllowsURL("https://anywhere.example") || !p.Servers.AllowsIssuer("https://anywhere.example") {
		t.Error("something is locked")
	}
}

func TestSurfaces(t *testing.T) {
	all := []string{protocol.SurfacePrompt, protocol.SurfaceTTY, protocol.SurfaceCLI, "", "root"}
	for where, want := range map[string][]string{
		Anywhere:    all,
		OnTerminals: {protocol.SurfacePrompt, protocol.SurfaceTTY},
		InPrompts:   {protocol.SurfacePrompt},
		"unknown":   {protocol.SurfacePrompt},
	} {
		for _, s := range all {
			if got := (Policy{LocalApprovals: where}).AllowsSurface(s); got != slices.Contains(want, s) {
				t.Errorf("%s, by %q: %v", where, s, got)
			}
		}
	}
}

func TestPINsAreCountedInCharacters(t *testing.T) {
	p := Policy{PINMinLength: 8}
	for pin, want := range map[string]bool{"1234567": false, "12345678": true, "éééé": false, "éééééééé": true, "\xff\xff\xff\xff\xff\xff\xff\xff": true} {
		if got := p.AllowsPIN([]byte(pin)); got != want {
			t.Errorf("%q: %v", pin, got)
		}
	}
}

func TestMute(t *testing.T) {
	none, hour, week := time.Duration(0), time.Hour, 7*24*time.Hour
	for _, c := range []struct {
		most *time.Duration
		want time.Duration
	}{{nil, 24 * time.Hour}, {&none, 0}, {&hour, time.Hour}, {&week, 24 * time.Hour}} {
		if got := (Policy{MuteMax: c.most}).Mute(24 * time.Hour); got != c.want {
			t.Errorf("%v: %v, want %v", c.most, got, c.want)
		}
	}
}

func TestKeys(t *testing.T) {
	p := Policy{Keys: []string{"tpm"}}
	if !p.AllowsKey("tpm") || p.AllowsKey("piv") || (Policy{Keys: []string{}}).AllowsKey("tpm") {
		t.Error("not the keys that are named, and no others")
	}
}
