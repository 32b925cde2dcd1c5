package tpm

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"

	"countersign/hsm"

	keyfile "github.com/foxboron/go-tpm-keyfiles"
	"github.com/google/go-tpm/tpm2"
)

// A reference is two PEM blocks. The first is a TSS2 key file (ASN.1
// Specification for TPM 2.0 Key Files) with mandatory fields only: the readers
// of OpenSSL's tpm2 provider and of tpm2-tools know neither its description nor
// its policy. The second, of type appendixType, holds everything else.
const (
	keyFileType  = "TSS2 PRIVATE KEY"
	appendixType = "COUNTERSIGN TPM KEY"
)

// appendix is the DER content of the second block.
type appendix struct {
	Version        int
	Root           []byte // Name of the storage root
	CreationHash   []byte // with CreationTicket: what TPM2_CertifyCreation wants
	CreationTicket []byte // TPMT_TK_CREATION
	Index          []byte // TPMS_NV_PUBLIC of the PIN index; empty without PIN
	Authority      []byte // TPMT_PUBLIC of the key that allowed its one write
	// Creation is the TPMS_CREATION_DATA that the hash is of. Version 1 has none.
	Creation []byte `asn1:"optional,omitempty,tag:0"`
}

const appendixVersion = 2

// reference is what is kept of a key outside the chip.
type reference struct {
	parent   tpm2.TPMHandle
	private  tpm2.TPM2BPrivate
	public   tpm2.TPMTPublic
	root     []byte
	creation []byte // TPMS_CREATION_DATA; empty where a version 1 did not keep it
	hash     []byte
	ticket   tpm2.TPMTTKCreation
	index    *pinIndex // nil where no index guards the key

	// What follows from the above.
	name     tpm2.TPM2BName
	verifier crypto.PublicKey

	saved *tpm2.TPMSContext // the chip's own copy; belongs to whoever has the turn
}

// counter says who counts the wrong PINs; the chip goes by the same attributes.
func (r *reference) counter() hsm.Counter {
	switch {
	case r.index != nil:
		return hsm.CounterIndex
	case !r.public.ObjectAttributes.NoDA:
		return hsm.CounterLockout
	}
	return hsm.CounterNone
}

// complete fills in what follows from the public area. The Name is computed and
// never taken from a chip's answer: an authorization that names another key is
// refused by the chip.
func (r *reference) complete() error {
	name, err := tpm2.ObjectName(&r.public)
	if err != nil {
		return fmt.Errorf("name of the key: %w", err)
	}
	r.name = *name
	r.verifier, err = publicKey(&r.public)
	return err
}

func (r *reference) encode() ([]byte, error) {
	file := keyfile.NewTPMKey(keyfile.OIDLoadableKey, tpm2.New2B(r.public), r.private, keyfile.WithParent(r.parent))
	file.EmptyAuth = r.counter() != hsm.CounterLockout
	extra := appendix{
		Version: appendixVersion, Root: r.root, Creation: r.creation,
		CreationHash: r.hash, CreationTicket: tpm2.Marshal(r.ticket),
	}
	if r.index != nil {
		extra.Index, extra.Authority = tpm2.Marshal(r.index.public), tpm2.Marshal(r.index.authority)
	}
	der, err := asn1.Marshal(extra)
	if err != nil {
		return nil, err
	}
	return append(
		pem.EncodeToMemory(&pem.Block{Type: keyFileType, Bytes: keyfile.Marshal(file)}),
		pem.EncodeToMemory(&pem.Block{Type: appendixType, Bytes: der})...), nil
}

// decode reads what encode wrote. Every error is a hsm.ErrBadReference.
func decode(b []byte) (*reference, error) {
	r, err := decodeBlocks(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", hsm.ErrBadReference, err)
	}
	return r, nil
}

func decodeBlocks(b []byte) (*reference, error) {
	first, rest := pem.Decode(b)
	if first == nil || first.Type != keyFileType {
		return nil, errors.New("no TSS2 key file")
	}
	second, rest := pem.Decode(rest)
	if second == nil || second.Type != appendixType || len(bytes.TrimSpace(rest)) != 0 {
		return nil, errors.New("no appendix behind the key file")
	}
	file, err := keyfile.Parse(first.Bytes)
	if err != nil {
		return nil, err
	}
	var extra appendix
	if rest, err := asn1.Unmarshal(second.Bytes, &extra); err != nil || len(rest) != 0 {
		return nil, errors.New("malformed appendix")
	}
	if extra.Version < 1 || extra.Version > appendixVersion {
		return nil, fmt.Errorf("appendix of version %d", extra.Version)
	}
	return assemble(file, &extra)
}

// assemble checks that the two blocks speak of one key, and that it is the kind
// of key this package makes.
func assemble(file *keyfile.TPMKey, extra *appendix) (*reference, error) {
	public, err := file.Pubkey.Contents()
	if err != nil {
		return nil, fmt.Errorf("public area: %w", err)
	}
	ticket, err := tpm2.Unmarshal[tpm2.TPMTTKCreation](extra.CreationTicket)
	if err != nil {
		return nil, fmt.Errorf("creation ticket: %w", err)
	}
	r := &reference{
		parent: file.Parent, private: file.Privkey, public: *public,
		root: extra.Root, creation: extra.Creation, hash: extra.CreationHash, ticket: *ticket,
	}
	if err := r.checkCreation(); err != nil {
		return nil, err
	}
	var policy []byte
	if len(extra.Index) != 0 {
		if r.index, err = decodeIndex(extra); err != nil {
			return nil, err
		}
		if policy, err = r.index.keyPolicy(); err != nil {
			return nil, err
		}
	}
	if !ours(public, policy) {
		return nil, errors.New("a key of another kind, or bound to another PIN")
	}
	return r, r.complete()
}

func (r *reference) checkCreation() error {
	if r.parent != tpm2.TPMRHOwner && r.parent != persistentRoot {
		return fmt.Errorf("parent %#x", uint32(r.parent))
	}
	if hash := sha256.Sum256(r.creation); len(r.creation) != 0 && !bytes.Equal(hash[:], r.hash) {
		return errors.New("creation data and hash differ")
	}
	return nil
}

// ours reports whether a public area is one that Create makes, for a key with
// that policy.
func ours(public *tpm2.TPMTPublic, policy []byte) bool {
	for _, want := range []tpm2.TPMTPublic{
		signingKey(hsm.ES256, policy), signingKey(hsm.RS256, policy), lockoutKey(hsm.ES256), lockoutKey(hsm.RS256),
	} {
		if len(policy) != 0 && len(want.AuthPolicy.Buffer) == 0 {
			continue // a key that would not ask the index
		}
		want.Unique = public.Unique
		if want.Type == public.Type && bytes.Equal(tpm2.Marshal(want), tpm2.Marshal(*public)) {
			return true
		}
	}
	return false
}

func decodeIndex(extra *appendix) (*pinIndex, error) {
	public, err := tpm2.Unmarshal[tpm2.TPMSNVPublic](extra.Index)
	if err != nil {
		return nil, fmt.Errorf("PIN index: %w", err)
	}
	authority, err := tpm2.Unmarshal[tpm2.TPMTPublic](extra.Authority)
	if err != nil {
		return nil, fmt.Errorf("authority of the PIN index: %w", err)
	}
	policy, err := authorityPolicy(authority)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(policy, public.AuthPolicy.Buffer) {
		return nil, errors.New("the PIN index had another authority")
	}
	return &pinIndex{*public, *authority}, nil
}
