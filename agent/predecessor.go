package agent

import (
	"context"
	"crypto/x509"
	"slices"
	"time"

	"countersign/agent/state"
	"countersign/hsm"
	"countersign/protocol"
)

// predecessor has the device key of a living enrollment at the same server name
// the new device key, so that the server's records say that this is the same
// device. Whose the new enrollment will be only the server knows: where the old
// one is another user's, it says no, and the enrollment goes on without.
func (n *enrolling) predecessor(ctx context.Context) *protocol.Predecessor {
	old := n.agent.enrolledAt(n.Server, n.UID)
	if old == nil {
		return nil
	}
	word, err := n.succeed(ctx, old)
	if err != nil {
		n.log.Warn("the old device key does not name its successor", "profile", old.get().ID, "error", err)
		return nil
	}
	return &protocol.Predecessor{Device: old.get().Device, Word: word}
}

func (n *enrolling) succeed(ctx context.Context, old *profile) (string, error) {
	csr, err := x509.ParseCertificateRequest(n.Start.DeviceCSR)
	if err != nil {
		return "", err
	}
	thumbprint, err := protocol.Thumbprint(csr.PublicKey)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, chipTimeout)
	defer cancel()
	s := old.get()
	return protocol.SignPredecessor(hsm.Signer(ctx, old.device(), hsm.Auth{}), &protocol.Succession{
		Issuer: s.Device, Audience: s.Issuer, Subject: s.ID, IssuedAt: time.Now().Unix(), Role: protocol.RoleDevice, Key: thumbprint,
	})
}

// enrolledAt is the one active profile of a user at a server, or nil.
func (a *Agent) enrolledAt(url string, uid uint32) *profile {
	list := slices.DeleteFunc(a.all(), func(p *profile) bool {
		s := p.get()
		return !slices.Contains(s.URLs(), url) || s.UID != uid || s.State != state.Active
	})
	if len(list) != 1 {
		return nil
	}
	return list[0]
}

// refusedPredecessor reports that the server does not take a predecessor's word.
func refusedPredecessor(err error) bool {
	p, ok := asProblem(err)
	return ok && slices.Contains([]string{
		protocol.ProblemSuccession, protocol.ProblemCertExpired, protocol.CodeUnknownKey, protocol.CodeBadSignature,
	}, p.Code)
}
