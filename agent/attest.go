package agent

import (
	"context"
	"errors"
	"fmt"

	"countersign/hsm"
	"countersign/protocol"
)

// holder is a back end with the keys of an enrollment that it holds: the
// device key, the approval key, or both in this order.
type holder struct {
	provider         hsm.Provider
	device, approval bool
	keys             []hsm.Key
}

// holders groups the two keys by back end.
func (n *enrolling) holders(device, approval hsm.Key) []holder {
	d, a := n.agent.chips.named(n.DeviceKey.Provider), n.agent.chips.named(n.ApprovalKey.Provider)
	if n.DeviceKey.Provider == n.ApprovalKey.Provider {
		return []holder{{d, true, true, []hsm.Key{device, approval}}}
	}
	return []holder{{d, true, false, []hsm.Key{device}}, {a, false, true, []hsm.Key{approval}}}
}

// claim asks the chips who they are. Without a claim for the approval key there
// is no attestation at all, and the reason is kept; any other failure is one.
func (n *enrolling) claim(ctx context.Context, device, approval hsm.Key) error {
	start := protocol.StartAttestation{}
	claims := map[string]hsm.Claim{}
	for _, h := range n.holders(device, approval) {
		c, err := h.claim(ctx)
		if errors.Is(err, hsm.ErrNoAttestation) {
			n.log.Info("keys are not attested", "provider", h.provider.Name(), "reason", err)
			if h.approval {
				n.noClaim(reachText(err))
				return nil
			}
			continue
		}
		if err != nil {
			return onChip(h.provider.Name(), fmt.Errorf("attestation: %w", err))
		}
		h.start(c, &start)
		claims[h.provider.Name()] = c
		if h.approval {
			start.Format = c.Format
		}
	}
	n.Start.Attestation, n.Claims = start, claims
	return nil
}

// noClaim begins an enrollment in which nothing is proved, and keeps the reason.
func (n *enrolling) noClaim(reason string) {
	n.Start.Attestation, n.Unattested = protocol.StartAttestation{Format: protocol.AttestationNone}, reason
}

// unknownMaker reports that the server cannot judge what a chip claims.
func unknownMaker(err error) bool {
	p, ok := asProblem(err)
	return ok && p.Code == protocol.ProblemMaker
}

// claimLess takes back what a server that does not know a chip's maker cannot
// judge: first what a TPM says beside a token, then all. Whether it lets such a
// device in is the server's to say, and what is not proved is recorded so. It
// reports whether there was anything to take back.
func (n *enrolling) claimLess(why error) bool {
	start := &n.Start.Attestation
	switch {
	case start.Format == protocol.AttestationNone:
		return false
	case start.PIV != nil && start.TPM2 != nil:
		start.TPM2 = nil
		delete(n.Claims, kindTPM)
	default:
		n.noClaim("the server does not know the maker of this chip, and lets it in without proof (its administrator adds makers: countersign-server attestation root add FILE)")
	}
	n.log.Info("the server does not know the maker of a chip", "error", why, "format", start.Format)
	return true
}

func (h holder) claim(ctx context.Context) (hsm.Claim, error) {
	attester, ok := h.provider.(hsm.Attester)
	if !ok {
		return hsm.Claim{}, hsm.ErrNoAttestation
	}
	c, err := attester.Claim(ctx, h.keys)
	if err == nil && c.Format == hsm.FormatPIV && len(c.Chains) != len(h.keys) {
		return c, errOddProof
	}
	return c, err
}

// start puts a claim into the first step.
func (h holder) start(c hsm.Claim, into *protocol.StartAttestation) {
	if c.Format == hsm.FormatTPM2 {
		into.TPM2 = &protocol.TPM2Start{EKChain: blobs(c.Endorsement), AK: c.AK}
		return
	}
	into.PIV = &protocol.PIVStart{Approval: blobs(c.Chains[len(c.Chains)-1])}
	if h.device {
		into.PIV.Device = blobs(c.Chains[0])
	}
}

// prove has the chips answer the server's challenge, durably, once.
func (n *enrolling) prove(ctx context.Context) error {
	if n.Start.Attestation.Format == protocol.AttestationNone || n.Proof != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, createWait)
	defer cancel()
	device, err := n.open(ctx, n.DeviceKey.Provider, n.Keys.Device)
	if err != nil {
		return err
	}
	approval, err := n.open(ctx, n.ApprovalKey.Provider, n.Keys.Approval)
	if err != nil {
		return err
	}
	proof := new(protocol.ProofAttestation)
	for _, h := range n.holders(device, approval) {
		if c, ok := n.Claims[h.provider.Name()]; ok {
			if err := h.prove(ctx, c, n.challenge(), n.auth, proof); err != nil {
				return onChip(h.provider.Name(), fmt.Errorf("attestation: %w", err))
			}
		}
	}
	n.Proof = proof
	return n.save()
}

// provable reports whether the proof can still be made, or is: a token's takes
// the PIN, which no journal keeps.
func (n *enrolling) provable() bool {
	return n.Proof != nil || n.Start.Attestation.PIV == nil || !n.auth.PIN.Empty()
}

func (n *enrolling) open(ctx context.Context, provider string, reference []byte) (hsm.Key, error) {
	key, err := n.agent.chips.named(provider).Open(ctx, reference)
	return key, onChip(provider, err)
}

func (n *enrolling) challenge() hsm.Challenge {
	c := hsm.Challenge{Nonce: n.Challenge}
	if n.Credential != nil {
		c.Credential, c.Secret = n.Credential.Blob, n.Credential.Secret
	}
	return c
}

var errOddProof = errors.New("the back end did not answer for each key")

// prove puts the proof of a claim into the second step.
func (h holder) prove(ctx context.Context, c hsm.Claim, challenge hsm.Challenge, auth hsm.Auth, into *protocol.ProofAttestation) error {
	attester, ok := h.provider.(hsm.Attester)
	if !ok {
		return hsm.ErrNoAttestation
	}
	p, err := attester.Prove(ctx, c, challenge, h.keys, auth)
	if err != nil {
		return err
	}
	if len(p.Keys) != len(h.keys) {
		return errOddProof
	}
	first, last := p.Keys[0], p.Keys[len(p.Keys)-1]
	if c.Format == hsm.FormatPIV {
		into.PIV = &protocol.PIVProof{Approval: last.Signature}
		if h.device {
			into.PIV.Device = first.Signature
		}
		return nil
	}
	into.TPM2 = &protocol.TPM2Proof{Secret: p.Secret}
	if h.device {
		into.TPM2.Device = tpmKey(first)
	}
	if h.approval {
		into.TPM2.Approval, into.TPM2.Index = tpmKey(last), tpmIndex(last.Index)
	}
	return nil
}

func tpmKey(k hsm.KeyProof) *protocol.TPM2Key {
	return &protocol.TPM2Key{Public: k.Public, Creation: k.Creation, Attest: k.Attest, Signature: k.Signature}
}

func tpmIndex(x *hsm.IndexProof) *protocol.TPM2Index {
	if x == nil {
		return nil
	}
	return &protocol.TPM2Index{Public: x.Public, Authority: x.Authority, Attest: x.Attest, Signature: x.Signature}
}

func blobs(list [][]byte) []protocol.Blob {
	out := make([]protocol.Blob, len(list))
	for i, b := range list {
		out[i] = b
	}
	return out
}
