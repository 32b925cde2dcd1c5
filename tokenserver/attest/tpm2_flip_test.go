package attest_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"regexp"
	"testing"

	"countersign/internal/testenv"
)

// allowed lists the bytes that do not count, by document and offset, each with
// the reason. There are none. One that is added must leave the verdict as it is.
func allowed() map[string]string { return map[string]string{} }

func captured(t *testing.T) *enrollment {
	t.Helper()
	chip, maker := testenv.StartManufacturedTPM(t)
	p := openTPM(t, chip.Spec())
	return enroll(t, p, trust(maker.Issuer), create(t, p, template(false)), create(t, p, template(true)))
}

// changed runs a server on a changed document in place of each of the two.
func (e *enrollment) changed(t *testing.T, change func(doc []byte, try func(at string, changed []byte))) {
	t.Helper()
	verdict, err := e.verify()
	if err != nil {
		t.Fatal(err)
	}
	original, tries := mustJSON(t, verdict), 0
	for name, doc := range map[string]*[]byte{"start": &e.start, "proof": &e.proof} {
		good := *doc
		change(good, func(at string, changed []byte) {
			tries++
			at, *doc = name+" "+at, changed
			if got, err := e.verify(); err == nil && (allowed()[at] == "" || !bytes.Equal(mustJSON(t, got), original)) {
				t.Errorf("%s: passes", at)
			}
		})
		*doc = good
	}
	t.Logf("%d changes to %d bytes", tries, len(e.start)+len(e.proof))
}

// Every byte of an attestation counts, as it crosses the wire.
func TestEveryByteCounts(t *testing.T) {
	t.Parallel()
	captured(t).changed(t, func(doc []byte, try func(string, []byte)) {
		for i := range doc {
			for _, mask := range []byte{1 << (i % 8), 0xff} {
				b := bytes.Clone(doc)
				b[i] ^= mask
				try(fmt.Sprintf("%d^%#x", i, mask), b)
			}
		}
	})
}

// So does every byte of the structures inside, with the rest left well-formed.
func TestEveryByteOfStructuresCounts(t *testing.T) {
	t.Parallel()
	text := regexp.MustCompile(`"[A-Za-z0-9+/]{40,}=*"`)
	captured(t).changed(t, func(doc []byte, try func(string, []byte)) {
		for _, m := range text.FindAllIndex(doc, -1) {
			from, to := m[0]+1, m[1]-1
			raw, err := base64.StdEncoding.DecodeString(string(doc[from:to]))
			if err != nil {
				t.Fatal(err)
			}
			for i := range raw {
				for _, mask := range []byte{1 << ((i + 4) % 8), 0xff} {
					raw[i] ^= mask
					b := bytes.Clone(doc)
					base64.StdEncoding.Encode(b[from:to], raw)
					try(fmt.Sprintf("%d:%d^%#x", from, i, mask), b)
					raw[i] ^= mask
				}
			}
		}
	})
}

// Bytes left out or put in are refused too.
func TestLengthCounts(t *testing.T) {
	t.Parallel()
	captured(t).changed(t, func(doc []byte, try func(string, []byte)) {
		for i := range doc {
			try(fmt.Sprintf("without %d", i), append(bytes.Clone(doc[:i]), doc[i+1:]...))
			try(fmt.Sprintf("A before %d", i), append(append(bytes.Clone(doc[:i]), 'A'), doc[i:]...))
			if i%16 == 0 {
				try(fmt.Sprintf("first %d", i), doc[:i])
			}
		}
	})
}
