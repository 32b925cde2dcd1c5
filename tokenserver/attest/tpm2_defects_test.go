package attest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"countersign/protocol"
	"countersign/tokenserver/attest"

	"github.com/google/go-tpm/tpm2"
)

// defect is one thing that is wrong with an attestation, made by a real TPM
// wherever one would make it, and a word of the refusal, so that nothing is
// refused for another reason.
type defect struct {
	change func(*forger)
	want   string
}

func (d defect) run(t *testing.T) {
	t.Helper()
	f := newForger(t)
	d.change(f)
	refuses(t, f.make(), d.want)
}

func refuses(t *testing.T, e *enrollment, want string) {
	t.Helper()
	found, err := e.verify()
	var p *protocol.Problem
	if !errors.As(err, &p) || !isRefusalCode(p.Code) || !strings.Contains(p.Detail, want) {
		t.Errorf("verified with %v, want a refusal that says %q", err, want)
	}
	if found != (attest.Findings{}) {
		t.Errorf("a refusal with findings: %+v", found)
	}
}

func runAll(t *testing.T, defects map[string]defect) {
	t.Helper()
	for name, d := range defects {
		t.Run(name, d.run)
	}
}

func TestDefectsOfTheAttestationKey(t *testing.T) {
	const kind = "not a restricted signing key"
	runAll(t, map[string]defect{
		"not restricted": {func(f *forger) { f.ak.ObjectAttributes.Restricted = false }, kind},
		"not fixed to the TPM": {func(f *forger) {
			f.ak.ObjectAttributes.FixedTPM, f.ak.ObjectAttributes.FixedParent = false, false
		}, kind},
		"counts wrong passwords":   {func(f *forger) { f.ak.ObjectAttributes.NoDA = false }, kind},
		"gone at restart":          {func(f *forger) { f.ak.ObjectAttributes.STClear = true }, kind},
		"on P-384":                 {func(f *forger) { f.ak.Parameters = eccParms(tpm2.TPMECCNistP384, tpm2.TPMAlgSHA256) }, kind},
		"with SHA-384":             {func(f *forger) { f.ak.Parameters = eccParms(tpm2.TPMECCNistP256, tpm2.TPMAlgSHA384) }, kind},
		"RSA":                      {func(f *forger) { asRSA(&f.ak, tpm2.TPMAlgRSASSA) }, kind},
		"in the owner's hierarchy": {func(f *forger) { f.akHierarchy = tpm2.TPMRHOwner }, "outside the endorsement hierarchy"},
		"in the null hierarchy":    {func(f *forger) { f.akHierarchy = tpm2.TPMRHNull }, "outside the endorsement hierarchy"},
		"another one signed": {func(f *forger) {
			f.spoil = func(s *protocol.TPM2Start, _ *protocol.TPM2Proof, _ *attest.Keys) { s.AK = f.anotherAK() }
		}, "does not verify"},
		"more behind it": {func(f *forger) {
			f.spoil = func(s *protocol.TPM2Start, _ *protocol.TPM2Proof, _ *attest.Keys) { s.AK = append(s.AK, 0) }
		}, "cannot be read"},
	})
}

// anotherAK is a second attestation key of the same chip.
func (f *forger) anotherAK() []byte {
	f.t.Helper()
	area := f.ak
	area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: random32()}})
	ak, public := f.primary(f.akHierarchy, area)
	f.flush(ak.Handle)
	return public
}

func TestDefectsOfTheDeviceKey(t *testing.T) {
	const kind = "device key is of another kind"
	attribute := func(set func(*tpm2.TPMAObject)) defect {
		return defect{func(f *forger) { set(&f.device.ObjectAttributes) }, kind}
	}
	runAll(t, map[string]defect{
		"not fixed to the TPM":   attribute(func(a *tpm2.TPMAObject) { a.FixedTPM, a.FixedParent = false, false }),
		"restricted":             attribute(func(a *tpm2.TPMAObject) { a.Restricted = true }),
		"gone at restart":        attribute(func(a *tpm2.TPMAObject) { a.STClear = true }),
		"counts wrong passwords": attribute(func(a *tpm2.TPMAObject) { a.NoDA = false }),
		"administered by policy": attribute(func(a *tpm2.TPMAObject) { a.AdminWithPolicy = true }),
		"with a policy":          {func(f *forger) { f.device.AuthPolicy.Buffer = random32() }, kind},
		"on P-384":               {func(f *forger) { f.device.Parameters = eccParms(tpm2.TPMECCNistP384, tpm2.TPMAlgSHA256) }, kind},
		"with SHA-384":           {func(f *forger) { f.device.Parameters = eccParms(tpm2.TPMECCNistP256, tpm2.TPMAlgSHA384) }, kind},
		"RSA-PSS":                {func(f *forger) { asRSA(&f.device, tpm2.TPMAlgRSAPSS) }, kind},
		"named with SHA-384":     {func(f *forger) { f.device.NameAlg = tpm2.TPMAlgSHA384 }, kind},
	})
}

func TestDefectsOfTheApprovalKey(t *testing.T) {
	const kind = "approval key is of another kind"
	policy := func(p func(*forger, tpm2.TPM2BName) []byte) defect {
		return defect{func(f *forger) { f.policy = func(n tpm2.TPM2BName) []byte { return p(f, n) } }, kind}
	}
	runAll(t, map[string]defect{
		"used without PIN":         {func(f *forger) { f.approval.ObjectAttributes.UserWithAuth = true }, kind},
		"administered without PIN": {func(f *forger) { f.approval.ObjectAttributes.AdminWithPolicy = false }, kind},
		"not fixed to the TPM": {func(f *forger) {
			f.approval.ObjectAttributes.FixedTPM, f.approval.ObjectAttributes.FixedParent = false, false
		}, kind},
		"without a policy":   policy(func(*forger, tpm2.TPM2BName) []byte { return nil }),
		"for the owner":      policy(func(*forger, tpm2.TPM2BName) []byte { return policySecret(tpm2.HandleName(tpm2.TPMRHOwner)) }),
		"for another index":  policy(func(f *forger, _ tpm2.TPM2BName) []byte { return policySecret(f.nameOfAnotherIndex()) }),
		"for its auth value": policy(func(f *forger, _ tpm2.TPM2BName) []byte { return calculated(f, tpm2.PolicyAuthValue{}) }),
		"for the index before it was written": policy(func(f *forger, _ tpm2.TPM2BName) []byte {
			public := f.index
			public.Attributes.Written = false
			name, err := tpm2.NVName(&public)
			f.check(err)
			return policySecret(*name)
		}),
		"a device key":                   {func(f *forger) { f.approval = signingArea(true, false); f.withoutIndex() }, kind},
		"shared counter, exempt from it": {func(f *forger) { f.approval = signingArea(true, true); f.withoutIndex() }, kind},
		"shared counter, beside an index": {func(f *forger) {
			f.approval = signingArea(true, true)
			f.approval.ObjectAttributes.NoDA = false
		}, kind},
		"index not shown": {func(f *forger) {
			f.spoil = func(_ *protocol.TPM2Start, p *protocol.TPM2Proof, _ *attest.Keys) { p.Index = nil }
		}, kind},
	})
}

func (f *forger) withoutIndex() {
	f.policy = func(tpm2.TPM2BName) []byte { return nil }
	f.spoil = func(_ *protocol.TPM2Start, p *protocol.TPM2Proof, _ *attest.Keys) { p.Index = nil }
}

func (f *forger) nameOfAnotherIndex() tpm2.TPM2BName {
	f.t.Helper()
	public := f.index
	public.NVIndex++
	name, err := tpm2.NVName(&public)
	f.check(err)
	return *name
}

func TestDefectsOfTheIndex(t *testing.T) {
	const kind = "PIN index is of another kind"
	attribute := func(set func(*tpm2.TPMANV)) defect {
		return defect{func(f *forger) { set(&f.index.Attributes) }, kind}
	}
	content := func(count, limit uint32, want string) defect {
		return defect{func(f *forger) {
			f.content = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, count), limit)
		}, want}
	}
	runAll(t, map[string]defect{
		"the owner may reset it": attribute(func(a *tpm2.TPMANV) { a.OwnerWrite = true }),
		"the owner alone resets": attribute(func(a *tpm2.TPMANV) { a.OwnerWrite, a.PolicyWrite = true, false }),
		"readable by policy":     attribute(func(a *tpm2.TPMANV) { a.PolicyRead = true }),
		"lost with power":        attribute(func(a *tpm2.TPMANV) { a.Orderly = true }),
		"cleared at restart":     attribute(func(a *tpm2.TPMANV) { a.ClearSTClear = true }),
		"counts right PINs":      attribute(func(a *tpm2.TPMANV) { a.NT = tpm2.TPMNTPinPass }),
		"counts nothing":         attribute(func(a *tpm2.TPMANV) { a.NT = tpm2.TPMNTOrdinary }),
		"in the shared counter":  attribute(func(a *tpm2.TPMANV) { a.NT, a.NoDA = tpm2.TPMNTOrdinary, false }),
		"locks for writing":      attribute(func(a *tpm2.TPMANV) { a.WriteSTClear = true }),
		"larger": {func(f *forger) {
			f.index.Attributes.NT, f.index.DataSize, f.content = tpm2.TPMNTOrdinary, 16, make([]byte, 16)
		}, kind},
		"named with SHA-384": {func(f *forger) {
			f.index.NameAlg, f.index.AuthPolicy.Buffer = tpm2.TPMAlgSHA384, make([]byte, 48)
			f.index.Attributes.OwnerWrite = true
		}, kind},
		"six tries":                content(0, 6, "another number of wrong PINs"),
		"four tries":               content(0, 4, "another number of wrong PINs"),
		"tries without end":        content(0, 1<<32-1, "another number of wrong PINs"),
		"more counted than tries":  content(6, 5, "counted more"),
		"only the count certified": {func(f *forger) { f.size = 4 }, "covers a part"},
		"only the limit certified": {func(f *forger) { f.size, f.offset = 4, 4 }, "covers a part"},
		"another authority": {func(f *forger) {
			f.spoil = func(_ *protocol.TPM2Start, p *protocol.TPM2Proof, _ *attest.Keys) {
				other := f.authority
				other.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
					X: tpm2.TPM2BECCParameter{Buffer: random32()}, Y: tpm2.TPM2BECCParameter{Buffer: random32()},
				})
				p.Index.Authority = tpm2.Marshal(other)
			}
		}, kind},
		"an authority of another kind": {func(f *forger) { f.authority.ObjectAttributes.NoDA = true }, "not a plain P-256 key"},
		"another index certified": {func(f *forger) {
			f.spoil = func(_ *protocol.TPM2Start, p *protocol.TPM2Proof, _ *attest.Keys) {
				ak, _ := f.primary(f.akHierarchy, f.ak)
				f.index.NVIndex++
				f.index.Attributes.Written = false
				f.index.AuthPolicy.Buffer = nil
				other, _ := f.makeIndex(ak)
				f.flush(ak.Handle)
				p.Index.Attest, p.Index.Signature = other.Attest, other.Signature
			}
		}, "about another index"},
	})
}

func TestDefectsOfHowKeysWereMade(t *testing.T) {
	runAll(t, map[string]defect{
		"under the platform's root":       {func(f *forger) { f.parentHierarchy = tpm2.TPMRHPlatform }, "not made under a storage root"},
		"under the endorsement's":         {func(f *forger) { f.parentHierarchy = tpm2.TPMRHEndorsement }, "not made under a storage root"},
		"under a key of a root":           {func(f *forger) { f.nested = true }, "not made under a storage root"},
		"under a root named with SHA-384": {func(f *forger) { f.parent.NameAlg = tpm2.TPMAlgSHA384 }, "not made under a storage root"},
		"under different roots":           {func(f *forger) { f.approvalParent = &tpm2.RSASRKTemplate }, "different storage roots"},
		"with outside information":        {func(f *forger) { f.outside = []byte("x") }, "says more"},
		"with platform state": {func(f *forger) {
			f.pcrs.PCRSelections = []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(7)}}
		}, "says more"},
	})
}

func TestDefectsOfStatements(t *testing.T) {
	swap := func(change func(p *protocol.TPM2Proof), want string) defect {
		return defect{func(f *forger) {
			f.spoil = func(_ *protocol.TPM2Start, p *protocol.TPM2Proof, _ *attest.Keys) { change(p) }
		}, want}
	}
	runAll(t, map[string]defect{
		"over another challenge": {func(f *forger) { f.certified = random32() }, "another challenge"},
		"over none":              {func(f *forger) { f.certified = nil }, "another challenge"},
		"over more":              {func(f *forger) { f.certified = append(bytes.Clone(f.nonce), 0) }, "another challenge"},
		"Certify, not CertifyCreation": {func(f *forger) {
			f.certifyKey = func(ak tpm2.NamedHandle, k made) *protocol.TPM2Key {
				if k.pinBound {
					return f.certifyCreation(ak, k)
				}
				return f.certify(ak, k)
			}
		}, "of another kind"},
		"about the index, not the key": swap(func(p *protocol.TPM2Proof) {
			p.Device.Attest, p.Device.Signature = p.Index.Attest, p.Index.Signature
		}, "of another kind"),
		"about a key, not the index": swap(func(p *protocol.TPM2Proof) {
			p.Index.Attest, p.Index.Signature = p.Device.Attest, p.Device.Signature
		}, "of another kind"),
		"about the other key": swap(func(p *protocol.TPM2Proof) {
			p.Device.Attest, p.Device.Signature = p.Approval.Attest, p.Approval.Signature
		}, "about another key"),
		"more behind the creation data":       swap(func(p *protocol.TPM2Proof) { p.Device.Creation = append(p.Device.Creation, 0) }, "creation data"),
		"creation data of another key":        swap(func(p *protocol.TPM2Proof) { p.Device.Creation[6] ^= 2 }, "creation data of the device key is of another key"),
		"signature of another statement":      swap(func(p *protocol.TPM2Proof) { p.Device.Signature = p.Approval.Signature }, "does not verify"),
		"a number in the signature is longer": swap(func(p *protocol.TPM2Proof) { p.Device.Signature = lengthened(p.Device.Signature) }, "not ECDSA"),
		"more behind the public area":         swap(func(p *protocol.TPM2Proof) { p.Device.Public = append(p.Device.Public, 0) }, "cannot be read"),
		"more behind the statement":           swap(func(p *protocol.TPM2Proof) { p.Device.Attest = append(p.Device.Attest, 0) }, "does not verify"),
		"more behind the signature":           swap(func(p *protocol.TPM2Proof) { p.Device.Signature = append(p.Device.Signature, 0) }, "cannot be read"),
		"more behind the index":               swap(func(p *protocol.TPM2Proof) { p.Index.Public = append(p.Index.Public, 0) }, "cannot be read"),
		"more behind the authority":           swap(func(p *protocol.TPM2Proof) { p.Index.Authority = append(p.Index.Authority, 0) }, "cannot be read"),
		"longer than a TPM speaks":            swap(func(p *protocol.TPM2Proof) { p.Device.Public = make([]byte, 5000) }, "too long"),
		"another secret":                      swap(func(p *protocol.TPM2Proof) { p.Secret[31] ^= 1 }, "not opened its credential"),
		"half a secret":                       swap(func(p *protocol.TPM2Proof) { p.Secret = p.Secret[:16] }, "not opened its credential"),
		"no secret":                           swap(func(p *protocol.TPM2Proof) { p.Secret = make([]byte, 32) }, "not opened its credential"),
	})
}

// lengthened writes a zero before the first number of a TPMT_SIGNATURE, which
// changes nothing about it but its bytes.
func lengthened(signature []byte) []byte {
	s := bytes.Clone(signature[:4]) // algorithm and hash
	s = binary.BigEndian.AppendUint16(s, 33)
	return append(append(s, 0), signature[6:]...)
}

// certify has the chip say less about a key than it would.
func (f *forger) certify(ak tpm2.NamedHandle, k made) *protocol.TPM2Key {
	f.t.Helper()
	rsp, err := tpm2.Certify{
		ObjectHandle: byEmpty(k.NamedHandle), SignHandle: byEmpty(ak),
		QualifyingData: tpm2.TPM2BData{Buffer: f.certified}, InScheme: anyScheme(),
	}.Execute(f.raw)
	f.check(err)
	return &protocol.TPM2Key{
		Public: k.OutPublic.Bytes(), Creation: k.CreationData.Bytes(),
		Attest: rsp.CertifyInfo.Bytes(), Signature: tpm2.Marshal(rsp.Signature),
	}
}

func TestProofsOfOtherKeysThanAsked(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	members := func(change func(p *protocol.TPM2Proof, k *attest.Keys), want string) defect {
		return defect{func(f *forger) {
			f.spoil = func(_ *protocol.TPM2Start, p *protocol.TPM2Proof, k *attest.Keys) { change(p, k) }
		}, want}
	}
	runAll(t, map[string]defect{
		"device key asked for is another":   members(func(_ *protocol.TPM2Proof, k *attest.Keys) { k.Device = &other.PublicKey }, "another key than its certificate request"),
		"approval key asked for is another": members(func(_ *protocol.TPM2Proof, k *attest.Keys) { k.Approval = &other.PublicKey }, "another key than its certificate request"),
		"asked for RSA":                     members(func(_ *protocol.TPM2Proof, k *attest.Keys) { k.Approval = &rsa.PublicKey{} }, "another key than its certificate request"),
		"keys asked for swapped":            members(func(_ *protocol.TPM2Proof, k *attest.Keys) { k.Device, k.Approval = k.Approval, k.Device }, "another key than its certificate request"),
		"proofs swapped":                    members(func(p *protocol.TPM2Proof, _ *attest.Keys) { p.Device, p.Approval = p.Approval, p.Device }, "of another kind"),
		"device key missing":                members(func(p *protocol.TPM2Proof, _ *attest.Keys) { p.Device = nil }, "device key is missing"),
		"approval key missing":              members(func(p *protocol.TPM2Proof, _ *attest.Keys) { p.Approval, p.Index = nil, nil }, "approval key is missing"),
		"device key not asked for":          members(func(_ *protocol.TPM2Proof, k *attest.Keys) { k.Device = nil }, "nobody asked for it"),
		"approval key not asked for":        members(func(_ *protocol.TPM2Proof, k *attest.Keys) { k.Approval = nil }, "nobody asked for it"),
		"index without its key":             members(func(p *protocol.TPM2Proof, k *attest.Keys) { p.Approval, k.Approval = nil, nil }, "no approval key"),
	})
}

// A key outside any chip that claims to be an attestation key signs what it
// likes. The credential alone stands against it, as nobody opens one for a key
// that is not in the chip; here the secret is known. What remains is looked at
// all the same.
func TestStatementsNoTPMWouldMake(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*tpm2.TPMSAttest)
		raw    func([]byte)
		want   string
	}{
		"nothing wrong": {want: ""},
		"wrong magic":   {raw: func(b []byte) { b[0] ^= 1 }, want: "not made by a TPM"},
		"wrong type":    {raw: func(b []byte) { binary.BigEndian.PutUint16(b[4:], uint16(tpm2.TPMSTAttestTime)) }, want: "cannot be read"},
		"other firmware": {change: func(s *tpm2.TPMSAttest) {
			if s.Type == tpm2.TPMSTAttestNV {
				s.FirmwareVersion++
			}
		}, want: "different firmware"},
		"other signer": {change: func(s *tpm2.TPMSAttest) { s.QualifiedSigner.Buffer[5]++ }, want: "outside the endorsement hierarchy"},
		"eight bytes from the fourth": {change: func(s *tpm2.TPMSAttest) {
			if said, err := s.Attested.NV(); err == nil {
				said.Offset = 4
				s.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestNV, said)
			}
		}, want: "covers a part"},
		"a truth value of 2": {raw: func(b []byte) { b[safeOffset] = 2 }, want: "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForger(t)
			f.spoil = func(s *protocol.TPM2Start, p *protocol.TPM2Proof, _ *attest.Keys) {
				f.pretend(s, p, func(said *tpm2.TPMSAttest) {
					if tt.change != nil {
						tt.change(said)
					}
				}, tt.raw)
			}
			e := f.make()
			if tt.want != "" {
				refuses(t, e, tt.want)
			} else if _, err := e.verify(); err != nil {
				t.Error(err)
			}
		})
	}
}

// safeOffset is where TPMS_CLOCK_INFO.safe stands in a TPMS_ATTEST with a
// Qualified Name of 34 and a nonce of 32 bytes.
const safeOffset = 4 + 2 + 2 + 34 + 2 + 32 + 8 + 4 + 4

// softwareKey is in no chip, and the same each time.
func softwareKey() *ecdsa.PrivateKey {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		panic(err)
	}
	return key
}

// softwareAK is what a key in no chip claims to be.
func softwareAK() tpm2.TPMTPublic {
	point, err := softwareKey().PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	area := signingArea(true, false)
	area.ObjectAttributes.Restricted = true
	area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]},
	})
	return area
}

// pretend signs all statements again by softwareKey.
func (f *forger) pretend(s *protocol.TPM2Start, p *protocol.TPM2Proof, change func(*tpm2.TPMSAttest), raw func([]byte)) {
	f.t.Helper()
	area := softwareAK()
	s.AK = tpm2.Marshal(area)
	name, err := tpm2.ObjectName(&area)
	f.check(err)
	qualified := sha256.Sum256(append(binary.BigEndian.AppendUint32(nil, uint32(tpm2.TPMRHEndorsement)), name.Buffer...))
	sign := func(statement, signature *protocol.Blob) {
		said, err := tpm2.Unmarshal[tpm2.TPMSAttest](*statement)
		f.check(err)
		said.QualifiedSigner.Buffer = append([]byte{0, 0x0b}, qualified[:]...)
		change(said)
		*statement = tpm2.Marshal(*said)
		if raw != nil {
			raw(*statement)
		}
		*signature = softSigned(f.t, *statement)
	}
	sign(&p.Device.Attest, &p.Device.Signature)
	sign(&p.Approval.Attest, &p.Approval.Signature)
	sign(&p.Index.Attest, &p.Index.Signature)
}

func softSigned(t testing.TB, statement []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(statement)
	return tpm2.Marshal(softSign(t, softwareKey(), digest[:]))
}

// An old proof answers no new challenge, and a new secret needs the chip.
func TestReplay(t *testing.T) {
	old := captured(t)
	for name, change := range map[string]func(*enrollment){
		"new challenge, old credential": func(e *enrollment) { e.nonce = random32() },
		"old challenge, new credential": func(e *enrollment) { e.secret = random32() },
	} {
		e := *old
		change(&e)
		if _, err := e.verify(); err == nil {
			t.Errorf("%s: an old proof passes", name)
		}
	}
}
