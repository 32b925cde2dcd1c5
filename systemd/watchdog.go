package systemd

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Watch tells the service manager's watchdog that the program is alive, for as
// long as alive says so, and returns when ctx ends. It asks twice in each
// period, and gives alive one third of it to answer; the period is the unit's
// WatchdogSec=. An answer that fails before that is not the last word: who is
// turned away in a crowd does not hang. Without a watchdog it only waits.
//
// A program that does not answer itself gets no ping, so that the service manager
// ends it, with the stacks of its goroutines in the log, and starts it again.
func Watch(ctx context.Context, log *slog.Logger, alive func(context.Context) error) error {
	period, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("systemd: watchdog: %w", err)
	}
	if period > 0 {
		watch(ctx, log, period, alive, func() error { return notify(daemon.SdNotifyWatchdog) })
	}
	<-ctx.Done()
	return nil
}

func watch(ctx context.Context, log *slog.Logger, period time.Duration, alive func(context.Context) error, ping func() error) {
	tick := time.NewTicker(period / 2)
	defer tick.Stop()
	for {
		err := answers(ctx, period/3, alive)
		if err == nil {
			err = ping()
		}
		if err != nil && ctx.Err() == nil {
			log.Error("the service does not answer itself: the watchdog is not told that it is alive", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// answers asks until the answer is good or time is up, some forty times at most.
func answers(ctx context.Context, limit time.Duration, alive func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	again := time.NewTicker(max(limit/40, time.Millisecond))
	defer again.Stop()
	for {
		err := alive(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
			if ctx.Err() != nil {
				return err
			}
		case <-ctx.Done():
			return err
		}
	}
}
