package installer

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/internal/testenv"
)

// The environment of a process that is to be killed: which of its changes is the
// last, what it does, where, and with which programs.
const (
	envKill     = "INSTALLER_TEST_KILL_AT"
	envAction   = "INSTALLER_TEST_ACTION"
	envRoot     = "INSTALLER_TEST_ROOT"
	envPrograms = "INSTALLER_TEST_PROGRAMS"
)

// act installs or uninstalls, and is killed at a change of its choice, counted
// from 1; at 0 it is not.
func act(action, root, programs string, last int) error {
	i, err := New(Options{Root: root, Programs: programs})
	if err != nil {
		return err
	}
	defer i.Close()
	changes := 0
	i.m.tree.changed = func() {
		if changes++; changes == last {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	var p *Plan
	if action == "install" {
		p, err = i.PlanInstall(context.Background())
	} else {
		p, err = i.PlanUninstall(context.Background(), false)
		if e, ok := err.(*Error); ok && e.Code == CodeNotInstalled { //nolint:errorlint // it is made there
			return i.m.book.sweep()
		}
	}
	if err != nil {
		return err
	}
	return i.Apply(context.Background(), p, nil)
}

// image makes the tree of a system that is to be installed into.
func image(t *testing.T) string {
	t.Helper()
	testenv.Need(t, "systemctl", "systemd-sysusers", "userdel", "groupdel")
	if os.Getuid() != 0 {
		t.Skip("only root can install the service of the system")
	}
	// In memory, where waiting for the disk is free.
	root, err := os.MkdirTemp("/dev/shm", "countersign-installer-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	for path, text := range map[string]string{
		"usr/lib/systemd/systemd": "", "var/lib/misc/x": "kept", "etc/systemd/system/other.service": "[Unit]\n",
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\ntss:x:111:\n",
		"etc/shadow": "root:*:20000::::::\n", "etc/gshadow": "root:*::\ntss:!::\n",
	} {
		file := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// programs makes a directory with the programs of a version.
func programs(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"countersign", "countersignd"} {
		if err := testenv.WriteProgram(filepath.Join(dir, name), []byte("#!/bin/sh\necho "+name+" version "+version+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tree describes all of a directory: the modes, owners, links and contents of what
// is in it. What the tools that make users leave beside their files does not count.
func treeOf(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if filepath.Dir(rel) == "etc" && (strings.HasSuffix(rel, "-") || strings.HasSuffix(rel, ".pwd.lock")) {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		owner := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%v %d:%d", info.Mode(), owner.Uid, owner.Gid)
		switch {
		case d.Type() == fs.ModeSymlink:
			target, _ := os.Readlink(path)
			text += " -> " + target
		case d.Type().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += "\n" + string(data)
		}
		if strings.HasSuffix(rel, "shadow") { // its modes are the tools' choice
			_, text, _ = strings.Cut(text, "\n")
		}
		found[rel] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// killed runs an action that is killed at a change, and reports whether it came
// to that.
func killed(t *testing.T, action, root, programs string, at int) bool {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envKill+"="+strconv.Itoa(at), envAction+"="+action, envRoot+"="+root, envPrograms+"="+programs)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("%s that is to be killed at change %d: %v\n%s", action, at, err, out)
	}
	return true
}

func do(t *testing.T, action, root, programs string) {
	t.Helper()
	if err := act(action, root, programs, 0); err != nil {
		t.Fatalf("%s: %v", action, err)
	}
}

// TestKilledAnywhere kills installing, upgrading and removing at each change to
// the file system and around each program they run. Whatever is done next, the
// same again or the opposite, ends as if nothing had happened.
func TestKilledAnywhere(t *testing.T) {
	v1, v2 := programs(t, "1"), programs(t, "2")
	// How the tree is after each.
	bare := image(t)
	installed, upgraded := image(t), image(t)
	do(t, "install", installed, v1)
	do(t, "install", upgraded, v1)
	do(t, "install", upgraded, v2)
	for _, c := range interruptions(v1, v2, bare, installed, upgraded) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			want := treeOf(t, c.want)
			kills := 0
			for at := testenv.Stride(6); ; at += testenv.Stride(6) {
				root := image(t)
				if c.before != "" {
					do(t, "install", root, c.before)
				}
				if !killed(t, c.action, root, c.with, at) {
					if at < 20 {
						t.Errorf("only %d changes", at-1)
					}
					t.Logf("killed at %d of about %d changes", kills, at-1)
					break
				}
				kills++
				do(t, c.after, root, c.afterWith)
				if diff := cmp.Diff(want, treeOf(t, root)); diff != "" {
					t.Fatalf("%s killed at change %d, then %s:\n%s", c.action, at, c.after, diff)
				}
				_ = os.RemoveAll(root)
			}
		})
	}
}

// interruption is a job that is interrupted, and what is done about it.
type interruption struct {
	name string
	// before is what was installed, action what is interrupted, and after what follows.
	before, action, with, after, afterWith string
	// want is a tree as it is to be in the end.
	want string
}

// interruptions are those of two versions of the programs, and of the trees without
// either, with the first, and with the second in its place.
func interruptions(v1, v2, bare, installed, upgraded string) []interruption {
	return []interruption{
		{"install, install", "", "install", v1, "install", v1, installed},
		{"install, uninstall", "", "install", v1, "uninstall", v1, bare},
		{"upgrade, upgrade", v1, "install", v2, "install", v2, upgraded},
		{"upgrade, uninstall", v1, "install", v2, "uninstall", v2, bare},
		{"uninstall, uninstall", v1, "uninstall", v1, "uninstall", v1, bare},
		{"uninstall, install", v1, "uninstall", v1, "install", v1, installed},
	}
}
