package installer

import "context"

// Start starts a unit, or has one that runs take what is new.
type Start struct {
	Unit    string   `json:"unit"`
	Scope   scope    `json:"scope"`
	Command []string `json:"command,omitempty"`
	// With is a unit that it goes with: where that does not run, it is not started
	// either, and comes with it.
	With string `json:"with,omitempty"`

	// files are those the unit is made of.
	files []string
}

// Kind implements Step.
func (s *Start) Kind() Kind { return KindStart }

func (s *Start) String() string {
	return "start " + s.Unit + ", or start it again where it runs with older files"
}

// state leaves a service stopped that was started once: somebody stopped it.
func (s *Start) state(ctx context.Context, m *machine) (State, error) {
	if s.With != "" {
		if with, err := m.active(ctx, s.With, s.Scope); err != nil || !with {
			return Done, err
		}
	}
	running, err := m.active(ctx, s.Unit, s.Scope)
	if err != nil {
		return "", err
	}
	if running && m.anyFresh(s.files) || !running && !m.book.Complete {
		return Needed, nil
	}
	return Done, nil
}

func (s *Start) apply(ctx context.Context, m *machine) error {
	state, err := s.state(ctx, m)
	if err != nil || state == Done {
		return err
	}
	running, err := m.active(ctx, s.Unit, s.Scope)
	if err != nil {
		return err
	}
	m.tree.changed()
	defer m.tree.changed()
	switch {
	case s.Unit == socketUnit && running:
		return m.run(ctx, s.Scope.systemctl("/", "restart", s.Unit, serviceUnit))
	case s.Unit != serviceName && running:
		return m.run(ctx, s.Scope.systemctl("/", "restart", s.Unit))
	case s.Unit != serviceName:
		return m.run(ctx, s.Scope.systemctl("/", "start", s.Unit))
	case running:
		return m.init.restart()
	}
	return m.init.start()
}

// active is whether a unit runs.
func (m *machine) active(ctx context.Context, unit string, s scope) (bool, error) {
	if unit == serviceName {
		return m.init.running()
	}
	// What is not active is an exit status too.
	out, err := output(ctx, s.systemctl("/", "is-active", unit))
	return err == nil && out == "active\n", nil
}

// Stop stops a unit.
type Stop struct {
	Unit  string `json:"unit"`
	Scope scope  `json:"scope"`
}

// Kind implements Step.
func (s *Stop) Kind() Kind { return KindStop }

func (s *Stop) String() string { return "stop " + s.Unit }

func (s *Stop) state(ctx context.Context, m *machine) (State, error) {
	running, err := m.active(ctx, s.Unit, s.Scope)
	if err == nil && running {
		return Needed, nil
	}
	return Done, err
}

func (s *Stop) apply(ctx context.Context, m *machine) error {
	state, err := s.state(ctx, m)
	if err != nil || state == Done {
		return err
	}
	m.tree.changed()
	defer m.tree.changed()
	if s.Unit != serviceName {
		return m.run(ctx, s.Scope.systemctl("/", "stop", s.Unit))
	}
	return m.init.stop()
}
