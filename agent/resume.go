package agent

import (
	"context"
	"errors"
	"fmt"

	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/hsm"
	"countersign/protocol"
)

// resumeEnrollment goes on with what a crash or the network interrupted, until
// the server has said yes or no.
func (a *Agent) resumeEnrollment(ctx context.Context, e *state.Enrollment) {
	log := a.cfg.Log.With("server", e.Server)
	client := upstream.ForEnrollment(e.Server, e.CA)
	defer client.Close()
	var backoff upstream.Backoff
	for ctx.Err() == nil {
		err := a.begin(ctx, client, e)
		if err == nil {
			_, err = a.finish(ctx, client, e)
		}
		switch {
		case err == nil:
			return
		case refused(err):
			log.Warn("unfinished enrollment ended by the server", "error", err)
			if err := a.abandon(e); err != nil {
				log.Error("unfinished enrollment not removed", "error", err)
			}
			return
		}
		pause := backoff.Pause()
		log.Info("unfinished enrollment goes on later", "error", err, "again_in", pause)
		_ = upstream.Sleep(ctx, pause)
	}
}

// abandon deletes the keys of an enrollment that will never be, then forgets
// it. Keys that the chip does not give up now are tried again at the next
// start, since the enrollment stays until they are gone.
func (a *Agent) abandon(e *state.Enrollment) error {
	ctx, cancel := context.WithTimeout(context.Background(), signWait)
	defer cancel()
	for _, reference := range [][]byte{e.Keys.Device, e.Keys.Approval} {
		key, err := a.cfg.Provider.Open(ctx, reference)
		if errors.Is(err, hsm.ErrForeignKey) || errors.Is(err, hsm.ErrBadReference) {
			continue
		}
		if err == nil {
			err = key.Delete(ctx, hsm.Auth{})
		}
		if err != nil {
			return fmt.Errorf("agent: delete key: %w", err)
		}
	}
	return a.cfg.State.AbandonEnrollment(e)
}

// refused reports whether the server has answered no, once and for all.
func refused(err error) bool {
	p, ok := errors.AsType[*protocol.Problem](err)
	return ok && p.Status >= 400 && p.Status < 500 && p.Status != 429
}

// retry calls f until it succeeds, is refused, or was tried often enough.
func retry(ctx context.Context, f func() error) error {
	var backoff upstream.Backoff
	for i := 1; ; i++ {
		err := f()
		if err == nil || refused(err) || i == stepTries || ctx.Err() != nil {
			return err
		}
		if upstream.Sleep(ctx, backoff.Pause()) != nil {
			return err
		}
	}
}
