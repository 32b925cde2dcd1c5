package installer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"countersign/internal/mend"
)

// MakeUser makes the system user that the service runs as.
type MakeUser struct {
	Name    string   `json:"name"`
	Command []string `json:"command"`
}

// Kind implements Step.
func (s *MakeUser) Kind() Kind { return KindUser }

func (s *MakeUser) String() string {
	return fmt.Sprintf("make user %s: %s", s.Name, mend.Words(s.Command...))
}

func (s *MakeUser) state(_ context.Context, m *machine) (State, error) {
	if m.tree.hasName("/etc/passwd", s.Name) {
		return Done, nil
	}
	return Needed, nil
}

func (s *MakeUser) apply(ctx context.Context, m *machine) error {
	state, err := s.state(ctx, m)
	switch {
	case err != nil:
		return err
	case state == Done:
		return m.book.done(KindUser, "", s.Name, "")
	}
	if err := m.book.intend(entry{Kind: KindUser, Name: s.Name}); err != nil {
		return err
	}
	if err := m.run(ctx, s.Command); err != nil {
		return err
	}
	return m.book.done(KindUser, "", s.Name, "")
}

// RemoveUser removes the system user, and its group.
type RemoveUser struct {
	Name string `json:"name"`
}

// Kind implements Step.
func (s *RemoveUser) Kind() Kind { return KindRemoveUser }

func (s *RemoveUser) String() string { return "remove user " + s.Name }

func (s *RemoveUser) state(_ context.Context, m *machine) (State, error) {
	if m.tree.hasName("/etc/passwd", s.Name) || m.tree.hasName("/etc/group", s.Name) {
		return Needed, nil
	}
	return Done, nil
}

func (s *RemoveUser) apply(ctx context.Context, m *machine) error {
	for _, c := range []struct{ file, tool string }{{"/etc/passwd", "userdel"}, {"/etc/group", "groupdel"}} {
		if !m.tree.hasName(c.file, s.Name) {
			continue
		}
		command := []string{c.tool, s.Name}
		if !m.tree.live() {
			command = []string{c.tool, "--prefix", m.tree.dir, s.Name}
		}
		if err := m.run(ctx, command); err != nil {
			return err
		}
	}
	return nil
}

// DefineService tells the init system of the service: on a running system with
// kardianos/service, which writes the unit or script and enables it.
type DefineService struct {
	WriteFile

	Name string `json:"name"`
	Init string `json:"init"`
}

// Kind implements Step.
func (s *DefineService) Kind() Kind { return KindService }

func (s *DefineService) String() string {
	return fmt.Sprintf("define service %s for %s: %s %s %s, %d bytes, sha256 %.12s", s.Name, s.Init, s.Path, s.Mode, s.Owner, s.Size, s.SHA256)
}

func (s *DefineService) apply(ctx context.Context, m *machine) error {
	ours := m.book.find(KindService, s.Path, "", "")
	state, err := s.state(ctx, m)
	switch {
	case err != nil:
		return err
	case state == Kept:
		if err := m.placeBeside(&s.WriteFile); err != nil || ours.Done {
			return err
		}
		return m.init.enable(ctx, m)
	case state == Done:
		return nil
	case ours != nil && ours.Done:
		return m.place(KindService, &s.WriteFile)
	}
	return s.define(ctx, m)
}

// define has the init system told for the first time, or once more where that
// was interrupted: then what there is of the file is ours, and goes.
func (s *DefineService) define(ctx context.Context, m *machine) error {
	if err := m.tree.guarded(s.Path); err != nil {
		return err
	}
	m.book.freshen(s.Path)
	m.book.Init = s.Init
	if err := m.book.intend(entry{Kind: KindService, Path: s.Path, Wrote: []string{s.SHA256}}); err != nil {
		return err
	}
	if err := m.tree.remove(s.Path); err != nil {
		return err
	}
	if err := m.init.define(ctx, m, s); err != nil {
		return err
	}
	return m.book.done(KindService, s.Path, "", "")
}

// RemoveService takes the service from the init system, with what it has made of
// the unit or script.
type RemoveService struct {
	RemoveFile

	Name string `json:"name"`
}

// Kind implements Step.
func (s *RemoveService) Kind() Kind { return KindRemoveService }

func (s *RemoveService) String() string {
	return fmt.Sprintf("remove service %s: %s", s.Name, s.Path)
}

func (s *RemoveService) apply(ctx context.Context, m *machine) error {
	if err := m.tree.remove(temporary(s.Path)); err != nil {
		return err
	}
	state, err := s.state(ctx, m)
	if err != nil {
		return err
	}
	switch state {
	case Needed:
		err = m.init.undefine(ctx, m, s.Path)
	case Kept:
		err = m.init.disable(ctx, m)
	case Done:
	case Others:
		return nil
	}
	if err != nil {
		return err
	}
	return m.init.unlink(m, s.Path)
}

// PurgeKeys has the service's own program remove the keys from their chips, as the
// service's user, since root does not trust what that user wrote.
type PurgeKeys struct {
	Command []string `json:"command"`

	// directory is the service's state, without which there are no keys.
	directory string
	// sudo is whether the command takes root.
	sudo bool
}

// Kind implements Step.
func (s *PurgeKeys) Kind() Kind { return KindPurge }

func (s *PurgeKeys) String() string {
	return "remove the keys from the chips: " + mend.Words(s.Command...)
}

func (s *PurgeKeys) state(_ context.Context, m *machine) (State, error) {
	if m.tree.exists(s.directory) {
		return Needed, nil
	}
	return Done, nil
}

func (s *PurgeKeys) apply(ctx context.Context, m *machine) error {
	if state, err := s.state(ctx, m); err != nil || state == Done {
		return err
	}
	err := m.run(ctx, s.Command)
	if failed, ok := errors.AsType[*Error](err); ok {
		failed.Cure = "mend that and do this again, or leave in the chips what is there: " + mend.Words(append(s.Command, "--force")...)
		if s.sudo {
			failed.Cure = strings.Replace(failed.Cure, "there: ", "there: sudo ", 1)
		}
	}
	return err
}

// Enable has a unit started with what it belongs to.
type Enable struct {
	Unit    string   `json:"unit"`
	Scope   scope    `json:"scope"`
	Command []string `json:"command"`
}

// Kind implements Step.
func (s *Enable) Kind() Kind { return KindEnable }

func (s *Enable) String() string { return "enable " + s.Unit + ": " + mend.Words(s.Command...) }

// state leaves a unit disabled that was enabled once: somebody did that.
func (s *Enable) state(_ context.Context, m *machine) (State, error) {
	if e := m.book.find(KindEnable, "", s.Unit, s.Scope); e != nil && e.Done {
		return Done, nil
	}
	return Needed, nil
}

func (s *Enable) apply(ctx context.Context, m *machine) error {
	if state, err := s.state(ctx, m); err != nil || state == Done {
		return err
	}
	if err := m.book.intend(entry{Kind: KindEnable, Name: s.Unit, Scope: s.Scope}); err != nil {
		return err
	}
	if err := m.run(ctx, s.Command); err != nil {
		return err
	}
	return m.book.done(KindEnable, "", s.Unit, s.Scope)
}

// Disable takes back what Enable did.
type Disable struct {
	Unit    string   `json:"unit"`
	Scope   scope    `json:"scope"`
	Command []string `json:"command"`

	path string
}

// Kind implements Step.
func (s *Disable) Kind() Kind { return KindDisable }

func (s *Disable) String() string { return "disable " + s.Unit + ": " + mend.Words(s.Command...) }

// state needs the unit's file: systemctl knows no unit without one.
func (s *Disable) state(_ context.Context, m *machine) (State, error) {
	if m.tree.exists(s.path) {
		return Needed, nil
	}
	return Done, nil
}

func (s *Disable) apply(ctx context.Context, m *machine) error {
	if state, err := s.state(ctx, m); err != nil || state == Done {
		return err
	}
	return m.run(ctx, s.Command)
}

// Reload tells a running program that its files have changed.
type Reload struct {
	Command []string `json:"command"`
	// files are those it reads. On installing it is needed where one is fresh.
	files []string
}

// Kind implements Step.
func (s *Reload) Kind() Kind { return KindReload }

func (s *Reload) String() string { return "reload: " + mend.Words(s.Command...) }

func (s *Reload) state(_ context.Context, m *machine) (State, error) {
	if s.files == nil || !m.book.Complete || m.anyFresh(s.files) {
		return Needed, nil
	}
	return Done, nil
}

func (s *Reload) apply(ctx context.Context, m *machine) error {
	if state, err := s.state(ctx, m); err != nil || state == Done {
		return err
	}
	return m.run(ctx, s.Command)
}

func (m *machine) anyFresh(files []string) bool {
	return slices.ContainsFunc(files, func(f string) bool { return slices.Contains(m.book.Fresh, f) })
}
