package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"countersign/session/notify"
	"countersign/session/portal"
)

// openPage shows a page in the person's browser: through the desktop's portal, or
// where it has none with xdg-open.
func openPage(ctx context.Context, page string) error {
	err := portal.OpenPage(ctx, notify.Address(), page)
	if err == nil || !errors.Is(err, portal.ErrNoBrowser) {
		return err
	}
	// It outlives what asks for it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "xdg-open", page)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("xdg-open: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	return nil
}
