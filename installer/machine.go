package installer

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"

	"countersign/internal/mend"
)

// machine is what steps work on: the tree, the record of what was done to it,
// and the init system.
type machine struct {
	tree *tree
	book *book
	init *initSystem
	// owner is who owns what is written, for people.
	owner string
}

// run runs a program, whose words are its error's where it fails.
func (m *machine) run(ctx context.Context, command []string) error {
	m.tree.changed()
	_, err := output(ctx, command)
	m.tree.changed()
	return err
}

// output runs a program and returns what it prints. It gets no terminal: it
// must not ask anybody.
func output(ctx context.Context, command []string) (string, error) {
	cmd := exec.CommandContext(ctx, program(command[0]), command[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fail(CodeStep, "install it, then do this again", "there is no %s here", command[0])
	}
	if err != nil {
		return stdout.String(), fail(CodeStep, "see what it says, mend that and do this again: what was done is kept",
			"%s: %v: %s", mend.Words(command...), err, firstLines(stderr.String()))
	}
	return stdout.String(), nil
}

// program finds a tool of administrators where su without a dash has left their
// directories out of the path.
func program(name string) string {
	if _, err := exec.LookPath(name); !errors.Is(err, exec.ErrNotFound) {
		return name
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return name
}

// firstLines are enough of what a program complains about.
func firstLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[:min(len(lines), 3)], "; ")
}

// packaged returns which distribution package a file belongs to, "" where none.
func (m *machine) packaged(ctx context.Context, path string) string {
	if m.tree.foreign {
		return ""
	}
	names := []string{path}
	// One directory by now, though packages may call it by either name.
	if rest, ok := strings.CutPrefix(path, "/usr/lib/"); ok {
		names = append(names, "/lib/"+rest)
	} else if strings.HasPrefix(path, "/lib/") {
		names = append(names, "/usr"+path)
	}
	for _, name := range names {
		if owner := m.packageOf(ctx, name); owner != "" {
			return owner
		}
	}
	return ""
}

// packageOf asks the databases of dpkg and of rpm.
func (m *machine) packageOf(ctx context.Context, path string) string {
	if name := m.dpkgOf(ctx, path); name != "" {
		return name
	}
	// Without a database of its own rpm would make one.
	if m.tree.exists("/var/lib/rpm") || m.tree.exists("/usr/lib/sysimage/rpm") {
		if out, err := output(ctx, []string{"rpm", "--root", m.tree.dir, "-qf", "--qf", "%{NAME}\n", path}); err == nil {
			return strings.TrimSpace(out)
		}
	}
	return ""
}

// dpkgOf asks dpkg, "" where none of its packages has the file, or one that was
// removed and has only left it as configuration.
func (m *machine) dpkgOf(ctx context.Context, path string) string {
	dpkg := []string{"env", "LC_ALL=C", "dpkg-query", "--admindir=" + strings.TrimSuffix(m.tree.dir, "/") + "/var/lib/dpkg"}
	out, err := output(ctx, append(dpkg, "-S", path))
	if err != nil {
		return ""
	}
	// "countersign: /usr/bin/countersign"; a diversion has other words before the colon.
	for line := range strings.Lines(out) {
		names, ok := strings.CutSuffix(strings.TrimSpace(line), ": "+path)
		if !ok || strings.Contains(names, " by ") {
			continue
		}
		for name := range strings.SplitSeq(names, ", ") {
			status, err := output(ctx, append(dpkg, "-W", "--showformat=${db:Status-Status}", name))
			if err == nil && status != "config-files" {
				return name
			}
		}
	}
	return ""
}

// refusePackaged refuses where a package has installed any of the files.
func (m *machine) refusePackaged(ctx context.Context, paths []string) error {
	for _, path := range paths {
		if !m.tree.exists(path) {
			continue
		}
		if name := m.packaged(ctx, path); name != "" {
			cure := "use the package: upgrade it, or remove it first"
			if m.tree.live() {
				cure += ", with: " + mend.Remove(name)
			}
			return fail(CodePackaged, cure,
				"the package %q of the distribution has installed this: %s is its file", name, path)
		}
	}
	return nil
}
