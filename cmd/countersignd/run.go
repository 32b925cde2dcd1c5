package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"countersign/agent"
	"countersign/agent/audit"
	"countersign/agent/state"
	"countersign/internal/version"
	"countersign/internal/zone"
	"countersign/ipc"
)

// run wires the service and serves until ctx ends. It prints "ready" once the
// socket answers, with or without its chips.
func run(ctx context.Context, cfg config, out io.Writer) (err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	dir, err := state.Open(cfg.State)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	keys, closeKeys, err := cfg.chips()
	if err != nil {
		return usageError{err}
	}
	defer func() { err = errors.Join(err, closeKeys()) }()
	verifiers, err := cfg.verifiers()
	if err != nil {
		return usageError{err}
	}
	record, err := openAudit(cfg.State)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, record.Close()) }()
	core, err := agent.New(agent.Config{
		Version: version.Version(), Mode: cfg.mode(), State: dir, Providers: keys, Audit: record, Log: log,
		TimeZone: zone.Local(), Policy: cfg.Locks, Verifiers: verifiers,
	})
	if err != nil {
		return err
	}
	handler, err := ipc.NewHandler(log, core.Routes())
	if err != nil {
		return err
	}
	socket, err := ipc.Listen(cfg.Socket, cfg.socketMode())
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "ready")
	return serve(ctx, core, func(ctx context.Context) error { return ipc.Serve(ctx, socket, handler) })
}

// openAudit opens the audit log, which stands in the state directory.
func openAudit(dir string) (*audit.Log, error) {
	return audit.Open(filepath.Join(dir, "audit"), audit.Clock{Wall: time.Now, Boot: agent.BootTime})
}

// serve runs both halves and ends both when one ends.
func serve(ctx context.Context, core *agent.Agent, api func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer cancel()
		done <- api(ctx)
	}()
	err := core.Run(ctx)
	cancel()
	return errors.Join(err, <-done)
}

func (c config) mode() string {
	if c.user {
		return "user"
	}
	return "system"
}

// socketMode lets every local user in where the service is the system's: the
// kernel says who calls, and the routes say what they may.
func (c config) socketMode() os.FileMode {
	if c.user {
		return 0o600
	}
	return 0o666
}
