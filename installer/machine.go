package installer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
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
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
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
	dpkg := []string{"dpkg-query", "--admindir=" + strings.TrimSuffix(m.tree.dir, "/") + "/var/lib/dpkg", "-S", path}
	// "countersign: /usr/bin/countersign"; a diversion has other words before the colon.
	if out, err := output(ctx, dpkg); err == nil {
		for line := range strings.Lines(out) {
			if names, ok := strings.CutSuffix(strings.TrimSpace(line), ": "+path); ok && !strings.Contains(names, " by ") {
				return names
			}
		}
	}
	// Without a database of its own rpm would make one.
	if m.tree.exists("/var/lib/rpm") || m.tree.exists("/usr/lib/sysimage/rpm") {
		if out, err := output(ctx, []string{"rpm", "--root", m.tree.dir, "-qf", "--qf", "%{NAME}\n", path}); err == nil {
			return strings.TrimSpace(out)
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
			return fail(CodePackaged, fmt.Sprintf("use the package: upgrade it with apt or dnf, or remove it first, with: sudo apt remove %s", name),
				"the package %q of the distribution has installed this: %s is its file", name, path)
		}
	}
	return nil
}
