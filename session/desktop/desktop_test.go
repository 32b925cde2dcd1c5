package desktop_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"countersign/internal/testenv"
	"countersign/session/desktop"
)

func newHome(t *testing.T) (desktop.Home, []string) {
	t.Helper()
	dir := t.TempDir()
	h := desktop.Home{Data: filepath.Join(dir, "data"), Config: filepath.Join(dir, "config")}
	return h, append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+h.Data, "XDG_CONFIG_HOME="+h.Config, "XDG_CURRENT_DESKTOP=", "DE=generic", "DISPLAY=")
}

func choices(t *testing.T, h desktop.Home) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(h.Config, "mimeapps.list"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func output(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// TestDesktopsOpenLinksWithUs asks the two programs that desktops ask, and has
// one of them open a link.
func TestDesktopsOpenLinksWithUs(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "xdg-mime", "gio", "desktop-file-validate")
	h, env := newHome(t)
	dir := filepath.Join(t.TempDir(), "a directory")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	program, seen := filepath.Join(dir, "countersign"), filepath.Join(dir, "seen")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nprintf '%s\\n' \"$@\" >'"+seen+".new' && mv '"+seen+".new' '"+seen+"'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := h.Install(program); err != nil {
		t.Fatal(err)
	}
	if out := output(t, env, "desktop-file-validate", "--no-warn-deprecated", h.EntryPath()); out != "" {
		t.Error(out)
	}
	if out := output(t, env, "xdg-mime", "query", "default", "x-scheme-handler/countersign"); strings.TrimSpace(out) != "countersign.desktop" {
		t.Errorf("xdg-mime says %q", out)
	}
	link := "countersign:otp?server=https%3A%2F%2Fsign.example.com&otp=MFRGGZDFMZTWQ2LKNNWG23TPOA"
	output(t, env, "gio", "open", link)
	testenv.Eventually(t, "the program to be started", func() bool { _, err := os.Stat(seen); return err == nil })
	if got, err := os.ReadFile(seen); err != nil || string(got) != "open\n"+link+"\n" {
		t.Errorf("it was started with %q, %v", got, err)
	}
	if err := h.Uninstall(); err != nil {
		t.Fatal(err)
	}
	if out := output(t, env, "xdg-mime", "query", "default", "x-scheme-handler/countersign"); strings.TrimSpace(out) != "" {
		t.Errorf("afterwards xdg-mime says %q", out)
	}
	if err := h.Uninstall(); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestEntryIsValid(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "desktop-file-validate")
	for _, entry := range []string{"countersign.desktop", "countersign-session.desktop"} {
		if out := output(t, os.Environ(), "desktop-file-validate", entry); out != "" {
			t.Error(out)
		}
	}
}

// TestChoicesOfOthersStay installs and uninstalls over lists that people have.
func TestChoicesOfOthersStay(t *testing.T) {
	t.Parallel()
	const ours = "x-scheme-handler/countersign=countersign.desktop;"
	for name, c := range map[string]struct{ before, installed, after string }{
		"empty":         {"", "[Default Applications]\n" + ours + "\n", "[Default Applications]\n"},
		"another group": {"[Added Associations]\na/b=c.desktop;", "[Added Associations]\na/b=c.desktop;\n[Default Applications]\n" + ours + "\n", "[Added Associations]\na/b=c.desktop;\n[Default Applications]\n"},
		"others": {
			"# mine\n[Default Applications]\ntext/html=firefox.desktop\n\n[Added Associations]\nx-scheme-handler/countersign=x.desktop;\n",
			"# mine\n[Default Applications]\n" + ours + "\ntext/html=firefox.desktop\n\n[Added Associations]\nx-scheme-handler/countersign=x.desktop;\n",
			"# mine\n[Default Applications]\ntext/html=firefox.desktop\n\n[Added Associations]\nx-scheme-handler/countersign=x.desktop;\n",
		},
		"another choice": {
			"[Default Applications]\nx-scheme-handler/countersign=mine.desktop\n",
			"[Default Applications]\nx-scheme-handler/countersign=countersign.desktop;mine.desktop;\n",
			"[Default Applications]\nx-scheme-handler/countersign=mine.desktop;\n",
		},
		"ours already": {"[Default Applications]\n" + ours + "\n", "[Default Applications]\n" + ours + "\n", "[Default Applications]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, _ := newHome(t)
			elsewhere := filepath.Join(t.TempDir(), "list")
			link := filepath.Join(h.Config, "mimeapps.list")
			if err := os.MkdirAll(h.Config, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(elsewhere, []byte(c.before), 0o640); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(elsewhere, link); err != nil {
				t.Fatal(err)
			}
			for _, step := range []struct {
				do   func() error
				want string
			}{
				{func() error { return h.Install("") }, c.installed},
				{func() error { return h.Install("") }, c.installed},
				{h.Uninstall, c.after},
			} {
				if err := step.do(); err != nil {
					t.Fatal(err)
				}
				if got := choices(t, h); got != step.want {
					t.Errorf("the list is\n%s\nwant\n%s", got, step.want)
				}
			}
			fi, err := os.Lstat(link)
			if err != nil || fi.Mode().Type() != os.ModeSymlink {
				t.Errorf("the link is gone: %v", err)
			}
			if fi, err := os.Stat(elsewhere); err != nil || fi.Mode().Perm() != 0o640 {
				t.Errorf("the mode changed: %v, %v", fi.Mode(), err)
			}
		})
	}
}

func TestProgramsThatAnEntryCannotName(t *testing.T) {
	t.Parallel()
	h, _ := newHome(t)
	for _, program := range []string{"countersign", "/a\"b", "/a$b", "/a`b", "/a\\b", "/a%b", "/a\nb"} {
		if err := h.Install(program); err == nil {
			t.Errorf("%q was installed", program)
		}
	}
	if _, err := os.Stat(h.EntryPath()); err == nil {
		t.Error("an entry was written")
	}
}
