package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"countersign/agent/audit"
	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/protocol"
)

// recordTrust says that the server has other names or keys, on its own word.
const recordTrust = "server.trust"

// trustEvery is how often the server is asked for its trust statement though it
// announces no newer one.
const trustEvery = 24 * time.Hour

// serverKeys are the keys that the server's messages verify with.
func (p *profile) serverKeys() protocol.Keys {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys
}

// keysOfHistory are those, and the ones that the server had before.
func (p *profile) keysOfHistory() protocol.Keys {
	keys := maps.Clone(p.serverKeys())
	if t := p.get().Trust; t != nil && len(t.Past.Keys) > 0 {
		if past, err := t.Past.Parse(); err == nil {
			maps.Copy(keys, past)
		}
	}
	return keys
}

// server is where the profile's server is, and what it is trusted by.
func (p *profile) server() upstream.Server {
	s := p.get()
	return upstream.Server{URLs: s.URLs(), Roots: s.Roots()}
}

// mindTrust has the trust statement fetched where the last exchange gives a reason:
// the first one, a newer statement that the server announces, or a certificate that
// is not to be trusted, since the server may have others by now.
func (p *profile) mindTrust(client *upstream.Client, err error) {
	news := err == nil && client.Announced() > p.get().TrustSeq()
	if first := err == nil && !p.trusted.Swap(true); first || news || upstream.Distrusted(err) {
		poke(p.trustDue)
	}
}

// keepTrust keeps what the device knows of its server's names and keys up to date,
// until ctx ends.
func (p *profile) keepTrust(ctx context.Context, client *upstream.Client) {
	client.Keep(p.get().TrustSeq())
	daily := time.NewTicker(trustEvery)
	defer daily.Stop()
	var backoff upstream.Backoff
	for {
		select {
		case <-ctx.Done():
			return
		case <-daily.C:
		case <-p.trustDue:
		}
		err := p.learnTrust(ctx, client)
		if err == nil {
			backoff.Reset()
			continue
		}
		pause := backoff.Pause()
		p.agent.cfg.Log.Info("no trust statement", "profile", p.get().ID, "error", err, "not_before", pause)
		_ = upstream.Sleep(ctx, pause)
	}
}

// learnTrust fetches the statement: from the server, or where its certificate is not
// to be trusted from whoever answers, since the statement proves itself.
func (p *profile) learnTrust(ctx context.Context, client *upstream.Client) error {
	p.mu.Lock()
	reach := p.reach
	p.mu.Unlock()
	if upstream.Distrusted(reach) {
		return p.askAnybody(ctx, client)
	}
	document, err := client.TrustDocument(ctx)
	if problem, refused := errors.AsType[*protocol.Problem](err); refused && problem.Code == protocol.ProblemNotFound {
		return nil // a server of before there were any
	}
	if err != nil {
		return err
	}
	_, err = p.adoptTrust(client, document)
	p.diagnose(func(d *diagnosis) { d.refused = err })
	return err
}

// judgeTrust is the statement in a document, if it is the server's and newer than what
// is known of s, and what the policy of this computer lets it say; nil where it is
// known already.
func (p *profile) judgeTrust(s state.Profile, document []byte) (*protocol.Trust, error) {
	t, err := protocol.ParseTrustDocument(document, p.serverKeys())
	if err != nil {
		return nil, err
	}
	if t.Seq == s.TrustSeq() {
		return nil, nil //nolint:nilnil // there is nothing to take
	}
	if err := t.Follows(s.Issuer, s.TrustSeq()); err != nil {
		return nil, err
	}
	if err := p.agent.allowsMove(t); err != nil {
		return nil, err
	}
	return t, p.agent.ownNames(s, t, document)
}

// ownNames refuses a server a new name that the user knows as another's: people read
// at the prompt who asks. It is no other where its keys have signed this too.
func (a *Agent) ownNames(s state.Profile, t *protocol.Trust, document []byte) error {
	for _, other := range a.all() {
		o := other.get()
		taken := func(name string) bool {
			return hostName(name) == hostName(o.Issuer) && hostName(name) != hostName(s.Issuer)
		}
		if o.ID == s.ID || o.UID != s.UID || !slices.ContainsFunc(t.Names(), taken) {
			continue
		}
		if _, err := protocol.ParseTrustDocument(document, other.keysOfHistory()); err != nil {
			return fmt.Errorf("it takes the name of another server, %s, at which you are enrolled: %w", o.Issuer, err)
		}
	}
	return nil
}

// allowsMove refuses a server that moves to where the policy allows none.
func (a *Agent) allowsMove(t *protocol.Trust) error {
	allowed := a.cfg.Policy.Servers
	if !allowed.AllowsIssuer(t.Issuer) {
		return errServer(t.Issuer)
	}
	for _, url := range t.DeviceURLs {
		if !allowed.AllowsURL(url) {
			return errServer(url)
		}
	}
	return nil
}

// adoptTrust makes a statement the profile's, and reports whether it is news. One that
// is known already is no error.
func (p *profile) adoptTrust(client *upstream.Client, document []byte) (changed bool, err error) {
	p.saving.Lock()
	defer p.saving.Unlock()
	s := p.get()
	t, err := p.judgeTrust(s, document)
	if t == nil || err != nil {
		return false, err
	}
	keys, err := t.Keys.Parse()
	if err != nil {
		return false, err
	}
	stored := &state.Trust{Trust: *t}
	if stored.Past, err = pastKeys(p.keysOfHistory(), keys); err != nil {
		return false, err
	}
	if err := p.agent.cfg.State.SaveTrust(&s, stored); err != nil {
		return false, storageError(err)
	}
	p.mu.Lock()
	p.stored.Trust, p.stored.Issuer, p.stored.DeviceURL, p.stored.Root, p.stored.JWKS = s.Trust, s.Issuer, s.DeviceURL, s.Root, s.JWKS
	p.keys = keys
	p.mu.Unlock()
	p.agent.cfg.Log.Info("the server has said where it is and what it is known by", "profile", s.ID, "seq", t.Seq, "issuer", t.Issuer, "urls", t.DeviceURLs)
	p.agent.note(audit.Event{Kind: recordTrust, UID: &s.UID, Profile: s.ID, Detail: map[string]string{"seq": strconv.FormatInt(t.Seq, 10), "server": t.Issuer}})
	client.Keep(t.Seq)
	if err := client.Move(p.server()); err != nil {
		return false, err
	}
	client.Wake()
	return true, nil
}

// maxPast is how many keys of the past are kept.
const maxPast = protocol.MaxTrustNames

// pastKeys are those of all that are not among the present ones.
func pastKeys(all, present protocol.Keys) (out protocol.TrustKeys, err error) {
	past := protocol.Keys{}
	for _, kid := range slices.Sorted(maps.Keys(all)) {
		if _, is := present[kid]; !is && len(past) < maxPast {
			past[kid] = all[kid]
		}
	}
	if len(past) == 0 {
		return protocol.TrustKeys{Keys: []protocol.TrustKey{}}, nil
	}
	return protocol.NewTrustKeys(past)
}
