package attest

import (
	"bytes"
	"crypto"
	"crypto/sha256"

	"countersign/protocol"

	"github.com/google/go-tpm/tpm2"
)

// keyKind is what protects a signing key in a TPM.
type keyKind struct {
	attributes tpm2.TPMAObject
	policy     []byte
}

// deviceKind is a key that signs for whoever reaches the chip.
func deviceKind() keyKind {
	return keyKind{attributes: tpm2.TPMAObject{
		FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, SignEncrypt: true,
		UserWithAuth: true, NoDA: true,
	}}
}

// indexKind is a key that signs, and does anything else, only after a PIN index
// has accepted a PIN. That adminWithPolicy is set matters: without it
// TPM2_Certify and TPM2_ObjectChangeAuth would take the key's auth value.
func indexKind(index []byte) keyKind {
	return keyKind{
		attributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, SignEncrypt: true,
			AdminWithPolicy: true, NoDA: true,
		},
		policy: policySecret(index),
	}
}

// lockoutKind is a key whose auth value is a PIN, with the wrong ones counted by
// the chip's shared counter.
func lockoutKind() keyKind {
	return keyKind{attributes: tpm2.TPMAObject{
		FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, SignEncrypt: true,
		UserWithAuth: true, AdminWithPolicy: true,
	}}
}

// matches reports whether a public area is of this kind in every bit, for one of
// the two algorithms that keys of ours have.
func (k keyKind) matches(area *tpm2.TPMTPublic) bool {
	want := tpm2.TPMTPublic{
		Type: area.Type, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: k.attributes,
		AuthPolicy: tpm2.TPM2BDigest{Buffer: k.policy}, Unique: area.Unique,
	}
	switch area.Type {
	case tpm2.TPMAlgECC:
		want.Parameters = p256(tpm2.TPMTECCScheme{
			Scheme:  tpm2.TPMAlgECDSA,
			Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
		})
	case tpm2.TPMAlgRSA:
		want.Parameters = rsa2048()
	default:
		return false
	}
	return bytes.Equal(tpm2.Marshal(*area), tpm2.Marshal(want))
}

func p256(scheme tpm2.TPMTECCScheme) tpm2.TPMUPublicParms {
	return tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
		CurveID: tpm2.TPMECCNistP256, Scheme: scheme,
	})
}

// rsa2048 is a key for RSASSA-PKCS1-v1_5 with the exponent 65537.
func rsa2048() tpm2.TPMUPublicParms {
	return tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
		Scheme: tpm2.TPMTRSAScheme{
			Scheme:  tpm2.TPMAlgRSASSA,
			Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256}),
		},
		KeyBits: 2048,
	})
}

// key judges the proof about one key: that it is the one which asked for a
// certificate, of this kind, and was made by this chip under its storage root.
func (j *tpm2Judge) key(which string, p *protocol.TPM2Key, asked crypto.PublicKey, kind keyKind) error {
	area, err := parse[tpm2.TPMTPublic]("public area of the "+which, p.Public)
	if err != nil {
		return err
	}
	if !kind.matches(area) {
		return refused("the %s is of another kind: its attributes, policy or algorithm are not those of such a key", which)
	}
	public, err := tpm2.Pub(*area)
	if same, ok := asked.(interface{ Equal(x crypto.PublicKey) bool }); err != nil || !ok || !same.Equal(public) {
		return refused("the proof of the %s is for another key than its certificate request", which)
	}
	s, err := j.statement(which, tpm2.TPMSTAttestCreation, p.Attest, p.Signature)
	if err != nil {
		return err
	}
	said, err := s.Attested.Creation()
	if err != nil {
		return refused("the statement about the %s is of another kind", which)
	}
	hash := sha256.Sum256(p.Creation)
	switch {
	case !bytes.Equal(said.ObjectName.Buffer, nameOf(p.Public)):
		return refused("the statement about the %s is about another key", which)
	case !bytes.Equal(said.CreationHash.Buffer, hash[:]):
		return refused("the creation data of the %s is of another key", which)
	}
	return j.creation(which, p.Creation)
}

// creation judges how a key was made: by itself, in this chip, under a primary
// key of the owner. With fixedTPM, which the chip only grants under a storage
// key that is fixedTPM itself, that is a storage root.
func (j *tpm2Judge) creation(which string, raw []byte) error {
	data, err := parse[tpm2.TPMSCreationData]("creation data of the "+which, raw)
	if err != nil {
		return err
	}
	parent := data.ParentName.Buffer
	switch {
	case !bytes.Equal(data.ParentQualifiedName.Buffer, primaryName(tpm2.TPMRHOwner, parent)):
		return refused("the %s was not made under a storage root", which)
	case !j.sameParent(parent):
		return refused("the keys were made under different storage roots")
	case len(data.PCRSelect.PCRSelections) != 0 || len(data.OutsideInfo.Buffer) != 0:
		return refused("the creation data of the %s says more than it should", which)
	}
	return nil
}
