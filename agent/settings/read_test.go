package settings

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNothingIsTheDefaults(t *testing.T) {
	e := newEtc(t)
	l := e.mustRead(Options{})
	if diff := cmp.Diff(Defaults(), l.Settings); diff != "" || len(l.Files) != 0 {
		t.Errorf("files %v, and:\n%s", l.Files, diff)
	}
	if l.Socket != "/run/countersign/agent.sock" || l.State != "/var/lib/countersign" {
		t.Errorf("not the places of the system: %+v", l.Settings)
	}
}

// TestOverlay: later files win, key by key, in the order of their names, and each
// value knows its line.
func TestOverlay(t *testing.T) {
	e := newEtc(t)
	main := e.put(mainName, "tpm = \"one\"\npiv = true\n[verify]\nplugin_timeout = \"10s\"\ncustom = \"polkit\"\n")
	ten := e.put("conf.d/10-a.toml", "tpm = \"two\"\n\nverify.plugin_timeout = \"20s\"\n")
	nine := e.put("conf.d/9.toml", "# first comment\nverify = { fingerprint = false }\ntpm = \"three\"\npolicy.servers = [\"a.example\"]\n")
	e.put("conf.d/.hidden.toml", "nonsense")
	e.put("conf.d/10-a.toml.dpkg-new", "nonsense")
	e.put("conf.d/README", "nonsense")
	l := e.mustRead(Options{Flags: []Flag{{"piv", "--piv", false}}})
	if !slices.Equal(l.Files, []string{main, ten, nine}) {
		t.Errorf("read %v", l.Files)
	}
	want := Defaults()
	want.TPM, want.Verify = "three", Verify{Custom: "polkit", PluginTimeout: "20s"}
	want.Policy.Servers = []string{"a.example"}
	if diff := cmp.Diff(want, l.Settings); diff != "" {
		t.Error(diff)
	}
	for key, from := range map[string]string{
		"tpm": nine + ":3", "piv": "--piv", "verify.custom": main + ":5", "verify.plugin_timeout": ten + ":3",
		"verify.fingerprint": nine + ":2", "policy.servers": nine + ":4", "socket": "default",
	} {
		if got := l.Origins[key].String(); got != from {
			t.Errorf("%s comes from %s, want %s", key, got, from)
		}
	}
}

// TestNamedFileStandsAlone: what lies in /etc is not for it, except for its own
// conf.d where it is the system's file by name.
func TestNamedFileStandsAlone(t *testing.T) {
	e := newEtc(t)
	main := e.put(mainName, "")
	e.put("conf.d/1.toml", "piv = true")
	other := e.put("other/x.toml", "tpm = \"mine\"")
	e.put("other/conf.d/1.toml", "piv = true")
	if l := e.mustRead(Options{File: other}); l.PIV || l.TPM != "mine" {
		t.Errorf("it is read with what lies beside it: %+v", l.Settings)
	}
	if l := e.mustRead(Options{File: main}); !l.PIV {
		t.Error("the system's own file is read without its conf.d")
	}
	if err := os.Remove(main); err != nil {
		t.Fatal(err)
	}
	e.problems(Options{File: main})
	if l := e.mustRead(Options{}); !l.PIV {
		t.Error("conf.d is not read where there is no main file")
	}
}

func TestLimits(t *testing.T) {
	e := newEtc(t)
	full := strings.Repeat("#", maxBytes-1) + "\n"
	e.put(mainName, full)
	for i := range maxFiles {
		e.put(fmt.Sprintf("conf.d/%03d.toml", i), "")
	}
	e.mustRead(Options{})
	e.put("conf.d/more.toml", "")
	if p := e.problems(Options{})[0]; p.File != filepath.Join(e.dir, "conf.d") || !strings.Contains(p.Message, "65 files") {
		t.Errorf("got %v", p)
	}
	if err := os.RemoveAll(filepath.Join(e.dir, "conf.d")); err != nil {
		t.Fatal(err)
	}
	main := e.put(mainName, full+"#")
	if p := e.problems(Options{})[0]; p.File != main || !strings.Contains(p.Message, "64 KiB") {
		t.Errorf("got %v", p)
	}
}

// TestFilesOfOthers: whoever could have written a file has no say.
func TestFilesOfOthers(t *testing.T) {
	for name, change := range map[string]func(e etc, main, over string) error{
		"all may write":           func(_ etc, main, _ string) error { return os.Chmod(main, 0o666) },
		"the group may write":     func(_ etc, _, over string) error { return os.Chmod(over, 0o664) },
		"somebody else's":         func(_ etc, _, over string) error { return os.Chown(over, 4711, -1) },
		"the directory":           func(e etc, _, _ string) error { return os.Chmod(e.dir, 0o777) },
		"conf.d":                  func(_ etc, _, over string) error { return os.Chmod(filepath.Dir(over), 0o1777) },
		"conf.d of somebody else": func(_ etc, _, over string) error { return os.Chown(filepath.Dir(over), 4711, -1) },
		"a directory for a file":  func(e etc, _, _ string) error { return os.Mkdir(filepath.Join(e.dir, "conf.d", "2.toml"), 0o755) },
		"a link in conf.d":        func(e etc, main, _ string) error { return os.Symlink(main, filepath.Join(e.dir, "conf.d", "2.toml")) },
		"a dangling link in conf.d": func(e etc, main, _ string) error {
			return os.Symlink(main+"x", filepath.Join(e.dir, "conf.d", "2.toml"))
		},
		"conf.d is a link": func(e etc, _, over string) error {
			dir := filepath.Dir(over)
			if err := os.Rename(dir, dir+"-real"); err != nil {
				return err
			}
			return os.Symlink(dir+"-real", dir)
		},
		"the main file is a link": func(_ etc, main, over string) error {
			if err := os.Remove(main); err != nil {
				return err
			}
			return os.Symlink(over, main)
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEtc(t)
			main, over := e.put(mainName, "piv = true"), e.put("conf.d/1.toml", "piv = false")
			e.mustRead(Options{})
			if err := change(e, main, over); err != nil {
				t.Fatal(err)
			}
			l, err := e.read(Options{})
			if err == nil {
				t.Fatalf("it is read: %+v", l.Settings)
			}
			if l.PIV || l.TPM != "" {
				t.Errorf("something of it is in effect: %+v", l.Settings)
			}
		})
	}
}

// TestPolicyOfTheSystemHoldsForUsers: of the system's files the service of a user
// takes the policy, which the user's file cannot change.
func TestPolicyOfTheSystemHoldsForUsers(t *testing.T) {
	e := newEtc(t)
	main := e.put(mainName, "state = \"/system\"\npiv = true\nforbid_cli = true\n[policy]\nservers = [\"a.example\"]\n")
	e.put("conf.d/1.toml", "policy.mute_max = \"1h\"\n")
	own := put(t, filepath.Join(t.TempDir(), "own.toml"), "tpm = \"mine\"\n[policy]\npin_min_length = 9\nservers = [\"a.example\"]\n")
	l := e.mustRead(Options{User: true, File: own})
	if l.State != "/home/u/state/countersign" || l.Socket != "/run/user/1/countersign/agent.sock" || l.PIV || l.TPM != "mine" {
		t.Errorf("not the user's settings: %+v", l.Settings)
	}
	if l.Policy.MuteMax != "1h" || l.Policy.LocalApprovals != "terminal" || l.Policy.PINMinLength != 9 || !slices.Equal(l.Policy.Servers, []string{"a.example"}) {
		t.Errorf("not the policy: %+v", l.Policy)
	}
	if from := l.Origins["policy.local_approvals"].String(); from != main+":3" {
		t.Errorf("it is said to come from %s", from)
	}
	for _, text := range []string{"[policy]\nservers = [\"*\"]\n", "policy.mute_max = \"24h\"\n", "policy.local_approvals = \"any\"\n", "forbid_cli = false\n"} {
		put(t, own, text)
		p := e.problems(Options{User: true, File: own})[0]
		if p.File != own || p.Line == 0 {
			t.Errorf("%s: %v", text, p)
		}
	}
	if l := e.mustRead(Options{User: true}); !slices.Equal(l.Policy.Servers, []string{"a.example"}) {
		t.Error("without a file of the user's the policy does not hold")
	}
	e.put(mainName, "nonsense = 1\n")
	e.problems(Options{User: true})
}

// asStranger names the directory that TestAsAStranger reads, in a process of its
// own.
const asStranger = "COUNTERSIGN_TEST_ETC"

// TestUnreadablePolicy: where a user may not see the policy, that is said, and no
// error.
func TestUnreadablePolicy(t *testing.T) {
	e := newEtc(t)
	e.put(mainName, "policy.mute_max = \"0s\"\n")
	e.put("conf.d/1.toml", "policy.mute_max = \"1h\"\n")
	program := copyOfMyself(t)
	for name, c := range map[string]struct {
		mode os.FileMode
		want string
	}{
		"readable":   {0o755, "1h []"},
		"unreadable": {0o700, "24h [the policy of this computer is not known"},
	} {
		if err := errors.Join(os.Chmod(e.dir, c.mode), os.Chmod(filepath.Dir(e.dir), 0o755)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestAsAStranger$", "-test.v")
		cmd.Env = []string{asStranger + "=" + e.dir, "HOME=/", "XDG_RUNTIME_DIR=/run/user/4711"}
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4711, Gid: 4711}}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "RESULT "+c.want) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestAsAStranger(t *testing.T) {
	dir := os.Getenv(asStranger)
	if dir == "" {
		t.Skip("TestUnreadablePolicy runs it as another user")
	}
	l, err := Read(Options{User: true, system: dir})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("RESULT", l.Policy.MuteMax, l.Notes)
}

// copyOfMyself is this test where others may run it.
func copyOfMyself(t *testing.T) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "test")
	if err := errors.Join(os.WriteFile(program, self, 0o755), os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	return program
}
