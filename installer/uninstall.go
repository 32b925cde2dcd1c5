package installer

import (
	"context"
	"path/filepath"
	"slices"

	"countersign/internal/mend"
)

// PlanUninstall plans to take away what was installed: what the record tells of,
// and nothing else. The keys and the rest of the service's state, and the user
// they belong to, go too with purge; without it they stay, and so does the record
// of that user. It changes nothing.
func (i *Installer) PlanUninstall(ctx context.Context, purge bool) (*Plan, error) {
	if len(i.m.book.Entries) == 0 {
		return nil, i.notInstalled(ctx)
	}
	p := i.plan("uninstall")
	owner := i.packageOfService(ctx)
	stays := owner != "" || i.m.tree.exists(i.layout.state) && !purge
	steps := append([]Step{&Begin{i.layout.record}}, i.stops()...)
	if !stays && i.m.tree.live() {
		steps = append(steps, i.purge())
	}
	steps = append(steps, i.removals()...)
	finish := &Finish{Path: i.layout.record}
	switch {
	case owner != "":
		p.Notes = append(p.Notes, Note{Text: "the package " + owner + " goes on with the keys and profiles in " + i.layout.state})
	case stays:
		p.Notes = append(p.Notes, Note{
			Text: "the keys and profiles stay in " + i.layout.state,
			Cure: "to remove them too: " + i.Command("uninstall", "--purge"),
		})
		finish.keep = i.kept()
	default:
		steps = append(steps, i.forget()...)
	}
	if err := i.add(ctx, p, append(steps, i.directories()...)...); err != nil {
		return nil, err
	}
	if owner != "" {
		i.handOver(p)
	}
	return p, i.add(ctx, p, finish)
}

// forget removes the state and whose it is.
func (i *Installer) forget() []Step {
	steps := []Step{&RemoveState{i.layout.state, "the keys and profiles of everybody"}}
	if i.m.init.name != initSystemd {
		steps = append(steps, &RemoveState{logFile, "what the service said"})
	}
	if i.m.book.find(KindUser, "", serviceUser, "") != nil {
		steps = append(steps, &RemoveUser{serviceUser})
	}
	return steps
}

// handOver has the service of a package that came later take the place of what is
// removed: its units were hidden, and their links were the same ones.
func (i *Installer) handOver(p *Plan) {
	if i.m.init.name != initSystemd {
		return
	}
	steps := []Step{i.enable(serviceUnit, systemScope), i.enable(sessionUnit, globalScope)}
	if i.m.tree.live() {
		steps = append(steps, &Start{Unit: socketUnit, Scope: systemScope}, &Start{Unit: serviceName, Scope: systemScope})
	}
	for _, s := range steps { // whatever they are now, they are not when it comes to them
		p.Steps = append(p.Steps, &Item{s.Kind(), Needed, s.String(), s})
	}
}

// Command is a line that does something to the service: with the program that runs
// here, whose version it is about. Elsewhere than in /usr/bin not every shell finds it
// by its name, nor does every sudo.
func (i *Installer) Command(word string, flags ...string) string {
	program := filepath.Join(i.Programs, "countersign")
	if program == "/usr/bin/countersign" {
		program = "countersign"
	}
	line := append([]string{program, "service", word}, flags...)
	switch {
	case i.User:
		line = append(line, "--user")
	default:
		line = append([]string{"sudo"}, line...)
	}
	if !i.m.tree.live() {
		line = append(line, "--root", i.Root)
	}
	return mend.Words(line...)
}

// notInstalled says why there is nothing to remove.
func (i *Installer) notInstalled(ctx context.Context) error {
	if err := i.m.refusePackaged(ctx, packagedPaths(nil)); err != nil {
		return err
	}
	return fail(CodeNotInstalled, i.Command("install"), "the service is not installed, as %s says", i.layout.record)
}

// kept are the entries that stay with the state.
func (i *Installer) kept() (kept []*entry) {
	for _, e := range i.m.book.Entries {
		if e.Kind == KindUser {
			kept = append(kept, e)
		}
	}
	return kept
}

// purge removes what is in chips, while the program for that is here still; else
// the one that lies beside this one does it.
func (i *Installer) purge() Step {
	program := i.m.init.program
	if !i.m.tree.exists(program) {
		program = filepath.Join(i.Programs, "countersignd")
	}
	command := []string{program, "purge", "--yes"}
	switch {
	case i.User:
		command = append(command, "--user")
	case i.m.init.name == initSystemd:
		command = append([]string{
			"systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--property=User=" + serviceUser,
			"--property=SupplementaryGroups=tss", "--property=LoadCredential=countersign.tpm-owner-password", "--",
		}, command...)
	default:
		command = append([]string{"runuser", "-u", serviceUser, "-G", "tss", "--"}, command...)
	}
	return &PurgeKeys{Command: command, directory: i.layout.state, sudo: !i.User}
}

// stops stop what runs and disable what is enabled, the last first.
func (i *Installer) stops() (steps []Step) {
	s := i.scope()
	if i.m.tree.live() {
		if i.User {
			steps = append(steps, &Stop{sessionUnit, s})
		}
		if i.m.init.name == initSystemd {
			steps = append(steps, &Stop{socketUnit, s})
		}
		steps = append(steps, &Stop{serviceName, s})
	}
	for _, e := range slices.Backward(i.m.book.Entries) {
		if e.Kind == KindEnable {
			steps = append(steps, &Disable{e.Name, e.Scope, e.Scope.systemctl(i.Root, "disable", e.Name), i.unitPath(e.Name, e.Scope)})
		}
	}
	return steps
}

func (i *Installer) unitPath(unit string, s scope) string {
	switch s {
	case userScope:
		return filepath.Join(i.Home.Config, "systemd/user", unit)
	case globalScope:
		return filepath.Join("/etc/systemd/user", unit)
	case systemScope:
	}
	return filepath.Join("/etc/systemd/system", unit)
}

// removals remove the files, the last first.
func (i *Installer) removals() (steps []Step) {
	for _, e := range slices.Backward(i.m.book.Entries) {
		switch e.Kind {
		case KindWrite:
			steps = append(steps, &RemoveFile{e.Path, e.Wrote})
		case KindService:
			wrote := slices.Clone(e.Wrote)
			if e.interrupted() {
				wrote = append(wrote, hash(nil))
			}
			steps = append(steps, &RemoveService{RemoveFile{e.Path, wrote}, serviceName})
		default:
		}
	}
	if i.m.tree.live() && i.m.init.name == initSystemd {
		steps = append(steps, i.reload(i.scope(), nil))
	}
	return steps
}

// directories remove the directories that were made, the last first.
func (i *Installer) directories() (steps []Step) {
	for _, e := range slices.Backward(i.m.book.Entries) {
		if e.Kind == KindDirectory {
			steps = append(steps, &RemoveDirectory{e.Path})
		}
	}
	return steps
}
