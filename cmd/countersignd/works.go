package main

import (
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"countersign/agent"
	"countersign/agent/audit"
	"countersign/agent/metrics"
	"countersign/agent/state"
	"countersign/agent/verify"
	"countersign/internal/version"
	"countersign/internal/zone"
	"countersign/ipc"
)

// works is all that a service which can do its work is made of.
type works struct {
	cfg     config
	core    *agent.Agent
	handler http.Handler
	closers []func() error
}

// build reads the configuration and opens what it names. It touches neither chip
// nor network. What fails leaves nothing open.
func (s *service) build() (w *works, err error) {
	w = &works{}
	defer func() {
		if err != nil {
			w, err = nil, errors.Join(err, w.close())
		}
	}()
	if w.cfg, err = s.flags.load(); err != nil {
		return w, err
	}
	for _, n := range w.cfg.Notes {
		s.log.Warn("about the configuration", "note", n)
	}
	for _, p := range w.cfg.secrets(uint32(os.Geteuid())) {
		s.log.Warn("a file with a secret cannot be used, and is looked at again when it is needed", "problem", p.Message)
	}
	cfg, err := w.agentConfig(s.log)
	if err != nil {
		return w, err
	}
	if w.core, err = agent.New(cfg); err != nil {
		return w, err
	}
	w.handler, err = ipc.NewHandler(s.log, w.core.Routes())
	return w, err
}

// agentConfig opens what the agent is made of.
func (w *works) agentConfig(log *slog.Logger) (agent.Config, error) {
	cfg := w.cfg
	none := agent.Config{}
	dir, err := state.Open(cfg.State)
	if err != nil {
		return none, err
	}
	w.closers = append(w.closers, dir.Close)
	keys, closeKeys, err := cfg.chips()
	if err != nil {
		return none, usageError{err}
	}
	w.closers = append(w.closers, closeKeys)
	verifiers, err := cfg.verifiers()
	if err != nil {
		return none, usageError{err}
	}
	record, err := audit.Open(filepath.Join(cfg.State, "audit"), audit.Clock{Wall: time.Now, Boot: agent.BootTime})
	if err != nil {
		return none, err
	}
	w.closers = append(w.closers, record.Close)
	return agent.Config{
		Version: version.Version(), Mode: mode(cfg.user), State: dir, Providers: keys, Audit: record, Log: log,
		TimeZone: zone.Local(), Policy: cfg.Locks, Verifiers: verifiers, Metrics: cfg.metrics(log), Bus: verify.Bus{}.Reach,
		Network: cfg.network(), Fleet: cfg.fleet(),
	}, nil
}

// close gives back what was opened, the last first.
func (w *works) close() error {
	var errs []error
	for i := len(w.closers) - 1; i >= 0; i-- {
		errs = append(errs, w.closers[i]())
	}
	return errors.Join(errs...)
}

// metrics is where they are written, nil for nowhere.
func (c config) metrics(log *slog.Logger) *metrics.File {
	if c.Metrics.Textfile == "" {
		return nil
	}
	return &metrics.File{Path: c.Metrics.Textfile, Every: c.Metrics.Every(), Log: log}
}

func mode(user bool) string {
	if user {
		return "user"
	}
	return "system"
}
