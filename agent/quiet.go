package agent

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"countersign/agent/audit"
	"countersign/agent/upstream"
	"countersign/ipc"
	"countersign/protocol"
)

// moodChanged makes known that a user is prompted no more, or again, or not
// before another time: to the helpers, to the servers, and in the audit log.
func (a *Agent) moodChanged(uid uint32, why string) {
	e := audit.Event{Kind: recordQuiet, UID: &uid, Detail: map[string]string{"reason": why}}
	if why == "" {
		e = audit.Event{Kind: recordPrompting, UID: &uid}
	}
	a.note(e)
	a.cfg.Log.Info("prompting changed", "uid", uid, "quiet", why)
	a.pending.announceAll(uid)
	for _, p := range a.all() {
		if p.get().UID == uid {
			poke(p.standing)
		}
	}
}

// tellQuiet keeps the server informed until when nobody is prompted here, until
// ctx ends. It is a courtesy: the limit holds whether or not the server knows.
func (p *profile) tellQuiet(ctx context.Context, client *upstream.Client) {
	var told quietness
	var backoff upstream.Backoff
	for ctx.Err() == nil {
		q := p.agent.attention.quiet(p.get().UID)
		if q != told {
			if err := client.SetQuiet(ctx, p.quiet(q)); err != nil {
				pause := backoff.Pause()
				p.agent.cfg.Log.Info("the server is not told yet that prompting changed", "profile", p.get().ID, "error", err, "again_in", pause)
				_ = upstream.Sleep(ctx, pause)
				continue
			}
			told = q
			backoff.Reset()
		}
		select {
		case <-ctx.Done():
		case <-p.standing:
		}
	}
}

// quiet is what the server is told, by its own clock as far as that is known.
func (p *profile) quiet(q quietness) protocol.Quiet {
	left := q.until - p.agent.attention.now()
	if q.why == "" || left <= 0 {
		return protocol.Quiet{}
	}
	p.mu.Lock()
	now := time.Now().Add(p.skew)
	p.mu.Unlock()
	return protocol.Quiet{Until: now.Add(left).Unix(), Reason: q.why}
}

func (a *Agent) postMute(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	var in ipc.Mute
	if err := ipc.Decode(r, &in); err != nil {
		return nil, err
	}
	d := time.Duration(in.Seconds) * time.Second
	if in.Seconds < 0 || in.Seconds > int64(maxMute/time.Second) {
		return nil, ipc.Errorf(ipc.CodeBadRequest, "", "prompts can be muted for at most %v", maxMute)
	}
	if err := a.checkMute(d); err != nil {
		return nil, err
	}
	if !a.limits.mutes.admit(s.Peer.UID, BootTime()) {
		return nil, ipc.Errorf(ipc.CodeRateLimited, "wait a minute, and try again", "prompts were muted too often within a minute")
	}
	if err := a.attention.mute(s.Peer.UID, d); err != nil {
		return nil, storageError(err)
	}
	uid := s.Peer.UID
	a.note(audit.Event{Kind: recordMuted, UID: &uid, Detail: map[string]string{"seconds": strconv.FormatInt(in.Seconds, 10)}})
	quiet, until := a.quietUntil(uid)
	return ipc.Muted{Until: a.mutedUntil(uid), Quiet: quiet, QuietUntil: until}, nil
}

// mutedUntil is when a user's prompts begin again by the wall clock, nil where
// the user has not muted them.
func (a *Agent) mutedUntil(uid uint32) *time.Time {
	left := a.attention.muted(uid)
	if left <= 0 {
		return nil
	}
	until := time.Now().Add(left).UTC().Truncate(time.Second)
	return &until
}

// quietUntil is why a user is not prompted, and until when by the wall clock.
func (a *Agent) quietUntil(uid uint32) (why string, until *time.Time) {
	why, left := a.attention.standing(uid)
	if why == "" {
		return "", nil
	}
	at := time.Now().Add(left).UTC().Truncate(time.Second)
	return why, &at
}
