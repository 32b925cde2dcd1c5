package installer

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"countersign/internal/mend"
	"countersign/internal/version"
)

// Standing is how the service of this machine stands, as far as the init system
// and the files say.
type Standing struct {
	// Mode is "system" or "user".
	Mode string `json:"mode"`
	Init string `json:"init"`
	// By is "package" and the package's name, "service install", or "" where the
	// service is not installed.
	By string `json:"installed_by"`
	// State is "running", "stopped", "failed" or "not installed".
	State string `json:"state"`
	Units []Unit `json:"units"`
	// Installed is the version of the program that is started, "" where it cannot
	// be told.
	Installed string    `json:"version_installed"`
	Problems  []Problem `json:"problems"`
}

// Unit is one of systemd's, in its own words.
type Unit struct {
	Name    string `json:"name"`
	Load    string `json:"load"`
	Active  string `json:"active"`
	Sub     string `json:"sub"`
	Enabled string `json:"enabled"`
	// Path is the file of the unit, and Status what the program says of itself.
	Path   string `json:"path"`
	Status string `json:"status"`

	exec string
	// ended is the exit status of the last run.
	ended string
}

// Problem is what is missing, and what mends it.
type Problem struct {
	Code string `json:"code"`
	Text string `json:"text"`
	Cure string `json:"cure"`
}

// Status looks at the installation and changes nothing. It needs no privileges.
func (i *Installer) Status(ctx context.Context) (*Standing, error) {
	s := &Standing{Mode: i.plan("").Mode, Init: i.m.init.name, Units: []Unit{}, Problems: []Problem{}, State: "not installed"}
	program := i.m.init.program
	if s.Init == initSystemd {
		if err := i.askUnits(ctx, s); err != nil {
			return nil, err
		}
		if unit := s.Units[0]; unit.exec != "" {
			program = unit.exec
		}
	} else if i.m.tree.exists(i.scriptPath()) {
		running, err := i.m.init.running()
		if err != nil {
			return nil, err
		}
		s.State = map[bool]string{true: "running", false: "stopped"}[running]
	}
	s.By = i.installedBy(ctx, s)
	if i.m.tree.guarded(program) == nil { // else it is not root's to start
		s.Installed = programVersion(ctx, program)
	}
	s.Problems = append(s.Problems, i.problems(s)...)
	return s, nil
}

func (i *Installer) scriptPath() string {
	path, _, _ := i.m.init.definition()
	return path
}

// askUnits asks systemd, the service first.
func (i *Installer) askUnits(ctx context.Context, s *Standing) error {
	for _, name := range []string{serviceUnit, socketUnit} {
		unit, err := askUnit(ctx, i.scope(), name)
		if err != nil {
			return err
		}
		s.Units = append(s.Units, unit)
	}
	switch service := s.Units[0]; {
	case service.Load == "not-found":
	case service.Active == "active" || service.Active == "reloading" || service.Active == "activating":
		s.State = "running"
	case service.Active == "failed":
		s.State = "failed"
	default:
		s.State = "stopped"
	}
	return nil
}

func askUnit(ctx context.Context, s scope, name string) (Unit, error) {
	const properties = "LoadState,ActiveState,SubState,UnitFileState,FragmentPath,StatusText,ExecStart,ExecMainStatus"
	out, err := output(ctx, s.systemctl("/", "show", "--property="+properties, name))
	if err != nil {
		return Unit{}, err
	}
	u := Unit{Name: name}
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "LoadState":
			u.Load = value
		case "ActiveState":
			u.Active = value
		case "SubState":
			u.Sub = value
		case "UnitFileState":
			u.Enabled = value
		case "FragmentPath":
			u.Path = value
		case "StatusText":
			u.Status = value
		case "ExecMainStatus":
			u.ended = value
		case "ExecStart":
			// "{ path=/usr/bin/countersignd ; argv[]=..."
			if _, rest, ok := strings.Cut(value, "path="); ok {
				u.exec, _, _ = strings.Cut(rest, " ; ")
			}
		}
	}
	return u, nil
}

// installedBy says who brought the file that the service is defined by.
func (i *Installer) installedBy(ctx context.Context, s *Standing) string {
	path := i.scriptPath()
	if len(s.Units) > 0 && s.Units[0].Path != "" {
		path = s.Units[0].Path
	}
	switch {
	case s.State == "not installed":
		return ""
	case i.m.book.file(path) != nil:
		return "service install"
	}
	if name := i.m.packaged(ctx, path); name != "" {
		return "package " + name
	}
	return "others: " + path
}

// programVersion asks a program, "" where that fails.
func programVersion(ctx context.Context, program string) string {
	out, err := output(ctx, []string{program, "--version"})
	if err != nil {
		return ""
	}
	fields := strings.Fields(out) // "countersignd version v0.5.0"
	if len(fields) == 0 {
		return ""
	}
	return fields[len(fields)-1]
}

// problems are what the init system and the files show.
func (i *Installer) problems(s *Standing) (found []Problem) {
	add := func(code, cure, format string, args ...any) {
		found = append(found, Problem{code, fmt.Sprintf(format, args...), cure})
	}
	if i.nobody(s) {
		add("no_user", mend.Then("sudo systemd-sysusers", mend.Restart(socketUnit), mend.Restart(serviceUnit)), "the user or a group that the service runs as does not exist")
		return found
	}
	broken := i.brokenUnits(s)
	found = append(found, broken...)
	switch {
	case s.State == "not installed":
		add("not_installed", i.Command("install"), "the service is not installed")
	case len(broken) > 0: // nothing that starts it works before
	case s.State == "failed":
		add("failed", i.m.init.logs(), "the service ended and does not start any more")
	case s.State == "stopped":
		add("stopped", i.Command("start"), "the service does not run")
	case len(s.Units) > 1 && s.Units[1].Active != "active":
		add("socket", i.Command("start"), "%s does not listen: programs are refused while the service starts", socketUnit)
	}
	if len(i.m.book.Entries) > len(i.kept()) && !i.m.book.Complete {
		add("interrupted", i.Command("install"), "the installation, or its removal, was interrupted")
	}
	vendor := "/usr/lib/systemd/system/" + serviceUnit
	if !i.User && len(s.Units) > 0 && i.m.book.file(s.Units[0].Path) != nil && i.m.tree.exists(vendor) {
		add("shadowed", i.Command("uninstall"), "%s hides the unit of the package, %s", s.Units[0].Path, vendor)
	}
	for _, e := range i.m.book.Entries {
		if base, ok := strings.CutSuffix(e.Path, ".new"); ok && i.m.tree.exists(e.Path) {
			add("changed", mend.Words(append(i.sudo(), "rm", e.Path)...), "%s was changed by somebody, and is older than this version: take over what you need of %s, then remove that", base, e.Path)
		}
	}
	if s.Installed != "" && s.Installed != version.Version() && slices.Contains([]string{"/usr/bin", "/usr/local/bin"}, filepath.Dir(i.m.init.program)) {
		add("versions", i.Command("install"), "countersign is version %s and countersignd %s", version.Version(), s.Installed)
	}
	return found
}

// brokenUnits are those that systemd starts for nobody.
func (i *Installer) brokenUnits(s *Standing) (found []Problem) {
	for _, u := range s.Units {
		if u.Load != "masked" && u.Load != "error" && u.Load != "bad-setting" {
			continue
		}
		cure := "systemctl status " + u.Name
		if u.Load == "masked" {
			cure = mend.Words(append(i.sudo(), i.scope().systemctl("/", "unmask", u.Name)...)...)
		}
		found = append(found, Problem{"unit_" + u.Load, fmt.Sprintf("the unit %s cannot be used: %s", u.Name, u.Load), cure})
	}
	return found
}

// sudo is what a command takes before it.
func (i *Installer) sudo() []string {
	if i.User {
		return nil
	}
	return []string{"sudo"}
}

// nobody reports that systemd found no user or no group to start the service as
// (systemd.exec(5), exit statuses 216 and 217).
func (i *Installer) nobody(s *Standing) bool {
	return !i.User && len(s.Units) > 0 && (s.Units[0].ended == "216" || s.Units[0].ended == "217") && s.Units[0].Sub != "running"
}

// Start starts the service, its socket first, whoever installed it.
func (i *Installer) Start(ctx context.Context) error {
	if err := i.present(ctx); err != nil {
		return err
	}
	if i.m.init.name == initSystemd {
		if err := i.m.run(ctx, i.scope().systemctl("/", "start", socketUnit)); err != nil {
			return err
		}
	}
	return i.m.init.start()
}

// Stop stops the service and its socket, which would start it again.
func (i *Installer) Stop(ctx context.Context) error {
	if err := i.present(ctx); err != nil {
		return err
	}
	if i.m.init.name == initSystemd {
		if err := (&Stop{socketUnit, i.scope()}).apply(ctx, i.m); err != nil {
			return err
		}
	}
	return (&Stop{serviceName, i.scope()}).apply(ctx, i.m)
}

func (i *Installer) scope() scope {
	if i.User {
		return userScope
	}
	return systemScope
}

// present refuses where there is nothing to start or stop.
func (i *Installer) present(ctx context.Context) error {
	s, err := i.Status(ctx)
	if err != nil {
		return err
	}
	if s.State == "not installed" {
		return fail(CodeNotInstalled, i.Command("install"), "the service is not installed")
	}
	return nil
}
