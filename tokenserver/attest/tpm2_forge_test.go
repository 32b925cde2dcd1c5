package attest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"countersign/internal/testenv"
	"countersign/protocol"
	"countersign/tokenserver/attest"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// forger makes an attestation by TPM commands, without any of our back end. As
// newForger returns it all is well; a test spoils one thing and has it made.
type forger struct {
	t     testing.TB
	raw   *testenv.RawTPM
	trust attest.Trust
	nonce []byte

	ek          [][]byte // what the certificate chain is to be
	ak          tpm2.TPMTPublic
	akHierarchy tpm2.TPMHandle

	parent           tpm2.TPMTPublic // a primary key of parentHierarchy
	parentHierarchy  tpm2.TPMHandle
	nested           bool             // a storage key between that and the keys
	approvalParent   *tpm2.TPMTPublic // another one for the approval key
	device, approval tpm2.TPMTPublic
	certifyKey       func(ak tpm2.NamedHandle, k made) *protocol.TPM2Key
	auth             []byte // of the approval key
	outside          []byte
	pcrs             tpm2.TPMLPCRSelection

	authority    tpm2.TPMTPublic // its unique is filled in
	index        tpm2.TPMSNVPublic
	content      []byte
	policy       func(tpm2.TPM2BName) []byte // of the approval key
	certified    []byte                      // the qualifying data of certifications
	offset, size uint16                      // of the index's certification

	// spoil, where set, changes the result.
	spoil func(start *protocol.TPM2Start, proof *protocol.TPM2Proof, keys *attest.Keys)
}

func newForger(t testing.TB) *forger {
	t.Helper()
	chip, maker := testenv.StartManufacturedTPM(t)
	f := &forger{
		t: t, raw: chip.Dial(), trust: trust(maker.Issuer), nonce: random32(),
		akHierarchy: tpm2.TPMRHEndorsement, parent: tpm2.ECCSRKTemplate, parentHierarchy: tpm2.TPMRHOwner,
		policy: policySecret, content: binary.BigEndian.AppendUint64(nil, 5), size: 8,
	}
	f.certified, f.certifyKey = f.nonce, f.certifyCreation
	f.ek = [][]byte{f.readNV(0x01c00002)}
	f.ak, f.device, f.approval = signingArea(true, false), signingArea(true, false), signingArea(false, true)
	f.ak.ObjectAttributes.Restricted = true
	f.authority = tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{SignEncrypt: true, UserWithAuth: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			CurveID: tpm2.TPMECCNistP256, Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgNull},
		}),
	}
	f.index = tpm2.TPMSNVPublic{
		NVIndex: 0x01812345, NameAlg: tpm2.TPMAlgSHA256, DataSize: 8,
		Attributes: tpm2.TPMANV{NT: tpm2.TPMNTPinFail, PolicyWrite: true, AuthRead: true, OwnerRead: true, NoDA: true},
	}
	return f
}

func signingArea(userWithAuth, adminWithPolicy bool) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, SignEncrypt: true, NoDA: true,
			UserWithAuth: userWithAuth, AdminWithPolicy: adminWithPolicy,
		},
		Parameters: eccParms(tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256),
		Unique:     tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
	}
}

func eccParms(curve tpm2.TPMECCCurve, hash tpm2.TPMIAlgHash) tpm2.TPMUPublicParms {
	return tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
		CurveID: curve,
		Scheme: tpm2.TPMTECCScheme{
			Scheme:  tpm2.TPMAlgECDSA,
			Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: hash}),
		},
	})
}

// asRSA makes an area one of an RSA key.
func asRSA(area *tpm2.TPMTPublic, scheme tpm2.TPMAlgID) {
	details := tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256})
	if scheme == tpm2.TPMAlgRSAPSS {
		details = tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSAPSS, &tpm2.TPMSSigSchemeRSAPSS{HashAlg: tpm2.TPMAlgSHA256})
	}
	area.Type = tpm2.TPMAlgRSA
	area.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
		Scheme: tpm2.TPMTRSAScheme{Scheme: scheme, Details: details}, KeyBits: 2048,
	})
	area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{})
}

func calculated(f *forger, step interface {
	Update(*tpm2.PolicyCalculator) error
},
) []byte {
	calc, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	f.check(err)
	f.check(step.Update(calc))
	return calc.Hash().Digest
}

// policySecret is computed by the library here, and by hand in the package.
func policySecret(name tpm2.TPM2BName) []byte {
	calc, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		panic(err)
	}
	if err := (tpm2.PolicySecret{AuthHandle: tpm2.NamedHandle{Name: name}}).Update(calc); err != nil {
		panic(err)
	}
	return calc.Hash().Digest
}

func (f *forger) check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *forger) flush(h tpm2.TPMHandle) {
	f.t.Helper()
	_, err := tpm2.FlushContext{FlushHandle: h}.Execute(f.raw)
	f.check(err)
}

func (f *forger) readNV(h tpm2.TPMHandle) []byte {
	f.t.Helper()
	public, err := tpm2.NVReadPublic{NVIndex: h}.Execute(f.raw)
	f.check(err)
	area, err := public.NVPublic.Contents()
	f.check(err)
	rsp, err := tpm2.NVRead{
		AuthHandle: tpm2.AuthHandle{Handle: h, Name: public.NVName, Auth: tpm2.PasswordAuth(nil)},
		NVIndex:    tpm2.NamedHandle{Handle: h, Name: public.NVName}, Size: area.DataSize,
	}.Execute(f.raw)
	f.check(err)
	return rsp.Data.Buffer
}

func (f *forger) primary(hierarchy tpm2.TPMHandle, area tpm2.TPMTPublic) (tpm2.NamedHandle, []byte) {
	f.t.Helper()
	rsp, err := tpm2.CreatePrimary{PrimaryHandle: hierarchy, InPublic: tpm2.New2B(area)}.Execute(f.raw)
	f.check(err)
	return tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name}, rsp.OutPublic.Bytes()
}

func byEmpty(k tpm2.NamedHandle) tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: k.Handle, Name: k.Name, Auth: tpm2.PasswordAuth(nil)}
}

// make makes everything and hands it to a server.
func (f *forger) make() *enrollment {
	f.t.Helper()
	ak, akArea := f.primary(f.akHierarchy, f.ak)
	defer f.flush(ak.Handle)
	proof := &protocol.TPM2Proof{}
	var name tpm2.TPM2BName
	proof.Index, name = f.makeIndex(ak)
	f.approval.AuthPolicy.Buffer = f.policy(name)
	proof.Device = f.makeKey(ak, f.device, nil)
	if f.approvalParent != nil {
		f.parent = *f.approvalParent
	}
	proof.Approval = f.makeKey(ak, f.approval, f.auth)
	start := &protocol.TPM2Start{AK: akArea}
	for _, der := range f.ek {
		start.EKChain = append(start.EKChain, der)
	}
	return f.submit(start, proof)
}

// submit knows the secret as only the chip could.
func (f *forger) submit(start *protocol.TPM2Start, proof *protocol.TPM2Proof) *enrollment {
	f.t.Helper()
	e := &enrollment{trust: f.trust, nonce: f.nonce, secret: random32()}
	if _, secret, err := attest.OpenTPM2(f.trust, *start); err == nil {
		e.secret = secret
	}
	proof.Secret = bytes.Clone(e.secret)
	e.keys = attest.Keys{Device: publicOf(f.t, proof.Device), Approval: publicOf(f.t, proof.Approval)}
	if f.spoil != nil {
		f.spoil(start, proof, &e.keys)
	}
	e.start = mustJSON(f.t, protocol.StartAttestation{Format: protocol.AttestationTPM2, TPM2: start})
	e.proof = mustJSON(f.t, protocol.ProofAttestation{TPM2: proof})
	return e
}

func publicOf(t testing.TB, k *protocol.TPM2Key) any {
	t.Helper()
	area, err := tpm2.Unmarshal[tpm2.TPMTPublic](k.Public)
	if err != nil {
		t.Fatal(err)
	}
	public, err := tpm2.Pub(*area)
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// made is a new key in the chip.
type made struct {
	tpm2.NamedHandle
	*tpm2.CreateResponse
	pinBound bool
}

func (f *forger) create(parent tpm2.NamedHandle, area tpm2.TPMTPublic, auth []byte) made {
	f.t.Helper()
	sensitive := &tpm2.TPMSSensitiveCreate{UserAuth: tpm2.TPM2BAuth{Buffer: auth}}
	rsp, err := tpm2.Create{
		ParentHandle: byEmpty(parent), InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: sensitive},
		InPublic: tpm2.New2B(area), OutsideInfo: tpm2.TPM2BData{Buffer: f.outside}, CreationPCR: f.pcrs,
	}.Execute(f.raw)
	f.check(err)
	loaded, err := tpm2.Load{ParentHandle: byEmpty(parent), InPrivate: rsp.OutPrivate, InPublic: rsp.OutPublic}.Execute(f.raw)
	f.check(err)
	return made{tpm2.NamedHandle{Handle: loaded.ObjectHandle, Name: loaded.Name}, rsp, !area.ObjectAttributes.UserWithAuth}
}

func (f *forger) makeKey(ak tpm2.NamedHandle, area tpm2.TPMTPublic, auth []byte) *protocol.TPM2Key {
	f.t.Helper()
	parent, _ := f.primary(f.parentHierarchy, f.parent)
	if f.nested {
		between := f.create(parent, tpm2.ECCSRKTemplate, nil)
		f.flush(parent.Handle)
		parent = between.NamedHandle
	}
	k := f.create(parent, area, auth)
	defer f.flush(k.Handle)
	f.flush(parent.Handle)
	return f.certifyKey(ak, k)
}

func (f *forger) certifyCreation(ak tpm2.NamedHandle, k made) *protocol.TPM2Key {
	f.t.Helper()
	rsp, err := tpm2.CertifyCreation{
		SignHandle: byEmpty(ak), ObjectHandle: k.NamedHandle, QualifyingData: tpm2.TPM2BData{Buffer: f.certified},
		CreationHash: k.CreationHash, CreationTicket: k.CreationTicket, InScheme: anyScheme(),
	}.Execute(f.raw)
	f.check(err)
	return &protocol.TPM2Key{
		Public: k.OutPublic.Bytes(), Creation: k.CreationData.Bytes(),
		Attest: rsp.CertifyInfo.Bytes(), Signature: tpm2.Marshal(rsp.Signature),
	}
}

func anyScheme() tpm2.TPMTSigScheme { return tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull} }

// makeIndex defines, writes and certifies an index.
func (f *forger) makeIndex(ak tpm2.NamedHandle) (*protocol.TPM2Index, tpm2.TPM2BName) {
	f.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	f.check(err)
	point, err := private.PublicKey.Bytes()
	f.check(err)
	f.authority.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]},
	})
	authority, err := tpm2.ObjectName(&f.authority)
	f.check(err)
	if f.index.AuthPolicy.Buffer == nil {
		f.index.AuthPolicy.Buffer = calculated(f, tpm2.PolicySigned{AuthObject: tpm2.NamedHandle{Name: *authority}})
	}
	_, err = tpm2.NVDefineSpace{
		AuthHandle: byEmpty(tpm2.NamedHandle{Handle: tpm2.TPMRHOwner}), Auth: tpm2.TPM2BAuth{Buffer: []byte(pinText)},
		PublicInfo: tpm2.New2B(f.index),
	}.Execute(f.raw)
	f.check(err)
	f.writeIndex(private)
	f.index.Attributes.Written = true
	name, err := tpm2.NVName(&f.index)
	f.check(err)
	p := f.certifyIndex(ak, tpm2.NamedHandle{Handle: f.index.NVIndex, Name: *name})
	p.Public, p.Authority = tpm2.Marshal(f.index), tpm2.Marshal(f.authority)
	return p, *name
}

func (f *forger) certifyIndex(ak, index tpm2.NamedHandle) *protocol.TPM2Index {
	f.t.Helper()
	rsp, err := tpm2.NVCertify{
		SignHandle: byEmpty(ak), AuthHandle: byEmpty(tpm2.NamedHandle{Handle: tpm2.TPMRHOwner}), NVIndex: index,
		QualifyingData: tpm2.TPM2BData{Buffer: f.certified}, InScheme: anyScheme(), Size: f.size, Offset: f.offset,
	}.Execute(f.raw)
	f.check(err)
	return &protocol.TPM2Index{Attest: rsp.CertifyInfo.Bytes(), Signature: tpm2.Marshal(rsp.Signature)}
}

// writeIndex writes by the owner where the index allows that, else by the
// authority.
func (f *forger) writeIndex(authority *ecdsa.PrivateKey) {
	f.t.Helper()
	name, err := tpm2.NVName(&f.index)
	f.check(err)
	index := tpm2.NamedHandle{Handle: f.index.NVIndex, Name: *name}
	by := byEmpty(tpm2.NamedHandle{Handle: tpm2.TPMRHOwner})
	if !f.index.Attributes.OwnerWrite {
		key, err := tpm2.LoadExternal{InPublic: tpm2.New2B(f.authority), Hierarchy: tpm2.TPMRHNull}.Execute(f.raw)
		f.check(err)
		defer f.flush(key.ObjectHandle)
		signed := func(tp transport.TPM, session tpm2.TPMISHPolicy, nonce tpm2.TPM2BNonce) error {
			digest := sha256.Sum256(append(bytes.Clone(nonce.Buffer), 0, 0, 0, 0))
			_, err := tpm2.PolicySigned{
				AuthObject:    tpm2.NamedHandle{Handle: key.ObjectHandle, Name: key.Name},
				PolicySession: session, NonceTPM: nonce, Auth: softSign(f.t, authority, digest[:]),
			}.Execute(tp)
			return err
		}
		by = tpm2.AuthHandle{Handle: index.Handle, Name: index.Name, Auth: tpm2.Policy(tpm2.TPMAlgSHA256, 16, signed)}
	}
	_, err = tpm2.NVWrite{AuthHandle: by, NVIndex: index, Data: tpm2.TPM2BMaxNVBuffer{Buffer: f.content}}.Execute(f.raw)
	f.check(err)
}

// softSign signs as a TPM would, without one.
func softSign(t testing.TB, key *ecdsa.PrivateKey, digest []byte) tpm2.TPMTSignature {
	t.Helper()
	r, s, err := ecdsa.Sign(rand.Reader, key, digest)
	if err != nil {
		t.Fatal(err)
	}
	return tpm2.TPMTSignature{
		SigAlg: tpm2.TPMAlgECDSA,
		Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{
			Hash:       tpm2.TPMAlgSHA256,
			SignatureR: tpm2.TPM2BECCParameter{Buffer: r.FillBytes(make([]byte, 32))},
			SignatureS: tpm2.TPM2BECCParameter{Buffer: s.FillBytes(make([]byte, 32))},
		}),
	}
}
