package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"countersign/agent/state"
	"countersign/hsm"
	"countersign/internal/testenv"
	"countersign/ipc"
)

// ran has a shell run a line in which programs of a name only tell their words, and
// returns these, a program a line.
func ran(t *testing.T, line, name string) []string {
	t.Helper()
	bin, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
	script := "#!/bin/sh\nprintf '[%s]' \"$@\" >>'" + log + "'\necho >>'" + log + "'\n"
	if err := testenv.WriteProgram(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir, cmd.Env = t.TempDir(), []string{"PATH=" + bin + ":/usr/bin:/bin"}
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	if left, _ := os.ReadDir(cmd.Dir); len(left) > 0 {
		t.Errorf("%s made %v", line, left)
	}
	said, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(said), "\n"), "\n")
}

// TestCuresTakeAnyName: what doctor prints is what somebody pastes, and names of files
// and people are in it. A server names its users.
func TestCuresTakeAnyName(t *testing.T) {
	const name = "it's a name; touch here & $(touch there)"
	a := &Agent{cfg: Config{Mode: "system"}}
	got := ran(t, a.mendPermission(ipc.Check{}, "swtpm:/run/"+name).Command, "sudo")
	if want := []string{"[chgrp][tss][/run/" + name + "]", "[chmod][g+rw][/run/" + name + "]"}; strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the cure for a TPM's socket runs\n%s", strings.Join(got, "\n"))
	}
	_, create, _ := strings.Cut(reenroll(state.Profile{User: name, Device: "d_device00", ApprovalKey: state.KeyFacts{Provider: kindTPM}}), ": ")
	create, _, _ = strings.Cut(create, ", then here: ")
	got = ran(t, create, "countersign-server")
	if want := "[enrollment][create][--user][" + name + "][--replace][d_device00][--data][DIR]"; strings.Join(got, "\n") != want {
		t.Errorf("the cure for lost keys runs\n%s", strings.Join(got, "\n"))
	}
	if _, err := os.Stat("/usr/bin/tpm2_dictionarylockout"); err != nil {
		return // else it is only said how to get it
	}
	for _, kind := range []string{"device:", "swtpm:"} {
		line := a.checkNote(hsm.Note{Code: lockedNote}, kind+"/run/"+name).Command
		if got := strings.Join(ran(t, line, "sudo"), "\n"); !strings.Contains(got, "/run/"+name+"]") {
			t.Errorf("the cure for a locked TPM runs\n%s", got)
		}
	}
}
