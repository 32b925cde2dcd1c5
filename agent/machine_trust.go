package agent

import (
	"context"

	"countersign/agent/audit"
	"countersign/agent/upstream"
	"countersign/protocol"
)

// listen takes the statement on the server's names and keys, where the server
// announces a newer one than the machine keeps.
func (m *machine) listen(ctx context.Context, client *upstream.Client) {
	if _, kept := m.stored().ServerName(); client.Announced() <= kept {
		return
	}
	document, err := client.TrustDocument(ctx)
	if err == nil {
		_, err = m.adoptTrust(client, document)
	}
	if err == nil {
		m.stand(m.well()) // with the name that the server has now
	}
	if err != nil && ctx.Err() == nil {
		m.agent.cfg.Log.Info("no trust statement for this machine", "error", err)
	}
}

// askAnybody asks for the statement whoever answers at the server's addresses, since
// the server may have other roots by now and the statement proves itself. It reports
// whether there is a newer one, and finds out who else answers.
func (m *machine) askAnybody(ctx context.Context, client *upstream.Client) (news bool) {
	anybody := client.Anybody()
	defer anybody.Close()
	err := anybody.TrustDocument(ctx, func(document []byte) (err error) {
		news, err = m.adoptTrust(client, document)
		return err
	})
	m.diagnosis = diagnosis{inspected: err == nil && !news}
	if err != nil && upstream.KindOf(err) == upstream.CaptivePortal {
		m.diagnosis.kind = upstream.CaptivePortal
	}
	return err == nil && news
}

// adoptTrust makes a statement the machine's, durably, and reports whether it is
// news.
func (m *machine) adoptTrust(client *upstream.Client, document []byte) (news bool, err error) {
	s := *m.stored()
	keys, err := s.ServerKeys()
	if err != nil {
		return false, err
	}
	t, err := protocol.ParseTrustDocument(document, keys)
	if err != nil {
		return false, err
	}
	name, kept := s.ServerName()
	if t.Seq == kept {
		return false, nil
	}
	if err := t.Follows(name, kept); err != nil {
		return false, err
	}
	if err := m.agent.allowsMove(t); err != nil {
		return false, err
	}
	s.Trust = t
	if err := m.agent.cfg.State.SaveMachine(&s); err != nil {
		return false, storageError(err)
	}
	m.mu.Lock()
	m.enrolled = &s
	m.mu.Unlock()
	m.agent.note(audit.Event{Kind: recordTrust, Detail: map[string]string{"machine": s.ID, "server": t.Issuer}})
	client.Keep(t.Seq)
	return true, client.Move(upstream.Server{URLs: s.URLs(), Roots: s.Roots()})
}
