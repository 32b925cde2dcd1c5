package main

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"

	"countersign/agent/settings"
	"countersign/agent/state"
)

// TestInterruptedPurge: who ends a purge has not asked for the state to go without
// what it says of the chips.
func TestInterruptedPurge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	dir, err := state.Open(path)
	if err = errors.Join(err, dir.Close()); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	cmd := &cobra.Command{}
	cmd.SetContext(ctx)
	interrupt()
	cfg := config{Loaded: settings.Loaded{Settings: settings.Settings{State: path}}}
	if err := purge(cmd, cfg, purgeFlags{yes: true, force: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("it says %v", err)
	}
	if !state.Exists(path) {
		t.Error("the state is gone")
	}
	cmd.SetContext(t.Context())
	if err := purge(cmd, cfg, purgeFlags{yes: true}); err != nil || state.Exists(path) {
		t.Errorf("once more: %v", err)
	}
}
