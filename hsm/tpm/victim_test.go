package tpm_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/pem"
	"testing"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/internal/secret"
	"countersign/internal/testenv"

	keyfile "github.com/foxboron/go-tpm-keyfiles"
	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

const rightPIN, wrongPIN = "493817", "000000"

func pin(s string) secret.Value { return secret.New([]byte(s)) }

func auth(s string) hsm.Auth { return hsm.Auth{PIN: pin(s)} }

// bound is a key bound to a PIN, or to none where it is empty.
func bound(s string) hsm.Template { return hsm.Template{Auth: auth(s), PINBound: s != ""} }

func guess(pinText string) []byte { return tpm.AuthValue(pin(pinText)) }

// victim is an approval key as its thief sees it.
type victim struct {
	tpm       *testenv.SWTPM
	reference []byte
	file      *keyfile.TPMKey
	index     tpm2.NamedHandle
}

// newVictim makes an approval key on a TPM of its own and hangs up.
func newVictim(t *testing.T) *victim {
	t.Helper()
	v := &victim{tpm: testenv.StartSWTPM(t)}
	v.use(t, func(p *tpm.Provider) {
		key, err := p.Create(t.Context(), bound(rightPIN))
		if err != nil {
			t.Fatal(err)
		}
		v.reference = key.Reference()
	})
	v.file = parseKeyFile(t, v.reference)
	var err error
	if v.index, err = tpm.IndexOf(v.reference); err != nil {
		t.Fatal(err)
	}
	return v
}

func parseKeyFile(t *testing.T, reference []byte) *keyfile.TPMKey {
	t.Helper()
	block, _ := pem.Decode(reference)
	file, err := keyfile.Parse(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// use lends the rightful owner's provider.
func (v *victim) use(t *testing.T, f func(*tpm.Provider)) {
	t.Helper()
	p, err := tpm.Open(v.tpm.Spec())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	f(p)
}

// sign is the rightful owner's try.
func (v *victim) sign(t *testing.T, pinText string) error {
	t.Helper()
	var err error
	v.use(t, func(p *tpm.Provider) {
		var key hsm.Key
		if key, err = p.Open(t.Context(), v.reference); err == nil {
			_, err = key.Sign(t.Context(), make([]byte, sha256.Size), auth(pinText))
		}
	})
	return err
}

// load brings the stolen key into the TPM, with its parent.
func (v *victim) load(t *testing.T, raw *testenv.RawTPM) (key, parent tpm2.NamedHandle) {
	t.Helper()
	parent = storageRoot(t, raw)
	return loadBlob(t, raw, parent, v.file.Privkey, v.file.Pubkey), parent
}

func storageRoot(t *testing.T, raw transport.TPM) tpm2.NamedHandle {
	t.Helper()
	return storageRootUnder(t, raw, tpm2.TPMRHOwner)
}

func storageRootUnder(t *testing.T, raw transport.TPM, hierarchy tpm2.TPMHandle) tpm2.NamedHandle {
	t.Helper()
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: hierarchy, InPublic: tpm2.New2B(keyfile.ECCSRK_H2_Template),
	}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	return tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name}
}

func loadBlob(t *testing.T, raw transport.TPM, parent tpm2.NamedHandle, private tpm2.TPM2BPrivate, public tpm2.TPM2BPublic) tpm2.NamedHandle {
	t.Helper()
	rsp, err := tpm2.Load{
		ParentHandle: tpm2.AuthHandle{Handle: parent.Handle, Name: parent.Name, Auth: tpm2.PasswordAuth(nil)},
		InPrivate:    private, InPublic: public,
	}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	return tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name}
}

func signingArea() tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, SignEncrypt: true, AdminWithPolicy: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			CurveID: tpm2.TPMECCNistP256,
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
	}
}

func createUnder(t *testing.T, raw transport.TPM, parent tpm2.NamedHandle, area tpm2.TPMTPublic, auth []byte) tpm2.NamedHandle {
	t.Helper()
	rsp, err := tpm2.Create{
		ParentHandle: tpm2.AuthHandle{Handle: parent.Handle, Name: parent.Name, Auth: tpm2.PasswordAuth(nil)},
		InSensitive: tpm2.TPM2BSensitiveCreate{
			Sensitive: &tpm2.TPMSSensitiveCreate{UserAuth: tpm2.TPM2BAuth{Buffer: auth}},
		},
		InPublic: tpm2.New2B(area),
	}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	return loadBlob(t, raw, parent, rsp.OutPrivate, rsp.OutPublic)
}

func signRaw(raw transport.TPM, by tpm2.AuthHandle) (*tpm2.SignResponse, error) {
	return tpm2.Sign{
		KeyHandle: by,
		Digest:    tpm2.TPM2BDigest{Buffer: make([]byte, sha256.Size)},
		InScheme: tpm2.TPMTSigScheme{
			Scheme:  tpm2.TPMAlgECDSA,
			Details: tpm2.NewTPMUSigScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSchemeHash{HashAlg: tpm2.TPMAlgSHA256}),
		},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
	}.Execute(raw)
}

func flushAll(t *testing.T, raw *testenv.RawTPM) {
	t.Helper()
	for _, h := range raw.Loaded() {
		if _, err := (tpm2.FlushContext{FlushHandle: h}).Execute(raw); err != nil {
			t.Fatal(err)
		}
	}
}

func undefine(t *testing.T, raw transport.TPM, index tpm2.NamedHandle) tpm2.TPM2BNVPublic {
	t.Helper()
	rsp, err := tpm2.NVReadPublic{NVIndex: index.Handle}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tpm2.NVUndefineSpace{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}, NVIndex: index,
	}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	return rsp.NVPublic
}

func define(raw transport.TPM, public tpm2.TPMSNVPublic, auth []byte) error {
	_, err := tpm2.NVDefineSpace{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		Auth:       tpm2.TPM2BAuth{Buffer: auth}, PublicInfo: tpm2.New2B(public),
	}.Execute(raw)
	return err
}

func writeIndex(raw transport.TPM, index tpm2.NamedHandle, auth tpm2.Session) error {
	_, err := tpm2.NVWrite{
		AuthHandle: tpm2.AuthHandle{Handle: index.Handle, Name: index.Name, Auth: auth}, NVIndex: index,
		Data: tpm2.TPM2BMaxNVBuffer{Buffer: binary.BigEndian.AppendUint64(nil, 5)},
	}.Execute(raw)
	return err
}

// writeByOwner writes count 0, limit 5 and returns the index as it stands then.
func writeByOwner(t *testing.T, raw transport.TPM, public tpm2.TPMSNVPublic) tpm2.NamedHandle {
	t.Helper()
	unwritten, err := tpm2.NVName(&public)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tpm2.NVWrite{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		NVIndex:    tpm2.NamedHandle{Handle: public.NVIndex, Name: *unwritten},
		Data:       tpm2.TPM2BMaxNVBuffer{Buffer: binary.BigEndian.AppendUint64(nil, 5)},
	}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	public.Attributes.Written = true
	name, err := tpm2.NVName(&public)
	if err != nil {
		t.Fatal(err)
	}
	return tpm2.NamedHandle{Handle: public.NVIndex, Name: *name}
}

func readIndex(raw transport.TPM, index tpm2.NamedHandle, by tpm2.AuthHandle) error {
	_, err := tpm2.NVRead{AuthHandle: by, NVIndex: index, Size: 8}.Execute(raw)
	return err
}

// storeIndex plays a chip's maker.
func storeIndex(t *testing.T, raw transport.TPM, handle tpm2.TPMHandle, content []byte) {
	t.Helper()
	public := tpm2.TPMSNVPublic{
		NVIndex: handle, NameAlg: tpm2.TPMAlgSHA256, DataSize: uint16(len(content)),
		Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true, AuthRead: true, NoDA: true},
	}
	if err := define(raw, public, nil); err != nil {
		t.Fatal(err)
	}
	name, err := tpm2.NVName(&public)
	if err != nil {
		t.Fatal(err)
	}
	for from := 0; from < len(content); from += 512 {
		_, err = tpm2.NVWrite{
			AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
			NVIndex:    tpm2.NamedHandle{Handle: handle, Name: *name},
			Data:       tpm2.TPM2BMaxNVBuffer{Buffer: content[from:min(from+512, len(content))]}, Offset: uint16(from),
		}.Execute(raw)
		if err != nil {
			t.Fatal(err)
		}
		public.Attributes.Written = true // and the Name another
		if name, err = tpm2.NVName(&public); err != nil {
			t.Fatal(err)
		}
	}
}
