package hsmtest

import (
	"bytes"
	"encoding/json"
	"errors"

	"countersign/hsm"
)

func attestationCases() []Case {
	return []Case{
		{"a claim says who speaks", "a server must know which proof to ask for", (*rig).claimFormat},
		{"a claim can be stored and gone on with", "an enrollment outlives a crash between claim and proof", (*rig).claimIsStored},
		{"a proof is about each key, in order", "the server must not take one key's protection for the other's", (*rig).proofOrder},
		{"a proof answers its nonce", "an old proof must not serve a new enrollment", (*rig).proofNonce},
		{"a key of another chip is not vouched for", "a chip that vouches for strangers proves nothing", (*rig).proofOfForeign},
		{"a claim of nothing is refused", "a proof about no key would pass as one about any", (*rig).claimOfNothing},
		{"a proof costs no try and keeps no PIN", "enrolling again must not lock", (*rig).proofIsFree},
	}
}

// prover lends a chip that can prove where its keys live, with one key behind
// the PIN and one without.
func (r *rig) prover() (attester hsm.Attester, p hsm.Provider, keys []hsm.Key) {
	r.Helper()
	r.need(r.Attesting != nil && r.Challenge != nil, "it was given nothing to prove where its keys live")
	p = r.Attesting(r.tb).Provider
	attester, ok := p.(hsm.Attester)
	if !ok {
		r.Fatalf("a back end that is to attest is no hsm.Attester")
	}
	return attester, p, []hsm.Key{r.create(p, r.free()), r.create(p, r.bound(r.PIN))}
}

func (r *rig) claim(a hsm.Attester, keys []hsm.Key) hsm.Claim {
	r.Helper()
	claim, err := a.Claim(r.ctx(), keys)
	if err != nil {
		r.Fatalf("Claim: %v", err)
	}
	return claim
}

func (r *rig) prove(a hsm.Attester, c hsm.Claim, nonce []byte, keys []hsm.Key) hsm.Proof {
	r.Helper()
	challenge, secret := r.Challenge(r.tb, c, nonce)
	proof, err := a.Prove(r.ctx(), c, challenge, keys, auth(r.PIN))
	if err != nil {
		r.Fatalf("Prove: %v", err)
	}
	if !bytes.Equal(proof.Secret, secret) {
		r.Fatalf("the chip has not opened the server's credential")
	}
	if len(proof.Keys) != len(keys) {
		r.Fatalf("a proof about %d keys, want %d", len(proof.Keys), len(keys))
	}
	return proof
}

// answers reports whether a proof about a key is over the nonce: the chip's own
// words hold it, or the key has signed it.
func answers(key hsm.Key, proof hsm.KeyProof, nonce []byte) bool {
	if len(proof.Attest) > 0 {
		return bytes.Contains(proof.Attest, nonce)
	}
	return verifies(key.Public(), digest(string(hsm.PIVChallenge(nonce))), proof.Signature)
}

func (r *rig) claimFormat() {
	a, p, keys := r.prover()
	claim := r.claim(a, keys)
	if want := map[string]string{"tpm": hsm.FormatTPM2, "piv": hsm.FormatPIV}[p.Name()]; claim.Format != want {
		r.Errorf("back end %q claims in format %q", p.Name(), claim.Format)
	}
	if claim.Format == hsm.FormatPIV && len(claim.Chains) != len(keys) {
		r.Errorf("%d chains for %d keys", len(claim.Chains), len(keys))
	}
	if claim.Format == hsm.FormatTPM2 && (len(claim.Endorsement) == 0 || len(claim.AK) == 0) {
		r.Errorf("a TPM's claim without a certificate or an attestation key")
	}
}

func (r *rig) claimIsStored() {
	a, p, keys := r.prover()
	stored, err := json.Marshal(r.claim(a, keys))
	if err != nil {
		r.Fatalf("%v", err)
	}
	var claim hsm.Claim
	if err := json.Unmarshal(stored, &claim); err != nil {
		r.Fatalf("%v", err)
	}
	for i, key := range keys {
		keys[i] = r.open(p, key.Reference())
	}
	nonce := digest("a nonce")
	for i, proof := range r.prove(a, claim, nonce, keys).Keys {
		if !answers(keys[i], proof, nonce) {
			r.Errorf("the proof about key %d does not answer the challenge", i)
		}
	}
}

func (r *rig) proofOrder() {
	a, _, keys := r.prover()
	turned := []hsm.Key{keys[1], keys[0]}
	nonce := digest("a nonce")
	straight := r.prove(a, r.claim(a, keys), nonce, keys)
	crossed := r.prove(a, r.claim(a, turned), nonce, turned)
	for i := range keys {
		one, other := straight.Keys[i], crossed.Keys[1-i]
		if !bytes.Equal(one.Public, other.Public) || (one.Index == nil) != (other.Index == nil) {
			r.Errorf("the proofs come in another order than the keys")
		}
		if !answers(keys[i], one, nonce) || !answers(keys[i], other, nonce) {
			r.Errorf("the proof about key %d does not answer the challenge", i)
		}
	}
}

func (r *rig) proofNonce() {
	a, _, keys := r.prover()
	claim := r.claim(a, keys)
	one, other := digest("one nonce"), digest("another nonce")
	proof, next := r.prove(a, claim, one, keys), r.prove(a, claim, other, keys)
	for i, key := range keys {
		if !answers(key, proof.Keys[i], one) || answers(key, proof.Keys[i], other) {
			r.Errorf("the first proof about key %d does not answer its nonce alone", i)
		}
		if !answers(key, next.Keys[i], other) || answers(key, next.Keys[i], one) {
			r.Errorf("the second proof about key %d does not answer its nonce alone", i)
		}
	}
}

func (r *rig) proofOfForeign() {
	r.need(!r.OneChip, "there is one alone")
	a, _, keys := r.prover()
	foreign := r.create(r.provider(), r.bound(r.PIN))
	mixed := []hsm.Key{keys[0], foreign}
	if _, err := a.Claim(r.ctx(), mixed); !errors.Is(err, hsm.ErrForeignKey) {
		r.Errorf("Claim for another chip's key: %v, want %v", err, hsm.ErrForeignKey)
	}
	claim := r.claim(a, keys)
	challenge, _ := r.Challenge(r.tb, claim, digest("a nonce"))
	if _, err := a.Prove(r.ctx(), claim, challenge, mixed, auth(r.PIN)); !errors.Is(err, hsm.ErrForeignKey) {
		r.Errorf("Prove for another chip's key: %v, want %v", err, hsm.ErrForeignKey)
	}
}

func (r *rig) claimOfNothing() {
	a, _, _ := r.prover()
	if claim, err := a.Claim(r.ctx(), nil); err == nil {
		r.Errorf("Claim for no keys: %+v", claim)
	}
}

func (r *rig) proofIsFree() {
	a, _, keys := r.prover()
	for range 2 {
		r.prove(a, r.claim(a, keys), digest("a nonce"), keys)
	}
	r.refuse(keys[1], "", hsm.ErrPINRequired)
	r.untouched(keys[1])
}
