package agent

import (
	"context"
	"errors"

	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/hsm"
	"countersign/protocol"
)

// resumeEnrollment goes on with what a crash or the network interrupted, until
// the server has said yes or no.
func (a *Agent) resumeEnrollment(ctx context.Context, e *state.Enrollment) {
	n := &enrolling{Enrollment: e, agent: a, client: a.cfg.Network.ForEnrollment(e.Server, e.CA), log: a.cfg.Log.With("server", e.Server)}
	defer n.client.Close()
	var backoff upstream.Backoff
	for ctx.Err() == nil {
		err := n.resume(ctx)
		if err == nil {
			return
		}
		if hopeless(err) {
			n.log.Warn("unfinished enrollment ended", "error", err)
			if err := n.abandon(); err != nil {
				n.log.Error("unfinished enrollment not removed", "error", err)
			}
			return
		}
		pause := backoff.Pause()
		n.log.Info("unfinished enrollment goes on later", "error", err, "again_in", pause)
		_ = upstream.Sleep(ctx, pause)
	}
}

var errNeedsPerson = errors.New("the token proves nothing without its PIN, and nobody is there to type it")

// hopeless reports whether trying again brings nothing: the server said no, the
// policy does, the keys are gone, or it takes a person.
func hopeless(err error) bool {
	_, locked := errors.AsType[*lockedError](err)
	return locked || refused(err) || errors.Is(err, errNeedsPerson) || errors.Is(err, hsm.ErrForeignKey)
}

// resume does what is left of the steps.
func (n *enrolling) resume(ctx context.Context) error {
	// The keys are durable, so the sweeper must not take them for leftovers.
	if err := n.agent.reserved.settle(n.Reserved); err != nil {
		return err
	}
	if err := n.allowed(); err != nil {
		return err
	}
	if !n.provable() {
		return errNeedsPerson
	}
	if err := n.begin(ctx); err != nil {
		return err
	}
	if err := n.prove(ctx); err != nil {
		return err
	}
	_, err := n.finish(ctx)
	return err
}

// refused reports whether the server has answered no, once and for all.
func refused(err error) bool {
	p, ok := errors.AsType[*protocol.Problem](err)
	return ok && p.Status >= 400 && p.Status < 500 && p.Status != 429
}

// misnamed reports whether it is the settings of a proxy that keep the server from being
// reached, which are no better the next time.
func misnamed(err error) bool {
	return upstream.ProxyFaultOf(err).Instead != "" || upstream.KindOf(err) == upstream.ProxyAuth
}

// retry calls f until it succeeds, is refused, or was tried often enough.
func retry(ctx context.Context, f func() error) error {
	var backoff upstream.Backoff
	for i := 1; ; i++ {
		err := f()
		if err == nil || refused(err) || misnamed(err) || i == stepTries || ctx.Err() != nil {
			return err
		}
		if upstream.Sleep(ctx, backoff.Pause()) != nil {
			return err
		}
	}
}
