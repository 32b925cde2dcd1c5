package installer

import (
	"context"
	"slices"
)

// Begin notes in the record that what was made is taken apart: an installation
// that follows an interrupted removal does everything anew.
type Begin struct {
	Path string `json:"path"`
}

// Kind implements Step.
func (s *Begin) Kind() Kind { return KindBegin }

func (s *Begin) String() string { return "record in " + s.Path + " that it is removed" }

func (s *Begin) state(_ context.Context, m *machine) (State, error) {
	if m.book.Complete || slices.ContainsFunc(m.book.Entries, func(e *entry) bool { return e.Done }) {
		return Needed, nil
	}
	return Done, nil
}

func (s *Begin) apply(ctx context.Context, m *machine) error {
	if state, err := s.state(ctx, m); err != nil || state == Done {
		return err
	}
	m.book.Complete = false
	for _, e := range m.book.Entries {
		e.Done = false
	}
	return m.book.save()
}

// Finish notes in the record that all is done.
type Finish struct {
	Path string `json:"path"`

	installed bool
	version   string
	// keep are entries that stay when all else is uninstalled.
	keep []*entry
}

// Kind implements Step.
func (s *Finish) Kind() Kind { return KindFinish }

func (s *Finish) String() string {
	switch {
	case s.installed:
		return "record what was done in " + s.Path
	case len(s.keep) > 0:
		return "record what is kept in " + s.Path
	}
	return "remove the record " + s.Path
}

func (s *Finish) state(_ context.Context, m *machine) (State, error) {
	if s.installed && m.book.Complete && len(m.book.Fresh) == 0 && m.book.Version == s.version {
		return Done, nil
	}
	return Needed, nil
}

func (s *Finish) apply(ctx context.Context, m *machine) error {
	if state, err := s.state(ctx, m); err != nil || state == Done {
		return err
	}
	m.book.Fresh, m.book.Complete = nil, s.installed
	if s.installed {
		m.book.Version, m.book.Init = s.version, m.init.name
		m.book.Entries = slices.DeleteFunc(m.book.Entries, func(e *entry) bool {
			return e.Kind == KindWrite && !m.tree.exists(e.Path)
		})
		return m.book.save()
	}
	if len(s.keep) == 0 {
		return m.book.erase()
	}
	m.book.Entries = s.keep
	return m.book.save()
}
