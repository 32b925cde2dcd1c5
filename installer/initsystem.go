package installer

import (
	"context"
	_ "embed"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kardianos/service"

	"countersign/internal/mend"
	"countersign/systemd"
)

const (
	// serviceName is the service's name for every init system.
	serviceName = "countersignd"
	// serviceUser is whom the service runs as.
	serviceUser = "countersign"
	socketUnit  = "countersignd.socket"
	serviceUnit = "countersignd.service"
	sessionUnit = "countersign-session.service"
	// logFile is where the scripts have the service write.
	logFile = "/var/log/countersignd.log"
)

// The init systems, as kardianos/service names them.
const (
	initSystemd = "linux-systemd"
	initOpenRC  = "linux-openrc"
	initUpstart = "linux-upstart"
	initSysV    = "unix-systemv"
)

// kardianos/service has scripts of its own for these, which start the service as
// root. These do not.
var (
	//go:embed scripts/openrc
	openrcScript string
	//go:embed scripts/sysv
	sysvScript string
	//go:embed scripts/upstart
	upstartScript string
)

// programPath is what kardianos/service puts the program's path in place of, in
// units and in scripts.
const (
	unitPath   = "{{Path | cmdEscape}}"
	scriptPath = "{{Path}}"
)

// initSystem is what starts services on a machine.
type initSystem struct {
	name string
	tree *tree
	user bool
	// program is the path of countersignd.
	program string
}

// detect finds the init system of a tree. In an image it can only be systemd:
// the others' services cannot be defined from outside.
func detect(t *tree, user bool, program string) (*initSystem, error) {
	s := &initSystem{name: service.Platform(), tree: t, user: user, program: program}
	if !t.live() {
		if !t.exists("/usr/lib/systemd/systemd") && !t.exists("/lib/systemd/systemd") {
			return nil, fail(CodeInit, "install into the image from inside, for example with chroot", "%s holds no systemd, and only services of systemd can be installed from outside", t.dir)
		}
		s.name = initSystemd
		return s, nil
	}
	if user && s.name != initSystemd {
		return nil, fail(CodeInit, "start it with your session: "+mend.Words(program, "--user"), "services of a single user take systemd, and this is %s", s.name)
	}
	if strings.ContainsAny(program, "\"'\\") {
		return nil, fail(CodeInit, "start it with your session: "+mend.Words(program, "--user"), "systemd starts no program whose path holds quotes or backslashes, as %s does", program)
	}
	switch s.name {
	case initSystemd, initUpstart:
		return s, nil
	case initOpenRC, initSysV:
		if t.exists("/etc/init.d") {
			return s, nil
		}
	}
	return nil, fail(CodeInit, "start it yourself, as a user of its own: "+program, "there is no init system here that Countersign knows to start a service with (%s)", s.name)
}

// missing says what the service does without under an init system.
func (s *initSystem) missing() []string {
	if s.name == initSystemd {
		return nil
	}
	missing := []string{
		"no socket activation: programs that call while the service starts are refused instead of waiting",
		"no watchdog: a service that hangs is not started again",
		"no sandbox: the service runs as its own user without privileges, but can read what that user can",
		"no credentials from /etc/credstore: name files in /etc/countersign/countersignd.toml instead",
		"no unit for the prompts of a session: they are started by the desktop's autostart",
	}
	if s.name == initSysV {
		missing = append(missing, "no restart: a service that ends stays ended")
	}
	return missing
}

// definition is where the service is defined and with what: the text, and the
// template of it that kardianos/service takes.
func (s *initSystem) definition() (path string, perm mode, template string) {
	switch s.name {
	case initOpenRC:
		return "/etc/init.d/" + serviceName, 0o755, openrcScript
	case initUpstart:
		return "/etc/init/" + serviceName + ".conf", 0o644, upstartScript
	case initSysV:
		return "/etc/init.d/" + serviceName, 0o755, sysvScript
	}
	for _, f := range systemd.Files(systemd.Agent, filepath.Dir(s.program)) {
		if f.Base() == serviceUnit {
			template = strings.ReplaceAll(string(f.Data), "ExecStart="+s.program, "ExecStart="+unitPath)
		}
	}
	return "/etc/systemd/system/" + serviceUnit, 0o644, template
}

// rendered is what kardianos/service makes of a template.
func (s *initSystem) rendered(template string) []byte {
	return []byte(strings.NewReplacer(unitPath, s.program, scriptPath, s.program).Replace(template))
}

// control is the service for kardianos/service.
func (s *initSystem) control() (service.Service, error) {
	_, _, template := s.definition()
	return service.New(nil, &service.Config{
		Name: serviceName, DisplayName: "Countersign approval service", Executable: s.program,
		Option: service.KeyValue{
			"UserService": s.user, "SystemdScript": template, "OpenRCScript": template,
			"SysvScript": template, "UpstartScript": template,
		},
	})
}

// define has the service known and enabled. There is no file of it yet.
func (s *initSystem) define(ctx context.Context, m *machine, d *DefineService) error {
	if !m.tree.live() {
		if err := m.tree.write(d.Path, d.data, 0o644); err != nil {
			return err
		}
		return m.run(ctx, systemScope.systemctl(s.tree.dir, "enable", serviceUnit))
	}
	c, err := s.control()
	if err != nil {
		return fail(CodeStep, "", "defining the service: %v", err)
	}
	m.tree.changed()
	err = c.Install()
	m.tree.changed()
	if err != nil {
		return fail(CodeStep, "mend that and do this again: what was done is kept", "defining the service: %v", err)
	}
	have, err := m.tree.read(d.Path)
	if err != nil {
		return err
	}
	if hash(have) != d.SHA256 {
		return fail(CodeStep, "report this", "%s is not what it should be", d.Path)
	}
	return m.tree.chmod(d.Path, d.Mode)
}

// undefine takes it away, with its file.
func (s *initSystem) undefine(ctx context.Context, m *machine, path string) error {
	if !m.tree.live() || m.book.Init != s.name {
		// An init system that is no more here has no links that matter either.
		if err := s.disable(ctx, m); err != nil {
			return err
		}
		return m.tree.remove(path)
	}
	c, err := s.control()
	if err != nil {
		return fail(CodeStep, "", "removing the service: %v", err)
	}
	m.tree.changed()
	err = c.Uninstall()
	m.tree.changed()
	if err != nil && m.tree.exists(path) {
		return fail(CodeStep, "mend that and do this again", "removing the service: %v", err)
	}
	return nil // what follows the removal, unlink does where it failed
}

// disable leaves the service defined, and has it started by nobody.
func (s *initSystem) disable(ctx context.Context, m *machine) error {
	if m.book.Init != initSystemd || s.name != initSystemd {
		return nil // the links are all there is
	}
	return m.run(ctx, systemScope.systemctl(s.tree.dir, "disable", serviceUnit))
}

// enable has a service started with the machine whose definition somebody
// changed.
func (s *initSystem) enable(ctx context.Context, m *machine) error {
	if s.name != initSystemd {
		return nil // whoever changes a script sees to its links
	}
	return m.run(ctx, systemScope.systemctl(s.tree.dir, "enable", serviceUnit))
}

// unlink removes the links to a script that kardianos/service leaves, or that
// were left by an interruption, and nothing that links elsewhere.
func (s *initSystem) unlink(m *machine, path string) error {
	var links []string
	switch m.book.Init {
	case initSysV:
		for level := range strings.SplitSeq("0 1 2 3 4 5 6", " ") {
			links = append(links, "/etc/rc"+level+".d/S50"+serviceName, "/etc/rc"+level+".d/K02"+serviceName)
		}
	case initOpenRC:
		levels, err := m.tree.names("/etc/runlevels")
		if err != nil {
			return err
		}
		for _, level := range levels {
			links = append(links, filepath.Join("/etc/runlevels", level, serviceName))
		}
	}
	for _, link := range links {
		if m.tree.target(link) == path {
			if err := m.tree.remove(link); err != nil {
				return err
			}
		}
	}
	return nil
}

// running is whether the service runs.
func (s *initSystem) running() (bool, error) {
	if path, _, _ := s.definition(); s.name != initSystemd && !s.tree.exists(path) {
		return false, nil // its status command would fail in some way
	}
	c, err := s.control()
	if err != nil {
		return false, err
	}
	status, err := c.Status()
	switch {
	case errors.Is(err, service.ErrNotInstalled):
		return false, nil
	case status == service.StatusRunning || status == service.StatusStopped:
		return status == service.StatusRunning, nil
	}
	// LSB scripts say with 3 that the service does not run, which kardianos/service
	// does not know; and systemd's failed is not running.
	if exit, ok := errors.AsType[*exec.ExitError](err); (ok && exit.ExitCode() == 3) || s.name == initSystemd {
		return false, nil
	}
	return false, fail(CodeStep, "", "asking for the service: %v", err)
}

func (s *initSystem) start() error   { return s.act("starting", service.Service.Start) }
func (s *initSystem) stop() error    { return s.act("stopping", service.Service.Stop) }
func (s *initSystem) restart() error { return s.act("restarting", service.Service.Restart) }

func (s *initSystem) act(what string, do func(service.Service) error) error {
	c, err := s.control()
	if err == nil {
		err = do(c)
	}
	if err != nil {
		return fail(CodeStep, s.logs(), "%s the service: %v", what, err)
	}
	return nil
}

// logs is the command that shows why the service does not start.
func (s *initSystem) logs() string {
	switch {
	case s.name == initSystemd && s.user:
		return "journalctl --user -u countersignd -n 30"
	case s.name == initSystemd:
		return "sudo journalctl -u countersignd -n 30"
	case s.name == initUpstart:
		return "sudo cat /var/log/upstart/countersignd.log"
	}
	return "sudo tail -n 30 " + logFile
}
