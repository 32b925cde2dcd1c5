package attest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"countersign/protocol"

	"github.com/google/go-tpm/tpm2"
)

// pinTries is how many wrong PINs in a row an index must be limited to.
const pinTries = 5

// index judges a PIN index and returns its Name, which stands for it in the
// policy of the key: a chip's index with that Name has these attributes, and
// has been written by this authority.
func (j *tpm2Judge) index(p *protocol.TPM2Index) (name []byte, err error) {
	public, err := parse[tpm2.TPMSNVPublic]("public area of the PIN index", p.Public)
	if err != nil {
		return nil, err
	}
	authority, err := parse[tpm2.TPMTPublic]("authority of the PIN index", p.Authority)
	if err != nil {
		return nil, err
	}
	if !isAuthority(authority) {
		return nil, refused("the authority of the PIN index is not a plain P-256 key")
	}
	if !bytes.Equal(p.Public, tpm2.Marshal(pinIndex(public.NVIndex, nameOf(p.Authority)))) {
		return nil, refused("the PIN index is of another kind: its attributes, size or policy are not those of such an index")
	}
	name = nameOf(p.Public)
	return name, j.indexContent(p, name)
}

// indexContent judges what the chip says is in the index: wrong PINs so far, and
// how many it takes.
func (j *tpm2Judge) indexContent(p *protocol.TPM2Index, name []byte) error {
	s, err := j.statement("PIN index", tpm2.TPMSTAttestNV, p.Attest, p.Signature)
	if err != nil {
		return err
	}
	said, err := s.Attested.NV()
	if err != nil {
		return refused("the statement about the PIN index is of another kind")
	}
	content := said.NVContents.Buffer
	switch {
	case !bytes.Equal(said.IndexName.Buffer, name):
		return refused("the statement about the PIN index is about another index")
	case said.Offset != 0 || len(content) != 8:
		return refused("the statement about the PIN index covers a part of it")
	case binary.BigEndian.Uint32(content[4:]) != pinTries:
		return refused("the PIN index takes another number of wrong PINs than %d", pinTries)
	case binary.BigEndian.Uint32(content) > pinTries:
		return refused("the PIN index has counted more wrong PINs than it takes")
	}
	return nil
}

// pinIndex is the public area that a PIN index must have once it is written.
func pinIndex(handle tpm2.TPMHandle, authority []byte) tpm2.TPMSNVPublic {
	return tpm2.TPMSNVPublic{
		NVIndex: handle,
		NameAlg: tpm2.TPMAlgSHA256,
		Attributes: tpm2.TPMANV{
			NT: tpm2.TPMNTPinFail, PolicyWrite: true, AuthRead: true, OwnerRead: true, NoDA: true, Written: true,
		},
		AuthPolicy: tpm2.TPM2BDigest{Buffer: policyOf(tpm2.TPMCCPolicySigned, authority)},
		DataSize:   8,
	}
}

func isAuthority(area *tpm2.TPMTPublic) bool {
	want := tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{SignEncrypt: true, UserWithAuth: true},
		Parameters:       p256(tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgNull}),
		Unique:           area.Unique,
	}
	return area.Type == want.Type && bytes.Equal(tpm2.Marshal(*area), tpm2.Marshal(want))
}

// policySecret is the policy "whoever knows the auth value of the entity with
// this Name".
func policySecret(name []byte) []byte { return policyOf(tpm2.TPMCCPolicySecret, name) }

// policyOf is the digest of a policy that is one assertion about an entity,
// without a policyRef (Part 3, 23.2.3: PolicyUpdate).
func policyOf(assertion tpm2.TPMCC, name []byte) []byte {
	h := sha256.New()
	h.Write(make([]byte, sha256.Size)) // the empty policy
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(assertion)))
	h.Write(name)
	first := h.Sum(nil)
	again := sha256.Sum256(first) // the empty policyRef
	return again[:]
}
