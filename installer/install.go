package installer

import (
	"context"
	"embed"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"countersign/internal/mend"
	"countersign/session/desktop"
	"countersign/systemd"
)

//go:embed polkit
var polkit embed.FS

// destination is where the programs will be: where they are, if that is where a
// system has its programs, else in the place for what no package brought.
func (i *Installer) destination() string {
	if i.inPlace() {
		return i.Programs
	}
	if i.User {
		return i.Home.Bin
	}
	return "/usr/local/bin"
}

func (i *Installer) inPlace() bool {
	places := []string{"/usr/bin", "/usr/local/bin"}
	if i.User {
		places = append(places, i.Home.Bin)
	}
	return i.m.tree.live() && slices.Contains(places, i.Programs)
}

// PlanInstall plans an installation, or the upgrade of one. It changes nothing.
func (i *Installer) PlanInstall(ctx context.Context) (*Plan, error) {
	action := "install"
	if i.m.book.Complete {
		action = "upgrade"
	}
	p := i.plan(action)
	files, err := i.files()
	if err != nil {
		return nil, err
	}
	if err := i.m.refusePackaged(ctx, packagedPaths(files)); err != nil {
		return nil, err
	}
	define, err := i.definition()
	if err != nil {
		return nil, err
	}
	if define != nil {
		files = append(files, &define.WriteFile)
	}
	for _, step := range []func(context.Context, *Plan, []*WriteFile) error{
		i.addDirectories, i.addUser, i.addFiles, i.addObsolete,
	} {
		if err := step(ctx, p, files); err != nil {
			return nil, err
		}
	}
	if define != nil {
		if err := i.add(ctx, p, define); err != nil {
			return nil, err
		}
	}
	if err := i.addUnits(ctx, p, files); err != nil {
		return nil, err
	}
	p.Notes = i.notes()
	return p, i.add(ctx, p, &Finish{Path: i.layout.record, installed: true, version: p.Version})
}

// packagedPaths are the files by which a package's installation is known.
func packagedPaths(files []*WriteFile) []string {
	paths := []string{
		"/usr/bin/countersignd", "/usr/bin/countersign",
		"/usr/lib/systemd/system/" + serviceUnit, "/lib/systemd/system/" + serviceUnit,
	}
	for _, f := range files {
		paths = append(paths, f.Path)
	}
	return paths
}

// files are all that is written, but for the service's own definition on the
// system.
func (i *Installer) files() ([]*WriteFile, error) {
	files, err := i.programFiles()
	if err != nil {
		return nil, err
	}
	if i.User {
		return append(files, i.unitFiles(systemd.User, systemd.Session)...), nil
	}
	files = append(files, i.unitFiles(systemd.Agent, systemd.Session)...)
	more, err := i.desktopFiles()
	return append(files, more...), err
}

// programFiles are the copies of the programs. Programs that are in their place
// are not copied: they must be root's alone already.
func (i *Installer) programFiles() (files []*WriteFile, err error) {
	for _, name := range []string{"countersign", "countersignd"} {
		from := filepath.Join(i.Programs, name)
		if i.inPlace() {
			if err := i.m.tree.guarded(from); err != nil {
				return nil, err
			}
		}
		data, err := os.ReadFile(from)
		if err != nil {
			return nil, fail(CodeProgram, "put countersign and countersignd into one directory, and start countersign from there",
				"the program %s cannot be read: %v", name, err)
		}
		if i.inPlace() {
			continue
		}
		f := i.m.writeFile(filepath.Join(i.programs, name), 0o755, data)
		f.From, f.Program = from, true
		files = append(files, f)
	}
	return files, nil
}

// unitFiles are the files that go with systemd's units, and of those only what
// others than systemd read where there is another init system.
func (i *Installer) unitFiles(parts ...string) (files []*WriteFile) {
	for _, part := range parts {
		for _, f := range systemd.Files(part, i.programs) {
			dir, ok := i.place(f.Dir)
			if !ok || f.Dir == "lib/systemd/system" && f.Base() == serviceUnit {
				continue
			}
			files = append(files, i.m.writeFile(filepath.Join(dir, f.Base()), 0o644, f.Data))
		}
	}
	return files
}

// place is where an administrator's own files go that a package's would go below
// /usr for, and whether this init system has a use for them.
func (i *Installer) place(dir string) (string, bool) {
	switch dir {
	case "share/dbus-1/system.d":
		return "/etc/dbus-1/system.d", true
	case "lib/udev/rules.d":
		return "/etc/udev/rules.d", true
	}
	if i.m.init.name != initSystemd {
		return "", false
	}
	if i.User {
		return filepath.Join(i.Home.Config, "systemd/user"), true
	}
	return map[string]string{
		"lib/systemd/system": "/etc/systemd/system",
		"lib/systemd/user":   "/etc/systemd/user",
		"lib/sysusers.d":     "/etc/sysusers.d",
		"lib/tmpfiles.d":     "/etc/tmpfiles.d",
	}[dir], true
}

// desktopFiles are polkit's and the desktop's.
func (i *Installer) desktopFiles() ([]*WriteFile, error) {
	var files []*WriteFile
	for _, f := range []struct{ name, dir string }{
		{"50-countersign.rules", "/etc/polkit-1/rules.d"},
		// Polkit looks for actions in no other place before version 124.
		{"io.countersign.policy", "/usr/share/polkit-1/actions"},
	} {
		data, err := polkit.ReadFile("polkit/" + f.name)
		if err != nil {
			return nil, err
		}
		file := i.m.writeFile(filepath.Join(f.dir, f.name), 0o644, data)
		file.theirs = strings.HasSuffix(f.dir, "/rules.d")
		files = append(files, file)
	}
	return append(files,
		i.m.writeFile("/usr/local/share/applications/countersign.desktop", 0o644, []byte(desktop.Entry)),
		i.m.writeFile("/etc/xdg/autostart/countersign-session.desktop", 0o644, []byte(desktop.Autostart)),
	), nil
}

// definition is the service's, which the init system is told of as a whole; nil
// for a user's, whose units are files like others.
func (i *Installer) definition() (*DefineService, error) {
	if i.User {
		return nil, nil //nolint:nilnil // there is none
	}
	path, perm, template := i.m.init.definition()
	text := i.m.init.rendered(template)
	if !strings.Contains(string(text), i.m.init.program) || strings.Contains(string(text), "{{") {
		return nil, errors.New("installer: the service's definition does not name its program")
	}
	return &DefineService{WriteFile: *i.m.writeFile(path, perm, text), Name: serviceName, Init: i.m.init.name}, nil
}

// addDirectories adds the directories that the files need and that there are
// not, and those of the configuration.
func (i *Installer) addDirectories(ctx context.Context, p *Plan, files []*WriteFile) error {
	var wanted []string
	if !i.User {
		wanted = []string{"/etc/countersign", "/etc/countersign/conf.d"}
	}
	for _, f := range files {
		wanted = append(wanted, filepath.Dir(f.Path))
	}
	var steps []Step
	for _, dir := range wanted {
		for _, d := range i.missingDirectories(dir) {
			same := func(s Step) bool { return s.(*MakeDirectory).Path == d } //nolint:forcetypeassert // nothing else is in it
			if !slices.ContainsFunc(steps, same) {
				steps = append(steps, &MakeDirectory{d, 0o755, i.m.owner})
			}
		}
	}
	return i.add(ctx, p, steps...)
}

// missingDirectories are dir and those above it that are not there, or that an
// interrupted installation has made, the highest first.
func (i *Installer) missingDirectories(dir string) (missing []string) {
	for ; dir != "/"; dir = filepath.Dir(dir) {
		ours := i.m.book.find(KindDirectory, dir, "", "")
		if i.m.tree.exists(dir) && ours == nil {
			break
		}
		missing = append([]string{dir}, missing...)
	}
	return missing
}

func (i *Installer) addFiles(ctx context.Context, p *Plan, files []*WriteFile) error {
	for _, f := range files {
		if path, _, _ := i.m.init.definition(); (f.Path == path && !i.User) || strings.HasPrefix(f.Path, "/etc/sysusers.d/") {
			continue // comes after all that it needs, or has come before
		}
		if err := i.add(ctx, p, f); err != nil {
			return err
		}
	}
	return nil
}

// addUser makes the system user before files name it: dbus-daemon reads its own as
// soon as it is there.
func (i *Installer) addUser(ctx context.Context, p *Plan, files []*WriteFile) error {
	if i.User {
		return nil
	}
	for _, f := range files {
		if strings.HasPrefix(f.Path, "/etc/sysusers.d/") {
			if err := i.add(ctx, p, f); err != nil {
				return err
			}
		}
	}
	command := []string{
		"useradd", "--system", "--user-group", "--no-create-home", "--home-dir", i.layout.state,
		"--shell", "/usr/sbin/nologin", "--comment", "Countersign approval service", serviceUser,
	}
	if i.m.tree.hasName("/etc/group", "tss") {
		command = slices.Insert(command, 3, "--groups", "tss")
	}
	if i.m.init.name == initSystemd {
		command = []string{"systemd-sysusers", "countersign.conf"}
		if !i.m.tree.live() {
			command = slices.Insert(command, 1, "--root="+i.Root)
		}
	}
	return i.add(ctx, p, &MakeUser{serviceUser, command})
}

// addObsolete removes what an earlier version wrote and this one does not.
func (i *Installer) addObsolete(ctx context.Context, p *Plan, files []*WriteFile) error {
	for _, e := range i.m.book.Entries {
		kept := func(f *WriteFile) bool { return f.Path == e.Path || f.Path+".new" == e.Path }
		// Programs stay that are run where they are now.
		if e.Kind != KindWrite || slices.ContainsFunc(files, kept) || filepath.Dir(e.Path) == i.programs {
			continue
		}
		if err := i.add(ctx, p, &RemoveFile{e.Path, e.Wrote}); err != nil {
			return err
		}
	}
	return nil
}

// addUnits enables and starts.
func (i *Installer) addUnits(ctx context.Context, p *Plan, files []*WriteFile) error {
	var all []string
	for _, f := range files {
		all = append(all, f.Path)
	}
	switch {
	case i.User:
		return i.add(ctx, p,
			i.reload(userScope, all), i.enable(serviceUnit, userScope), i.enable(sessionUnit, userScope),
			&Start{Unit: socketUnit, Scope: userScope, files: pathsOf(all, socketUnit)},
			&Start{Unit: serviceName, Scope: userScope, files: serviceFiles(all)},
			&Start{Unit: sessionUnit, Scope: userScope, With: "graphical-session.target", files: slices.Concat(pathsOf(all, sessionUnit), pathsOf(all, "countersign"))},
		)
	case i.m.init.name != initSystemd:
		return i.add(ctx, p, &Start{Unit: serviceName, Scope: systemScope, files: serviceFiles(all)})
	case !i.m.tree.live():
		return i.add(ctx, p, i.enable(sessionUnit, globalScope))
	}
	steps := []Step{i.enable(sessionUnit, globalScope), i.reload(systemScope, all)}
	if i.m.tree.exists("/run/udev/control") {
		rules := pathsOf(all, "60-countersign.rules")
		steps = append(steps,
			&Reload{Command: []string{"udevadm", "control", "--reload"}, files: rules},
			&Reload{Command: []string{"udevadm", "trigger", "--settle", "--subsystem-match=tpmrm"}, files: rules})
	}
	return i.add(ctx, p, append(steps,
		&Start{Unit: socketUnit, Scope: systemScope, files: pathsOf(all, socketUnit)},
		&Start{Unit: serviceName, Scope: systemScope, files: serviceFiles(all)})...)
}

func (i *Installer) enable(unit string, s scope) Step {
	return &Enable{unit, s, s.systemctl(i.Root, "enable", unit)}
}

func (i *Installer) reload(s scope, files []string) Step {
	return &Reload{s.systemctl("/", "daemon-reload"), files}
}

// pathsOf picks the files of a name.
func pathsOf(files []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(files), func(f string) bool { return filepath.Base(f) != name })
}

// serviceFiles picks the files that the running service is made of.
func serviceFiles(files []string) []string {
	return slices.DeleteFunc(slices.Clone(files), func(f string) bool {
		return !slices.Contains([]string{serviceName, serviceUnit, serviceName + ".conf"}, filepath.Base(f))
	})
}

// notes are what the installation needs that it cannot do.
func (i *Installer) notes() []Note {
	notes := []Note{}
	if !i.m.tree.live() {
		return notes
	}
	if !i.User && i.m.init.name == initSystemd {
		notes = append(notes, Note{Text: "whoever is at a desktop now has prompts, and those of this version, from the next login on, or after:", Cure: "systemctl --user restart " + sessionUnit})
	}
	info, err := os.Stat("/dev/tpmrm0")
	switch {
	case errors.Is(err, os.ErrNotExist):
		notes = append(notes, Note{Text: "there is no TPM at /dev/tpmrm0: switch it on in the firmware, or use a token", Cure: "countersign doctor"})
	case err == nil && i.User && unix.Access("/dev/tpmrm0", unix.R_OK|unix.W_OK) != nil:
		notes = append(notes, i.tpmGroup(info))
	}
	return notes
}

// tpmGroup says how a user gets to the TPM.
func (i *Installer) tpmGroup(info os.FileInfo) Note {
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Gid == 0 || info.Mode().Perm()&0o060 != 0o060 {
		return Note{Text: "you may not use the TPM, /dev/tpmrm0: only root may. Install the system's service instead", Cure: mend.Words("sudo", filepath.Join(i.Programs, "countersign"), "service", "install")}
	}
	return Note{
		Text: "you may not use the TPM, /dev/tpmrm0: only root and the members of a group may; become one, then log out and in again",
		Cure: `sudo usermod --append --groups "$(stat --format=%G /dev/tpmrm0)" "$(id --user --name)"`,
	}
}
