package attest_test

import (
	"encoding/json"
	"testing"

	"countersign/protocol"
	"countersign/tokenserver/attest"
)

// wire is a captured attestation as it crosses: the body of either step.
func (d *desk) wire() (start, proof []byte) {
	d.tb.Helper()
	start, err := json.Marshal(protocol.StartAttestation{Format: protocol.AttestationPIV, PIV: &d.c.Start})
	if err != nil {
		d.tb.Fatal(err)
	}
	proof, err = json.Marshal(protocol.ProofAttestation{PIV: &d.c.Proof})
	if err != nil {
		d.tb.Fatal(err)
	}
	return start, proof
}

// judge does what the server does with two documents.
func judge(t attest.Trust, keys attest.Keys, nonce, start, proof []byte) (attest.Findings, error) {
	c := attest.Case{Nonce: nonce, Keys: keys, Proof: new(protocol.ProofAttestation)}
	if err := protocol.DecodeStrict(start, &c.Start); err != nil {
		return attest.Findings{}, err
	}
	if err := protocol.DecodeStrict(proof, c.Proof); err != nil {
		return attest.Findings{}, err
	}
	opened, err := attest.Open(t, c.Start, keys)
	if err != nil {
		return attest.Findings{}, err
	}
	c.Secret = opened.Secret
	return attest.Verify(t, c)
}

// TestPIVEveryByteCounts flips each byte of a captured attestation in several
// ways. There is no exception: what one accepts, the other must be.
func TestPIVEveryByteCounts(t *testing.T) {
	d := newDesk(t)
	start, proof := d.wire()
	run := func(start, proof []byte) error {
		_, err := judge(d.trust, d.c.Keys, d.c.Nonce, start, proof)
		return err
	}
	if err := run(start, proof); err != nil {
		t.Fatal(err)
	}
	for i := range start {
		for _, flip := range []byte{0x01, 0x20, 0x80, 0xff} {
			if run(flipped(start, i, flip), proof) == nil {
				t.Errorf("start: byte %d flipped by %#x is accepted", i, flip)
			}
		}
	}
	for i := range proof {
		for _, flip := range []byte{0x01, 0x20, 0x80, 0xff} {
			if run(start, flipped(proof, i, flip)) == nil {
				t.Errorf("proof: byte %d flipped by %#x is accepted", i, flip)
			}
		}
	}
}

func flipped(b []byte, i int, by byte) []byte {
	out := append([]byte{}, b...)
	out[i] ^= by
	return out
}

// FuzzPIV looks for a panic, and for another attestation that is taken for the
// captured one. JSON may be written with more spaces; what it says may not
// differ.
func FuzzPIV(f *testing.F) {
	d := newDesk(f)
	start, proof := d.wire()
	f.Add(start, proof)
	f.Add([]byte(`{"format":"piv","piv":{"approval":["AA==","AA=="]}}`), []byte(`{"piv":{"approval":"AA=="}}`))
	f.Fuzz(func(t *testing.T, s, p []byte) {
		if _, err := judge(d.trust, d.c.Keys, d.c.Nonce, s, p); err != nil {
			return
		}
		if again[protocol.StartAttestation](t, s) != string(start) || again[protocol.ProofAttestation](t, p) != string(proof) {
			t.Errorf("accepted:\n%s\n%s", s, p)
		}
	})
}

// again writes a document as we do.
func again[T any](tb testing.TB, document []byte) string {
	tb.Helper()
	var v T
	if err := protocol.DecodeStrict(document, &v); err != nil {
		tb.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return string(out)
}
