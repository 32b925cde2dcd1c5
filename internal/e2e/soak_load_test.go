package e2e

import (
	"errors"
	"net/http"
	"time"

	"countersign/internal/secret"
	"countersign/ipc"
)

const (
	// soakPortals relying parties each see several transactions to their end at
	// a time; a device lets five of one wait.
	soakPortals, soakAtOnce = 3, 2
	// soakPersons decide at the same time, and get in each other's way.
	soakPersons = 3
	again       = 20 * time.Millisecond
)

// work starts the load.
func (s *soak) work() {
	for range soakPortals {
		p := newPortal(s.tb, s.server)
		for range soakAtOnce {
			s.load.Go(func() { s.portal(p) })
		}
	}
	for range soakPersons {
		go s.person()
	}
}

// portal starts one transaction after the other and sees each to its end.
func (s *soak) portal(p *portal) {
	for s.ctx.Err() == nil {
		select {
		case <-s.ended:
			return
		default:
		}
		kind := []string{"notice", "confirm", "login"}[s.dice.below(3)]
		t, err := p.try(s.ctx, "POST", "/v1/transactions", "", map[string]any{"type": kind, "user": "alice", "message": "Pay 12.50 EUR to Bob"})
		switch {
		case err != nil:
			pause(s.ctx, again)
		case t.http != http.StatusCreated:
			s.wrong("start: %d %s", t.http, t.raw)
		default:
			s.seeThrough(p, s.ledger.began(t))
		}
	}
}

// seeThrough waits for the end of a transaction, at the server and then at the
// device too.
func (s *soak) seeThrough(p *portal, d *deal) {
	for s.ctx.Err() == nil && !d.over() {
		t, err := p.try(s.ctx, "GET", "/v1/transactions/"+d.id, "wait=5", nil)
		switch {
		case err != nil:
			pause(s.ctx, again)
		case t.http != http.StatusOK:
			s.wrong("%s: the server says %d %s", d.id, t.http, t.raw)
		case t.Status != "pending":
			s.concluded(p, d, t)
		}
	}
	s.agreed(d)
	s.ledger.archive(p, d)
}

// concluded judges the end of one transaction.
func (s *soak) concluded(p *portal, d *deal, t transaction) {
	if t.Status != "approved" && t.Status != "denied" {
		s.wrong("%s: it is %s, and a device decided it or was about to: %s", d.id, t.Status, t.raw)
		return
	}
	if t.Evidence == nil {
		s.wrong("%s: %s without evidence", d.id, t.Status)
		return
	}
	v, err := t.Evidence.Verify(s.roots)
	if err != nil {
		s.wrong("%s: the evidence does not verify: %w", d.id, err)
		return
	}
	if v.Decision.ID != d.id || string(v.Receipt.State) != t.Status || t.Status == "approved" && v.Decision.Number != d.number {
		s.wrong("%s: it is %s, and the evidence says %+v", d.id, t.Status, v.Decision)
		return
	}
	if err := d.end(t.Status, t.Evidence.Receipt); err != nil {
		s.wrong("%w", err)
	}
}

// agreed waits until the device says of a transaction what the server says.
func (s *soak) agreed(d *deal) {
	deadline := time.Now().Add(time.Minute)
	for s.ctx.Err() == nil {
		list, err := s.caller.Requests(s.ctx, true)
		status := ""
		for _, r := range list {
			if r.ID == d.id {
				status = r.Status
			}
		}
		switch {
		case err == nil && status == d.status():
			return
		case time.Now().After(deadline):
			s.wrong("%s: the server says %s, the device %q (%v)", d.id, d.status(), status, err)
		default:
			pause(s.ctx, again)
		}
	}
}

// person decides what waits, one after the other.
func (s *soak) person() {
	seen := map[string]time.Time{}
	for s.ctx.Err() == nil {
		list, err := s.caller.Requests(s.ctx, false)
		if err != nil || len(list) == 0 {
			pause(s.ctx, again)
			continue
		}
		id := list[s.dice.below(len(list))].ID
		d := s.ledger.find(id)
		if _, known := seen[id]; !known {
			seen[id] = time.Now()
		}
		if d == nil && time.Since(seen[id]) < 5*time.Second {
			pause(s.ctx, again) // the relying party is being told of it
			continue
		}
		if code, err := s.answer(id, d); err != nil {
			s.judge(id, code, err)
		}
	}
}

// answer decides one request as a person would who mistypes now and then.
// A deal that nobody knows is denied. The code is that of a refusal.
func (s *soak) answer(id string, d *deal) (code string, err error) {
	shown, err := s.caller.Show(s.ctx, id, ipc.View{})
	if err != nil {
		return codeOf(err), err
	}
	a := ipc.Answer{RequestHash: shown.RequestHash, DisplayHash: shown.DisplayHash, Language: shown.Language, TimeZone: shown.TimeZone, Surface: ipc.SurfaceTTY}
	mistyped := false
	switch {
	case d == nil || s.dice.below(10) == 0:
		a.Decision, a.Reason = ipc.Deny, ipc.Cancelled
	default:
		a.Decision, a.Number = ipc.Approve, d.number
		if shown.PINNeeded {
			a.PIN = secret.New([]byte(pin))
		}
		if mistyped = d.number != "" && s.dice.below(10) == 0 && d.mistype(); mistyped {
			a.Number = wrong(d.number)
		}
	}
	r, err := s.caller.Decide(s.ctx, id, a)
	if err != nil {
		if code = codeOf(err); code == ipc.CodeWrongNumber && mistyped {
			return "", nil
		}
		return code, err
	}
	s.stats.decided.Add(1)
	if d != nil && !mistyped {
		err = d.told(r)
	}
	if err != nil {
		s.wrong("%w", err)
	}
	return "", nil
}

// judge takes what a kill explains, and what comes of two who decide at once.
func (s *soak) judge(id, code string, err error) {
	switch code {
	case "", ipc.CodeUnreachable, ipc.CodeNotDecidable, ipc.CodeNotFound:
		pause(s.ctx, again)
	default:
		s.wrong("%s: %s: %w", id, code, err)
	}
}

func codeOf(err error) string {
	if e, ok := errors.AsType[*ipc.Error](err); ok {
		return e.Code
	}
	return ""
}
