package tpm_test

import (
	"bytes"
	"errors"
	"testing"

	"countersign/hsm"
	"countersign/internal/testenv"

	keyfile "github.com/foxboron/go-tpm-keyfiles"
	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

const rootHandle tpm2.TPMHandle = 0x81000001

// persist puts a loaded object at the storage root's handle and flushes it.
func persist(t *testing.T, raw transport.TPM, object tpm2.NamedHandle) {
	t.Helper()
	_, err := tpm2.EvictControl{
		Auth:         tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		ObjectHandle: object, PersistentHandle: rootHandle,
	}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.FlushContext{FlushHandle: object.Handle}).Execute(raw); err != nil {
		t.Fatal(err)
	}
}

// occupyRootHandle puts a key there that is no storage root, and returns its
// Name.
func occupyRootHandle(t *testing.T, raw *testenv.RawTPM) tpm2.TPM2BName {
	t.Helper()
	parent := storageRoot(t, raw)
	area := signingArea()
	area.ObjectAttributes.UserWithAuth, area.ObjectAttributes.NoDA = true, true
	key := createUnder(t, raw, parent, area, nil)
	persist(t, raw, key)
	flushAll(t, raw)
	return key.Name
}

// nameAt returns the Name of what is at the storage root's handle, or nil.
func nameAt(t *testing.T, raw transport.TPM) []byte {
	t.Helper()
	rsp, err := tpm2.ReadPublic{ObjectHandle: rootHandle}.Execute(raw)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return rsp.Name.Buffer
}

// The first key leaves the standard storage root where everybody looks for it,
// and a key of before, which had a derived one for its parent, still signs.
func TestCreateSettlesTheStorageRoot(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	rec := testenv.RecordTPM(t, chip)
	rec.Answer(tpm2.TPMCCEvictControl, tpm2.TPMRCNVSpace)
	p := provider(t, rec.Spec())
	before := mustCreate(t, p, bound(rightPIN))
	rec.Answer(tpm2.TPMCCEvictControl, 0)
	mustSign(t, before, rightPIN)
	after := mustCreate(t, p, bound(rightPIN))
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	raw := chip.Dial()
	if got, want := nameAt(t, raw), storageRoot(t, raw).Name.Buffer; !bytes.Equal(got, want) {
		t.Errorf("at the storage root's handle is %x, want the standard root %x", got, want)
	}
	raw.Close()
	p = provider(t, chip.Spec())
	for _, key := range []hsm.Key{before, after} {
		again, err := p.Open(t.Context(), key.Reference())
		if err != nil {
			t.Fatal(err)
		}
		mustSign(t, again, rightPIN)
	}
}

// What somebody else put at the handle stays, and is no root of ours.
func TestForeignKeyAtTheRootsHandleStays(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	raw := chip.Dial()
	name := occupyRootHandle(t, raw)
	raw.Close()
	p := provider(t, chip.Spec())
	key := mustCreate(t, p, bound(rightPIN))
	mustSign(t, key, rightPIN)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if got := nameAt(t, chip.Dial()); !bytes.Equal(got, name.Buffer) {
		t.Error("the key at the storage root's handle was replaced")
	}
}

// A storage root of RSA, as the older provisioning tools make it, serves as
// well. One that takes part in the dictionary-attack logic does not: one key's
// lockout would lock out all.
func TestRSAStorageRoot(t *testing.T) {
	for _, proper := range []bool{true, false} {
		chip := testenv.StartSWTPM(t)
		raw := chip.Dial()
		template := tpm2.RSASRKTemplate
		template.ObjectAttributes.NoDA = proper
		rsp, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(template)}.Execute(raw)
		if err != nil {
			t.Fatal(err)
		}
		persist(t, raw, tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name})
		raw.Close()
		rec := testenv.RecordTPM(t, chip)
		p := provider(t, rec.Spec())
		key := mustCreate(t, p, bound(rightPIN))
		mustSign(t, key, rightPIN)
		mustMiss(t, key, 4)
		allSalted(t, rec)
		if derived := rec.Count(tpm2.TPMCCCreatePrimary) != 0; derived == proper {
			t.Errorf("root with noDA %v: another one was derived: %v", proper, derived)
		}
	}
}

// Somebody between program and chip who answers with a root of their own, under
// the true root's Name, gets no salt: the Name is computed.
func TestSwappedRootGetsNoSalt(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	raw := chip.Dial()
	occupyRootHandle(t, raw) // so that the root is derived each time
	theirs, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHNull, InPublic: tpm2.New2B(keyfile.ECCSRK_H2_Template)}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	flushAll(t, raw)
	raw.Close()
	owner := provider(t, chip.Spec())
	key := mustCreate(t, owner, bound(rightPIN))
	if err := owner.Close(); err != nil {
		t.Fatal(err)
	}
	rec := testenv.RecordTPM(t, chip)
	swap := tpm2.Marshal(theirs.OutPublic)
	rec.Tamper(func(x testenv.Exchange) []byte {
		at := bytes.Index(x.Response, swap[:8]) // size, type, hash: alike in both
		if x.Code != tpm2.TPMCCCreatePrimary || at < 0 {
			return x.Response
		}
		copy(x.Response[at:], swap)
		return x.Response
	})
	p := provider(t, rec.Spec())
	if _, err := p.Open(t.Context(), key.Reference()); !errors.Is(err, hsm.ErrForeignKey) {
		t.Errorf("Open with a swapped root: %v", err)
	}
	if n := rec.Count(tpm2.TPMCCStartAuthSession); n != 0 {
		t.Errorf("%d sessions were salted to it", n)
	}
}
