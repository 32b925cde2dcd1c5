package settings

import (
	"testing"
	"time"

	"countersign/agent/policy"
	"countersign/protocol"
)

// TestDefaultPolicyLocksNothing beyond what the chips and the service do anyhow.
func TestDefaultPolicyLocksNothing(t *testing.T) {
	l := newEtc(t).mustRead(Options{})
	p := l.Locks
	if p.ClassFloor > protocol.C0 || p.Servers != nil || p.PINMinLength != 0 || p.Mute(MaxMute) != MaxMute ||
		!p.AllowsSurface(protocol.SurfaceCLI) || !p.AllowsKey("tpm") || !p.AllowsKey("piv") || p.AttestationRequired {
		t.Errorf("%+v", p)
	}
}

func TestPolicyAtItsEdges(t *testing.T) {
	e := newEtc(t)
	e.put(mainName, `[policy]
class_floor = "C3"
servers = ["*.example.org", "https://b.example"]
pin_min_length = 63
mute_max = "0s"
local_approvals = "prompt"
keys = ["piv"]
attestation_required = true
`)
	p := e.mustRead(Options{}).Locks
	if p.ClassFloor != protocol.C3 || p.PINMinLength != 63 || p.LocalApprovals != policy.InPrompts || !p.AttestationRequired || p.AllowsKey("tpm") || !p.AllowsKey("piv") ||
		p.Mute(MaxMute) != 0 || !p.Servers.AllowsURL("https://a.example.org:1") || p.Servers.AllowsURL("https://example.org") {
		t.Errorf("%+v", p)
	}
	e.put(mainName, "[policy]\npin_min_length = 6\nmute_max = \"24h\"\n")
	if p := e.mustRead(Options{}).Locks; !p.AllowsPIN([]byte("ééé")) || p.Mute(MaxMute) != 24*time.Hour {
		t.Errorf("%+v", p)
	}
}

func TestEffective(t *testing.T) {
	e := newEtc(t)
	main := e.put(mainName, "floor = \"C1\"\n")
	seen := map[string]Effective{}
	for _, s := range e.mustRead(Options{Flags: []Flag{{"tpm", "--tpm", "x"}}}).Effective() {
		seen[s.Key] = s
	}
	for key, want := range map[string]Effective{
		"floor":              {"floor", "C1", Origin{File: main, Line: 1}},
		"policy.class_floor": {"policy.class_floor", "C1", Origin{File: main, Line: 1}},
		"tpm":                {"tpm", "x", Origin{Flag: "--tpm"}},
		"piv":                {"piv", false, Origin{}},
	} {
		if seen[key] != want {
			t.Errorf("%s: %+v, want %+v", key, seen[key], want)
		}
	}
	if _, ok := seen["forbid_cli"]; ok {
		t.Error("an old name is shown that is not set")
	}
	if len(seen) != len(schemaOf(Settings{}).list)-1 {
		t.Errorf("%d settings are shown", len(seen))
	}
}
