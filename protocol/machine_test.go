package protocol_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/protocol"
)

func machineReport() protocol.MachineReport {
	return protocol.MachineReport{
		Agent: "v0.5.0", OS: "debian", OSVersion: "12", Kernel: "6.1.0-50-amd64", Chip: protocol.Chip{Vendor: "IFX", Firmware: "7.2.3.1"},
		Checks: []protocol.MachineCheck{{Code: "tpm", Status: protocol.CheckOK}, {Code: "clock", Status: protocol.CheckWarn}},
		Counts: protocol.MachineCounts{Users: 1, Active: 2, Revoked: 1, Decisions: 40},
		Policy: protocol.MachinePolicy{Hash: "sha256:ab", Floor: "C2"},
	}
}

func TestMachineReportIsReadAsItIsWritten(t *testing.T) {
	got, err := protocol.ParseMachineReport([]byte(mustJSON(machineReport())))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(machineReport(), got); diff != "" {
		t.Error(diff)
	}
}

func TestMachineReportRefusesTheRest(t *testing.T) {
	for name, spoil := range map[string]func(*protocol.MachineReport){
		"no agent":         func(r *protocol.MachineReport) { r.Agent = "" },
		"no system":        func(r *protocol.MachineReport) { r.OS = " " },
		"a long kernel":    func(r *protocol.MachineReport) { r.Kernel = strings.Repeat("k", 129) },
		"an odd chip":      func(r *protocol.MachineReport) { r.Chip.Model = "a\u202eb" },
		"a negative count": func(r *protocol.MachineReport) { r.Counts.Users = -1 },
		"a huge count":     func(r *protocol.MachineReport) { r.Counts.Decisions = 1 << 40 },
		"no status":        func(r *protocol.MachineReport) { r.Checks[0].Status = "" },
		"a check twice":    func(r *protocol.MachineReport) { r.Checks[1].Code = "tpm" },
		"words in a code":  func(r *protocol.MachineReport) { r.Checks[0].Code = "alice@example" },
		"many checks": func(r *protocol.MachineReport) {
			for i := range 200 {
				r.Checks = append(r.Checks, protocol.MachineCheck{Code: strings.Repeat("x", i%60) + "y", Status: "ok"})
			}
		},
		"no class": func(r *protocol.MachineReport) { r.Policy.Floor = "C9" },
	} {
		t.Run(name, func(t *testing.T) {
			r := machineReport()
			spoil(&r)
			_, err := protocol.ParseMachineReport([]byte(mustJSON(r)))
			checkRefusal(t, err)
		})
	}
	for name, doc := range map[string]string{
		"more than was agreed": strings.TrimSuffix(mustJSON(machineReport()), "}") + `,"user":"alice"}`,
		"half":                 mustJSON(machineReport())[:40],
		"nothing":              "",
		"no checks":            `{"agent":"a","os":"o"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := protocol.ParseMachineReport([]byte(doc))
			checkRefusal(t, err)
		})
	}
}

func FuzzParseMachineReport(f *testing.F) {
	f.Add([]byte(mustJSON(machineReport())))
	f.Add([]byte(`{"agent":"a","os":"o","chip":{},"checks":[],"counts":{"users":0,"active":0,"unconfirmed":0,"suspended":0,"revoked":0,"decisions":0},"policy":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := protocol.ParseMachineReport(data)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		checkClean(t, string(again))
		if twice, err := protocol.ParseMachineReport(again); err != nil || mustJSON(twice) != string(again) {
			t.Errorf("%s was accepted once, then %v", again, err)
		}
	})
}

// TestEKName holds the name to what OpenSSL and sha256sum make of a key.
func TestEKName(t *testing.T) {
	name := protocol.EKName([]byte("abc"))
	const want = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if name != want {
		t.Errorf("named %s", name)
	}
	colons := "SHA256:BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD"
	for _, text := range []string{want, strings.ToUpper(want), colons} {
		if got, err := protocol.ParseEKName(text); err != nil || got != want {
			t.Errorf("%s is %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "sha256:", want[7:], want + "00", want[:70], strings.Replace(want, "b", "g", 1)} {
		_, err := protocol.ParseEKName(text)
		checkRefusal(t, err)
	}
}

func FuzzParseEKName(f *testing.F) {
	f.Add(protocol.EKName(nil))
	f.Fuzz(func(t *testing.T, text string) {
		name, err := protocol.ParseEKName(text)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if again, err := protocol.ParseEKName(name); err != nil || again != name || len(name) != 71 {
			t.Errorf("%q is %q, then %q, %v", text, name, again, err)
		}
	})
}
