package tpm_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"countersign/hsm"
	"countersign/internal/testenv"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// These tests play somebody who has the reference, reaches the TPM as its owner
// and wants the PIN or a signature. They know how a PIN becomes an auth value.

// tryBound tests a guess without using the entity at all: a session bound to it
// derives its key from the auth value, so any command in the session succeeds
// exactly when the guess is right.
func tryBound(raw transport.TPM, entity tpm2.NamedHandle, auth []byte) error {
	_, err := tpm2.GetRandom{BytesRequested: 8}.Execute(raw, tpm2.HMAC(tpm2.TPMAlgSHA256, 16,
		tpm2.AESEncryption(128, tpm2.EncryptOut), tpm2.Bound(entity.Handle, entity.Name, auth)))
	return err
}

func TestBoundSessionTellsNothing(t *testing.T) {
	v := newVictim(t)
	raw := v.tpm.Dial()
	key, _ := v.load(t, raw)
	for _, pinText := range []string{rightPIN, wrongPIN} {
		if err := tryBound(raw, key, guess(pinText)); !errors.Is(err, tpm2.TPMRCBadAuth) {
			t.Errorf("session bound to the key, guess %s: %v", pinText, err)
		}
		if err := tryBound(raw, v.index, guess(pinText)); !errors.Is(err, tpm2.TPMRCHandle) {
			t.Errorf("session bound to the index, guess %s: %v", pinText, err)
		}
	}
	if err := tryBound(raw, key, nil); err != nil {
		t.Errorf("the key has an auth value somebody could guess: %v", err)
	}
}

// Why the approval key has no auth value made from the PIN: had it one, a bound
// session would tell right from wrong, as often as somebody likes, whatever the
// policy says. With dictionary-attack protection the guesses would count, but
// in the counter everybody shares.
func TestWhyTheKeyHasNoAuthValue(t *testing.T) {
	for _, noDA := range []bool{true, false} {
		raw := testenv.StartSWTPM(t).Dial()
		parent := storageRoot(t, raw)
		area := signingArea()
		area.ObjectAttributes.NoDA = noDA
		area.AuthPolicy.Buffer = bytes.Repeat([]byte{1}, 32) // one that nobody can satisfy
		key := createUnder(t, raw, parent, area, guess(rightPIN))
		for range 3 {
			if err := tryBound(raw, key, guess(wrongPIN)); err == nil {
				t.Fatal("a wrong guess passed")
			}
		}
		err := tryBound(raw, key, guess(rightPIN))
		if noDA && (err != nil || raw.LockoutCounter() != 0) {
			t.Errorf("without protection: right guess %v, counter %d; want an unlimited oracle", err, raw.LockoutCounter())
		}
		if !noDA && (err == nil || raw.LockoutCounter() == 0) {
			t.Errorf("with protection: right guess %v, counter %d; want the shared lockout", err, raw.LockoutCounter())
		}
	}
}

// An authorization by policy proves nothing about the auth value, and yet a
// response encrypted in the same session is encrypted with it: were the index
// readable by policy, its auth value could be guessed offline. So no read by
// policy, and none by anybody but the owner and who knows the PIN.
func TestIndexCannotBeReadByPolicy(t *testing.T) {
	v := newVictim(t)
	raw := v.tpm.Dial()
	rsp, err := tpm2.NVReadPublic{NVIndex: v.index.Handle}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	public, err := rsp.NVPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}
	want := tpm2.TPMANV{
		NT: tpm2.TPMNTPinFail, PolicyWrite: true, AuthRead: true, OwnerRead: true, NoDA: true, Written: true,
	}
	if public.Attributes != want {
		t.Errorf("attributes of the index: %+v, want %+v", public.Attributes, want)
	}
	policy := tpm2.Policy(tpm2.TPMAlgSHA256, 16, noPolicy, tpm2.AESEncryption(128, tpm2.EncryptOut))
	if err := readIndex(raw, v.index, tpm2.AuthHandle{Handle: v.index.Handle, Name: v.index.Name, Auth: policy}); err == nil {
		t.Error("the index was read by policy")
	}
}

// Why the index is not readable by policy: the response of such a read is
// encrypted with the auth value, which can then be guessed offline, uncounted.
func TestWhyTheIndexIsNotReadByPolicy(t *testing.T) {
	raw := testenv.StartSWTPM(t).Dial()
	calc, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		t.Fatal(err)
	}
	if err := (tpm2.PolicyCommandCode{Code: tpm2.TPMCCNVRead}).Update(calc); err != nil {
		t.Fatal(err)
	}
	public := tpm2.TPMSNVPublic{
		NVIndex: 0x01800001, NameAlg: tpm2.TPMAlgSHA256, DataSize: 8,
		Attributes: tpm2.TPMANV{NT: tpm2.TPMNTPinFail, OwnerWrite: true, AuthRead: true, PolicyRead: true, NoDA: true},
		AuthPolicy: tpm2.TPM2BDigest{Buffer: calc.Hash().Digest},
	}
	if err := define(raw, public, guess(rightPIN)); err != nil {
		t.Fatal(err)
	}
	index := writeByOwner(t, raw, public)
	for pinText, want := range map[string]bool{rightPIN: true, wrongPIN: false} {
		session := &unprovenSession{tpm2.Policy(tpm2.TPMAlgSHA256, 16, allowNVRead,
			tpm2.AESEncryption(128, tpm2.EncryptOut), tpm2.Auth(guess(pinText)))}
		rsp, err := tpm2.NVRead{
			AuthHandle: tpm2.AuthHandle{Handle: index.Handle, Name: index.Name, Auth: session}, NVIndex: index, Size: 8,
		}.Execute(raw)
		if err != nil {
			t.Fatal(err)
		}
		got := bytes.Equal(rsp.Data.Buffer, binary.BigEndian.AppendUint64(nil, 5))
		if got != want {
			t.Errorf("guess %s decrypts the index: %v, want %v", pinText, got, want)
		}
	}
}

func allowNVRead(tp transport.TPM, session tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
	_, err := tpm2.PolicyCommandCode{PolicySession: session, Code: tpm2.TPMCCNVRead}.Execute(tp)
	return err
}

// unprovenSession sends no proof, as its policy asks for none, and decrypts
// with a guess.
type unprovenSession struct{ tpm2.Session }

func (s *unprovenSession) Authorize(cc tpm2.TPMCC, parms, nonces []byte, names []tpm2.TPM2BName, i int) (*tpm2.TPMSAuthCommand, error) {
	auth, err := s.Session.Authorize(cc, parms, nonces, names, i)
	if err == nil {
		auth.Authorization.Buffer = nil
	}
	return auth, err
}

// Validate takes the TPM's nonce over; what else it complains of is the guess.
func (s *unprovenSession) Validate(rc tpm2.TPMRC, cc tpm2.TPMCC, parms []byte, names []tpm2.TPM2BName, i int, auth *tpm2.TPMSAuthResponse) error {
	_ = s.Session.Validate(rc, cc, parms, names, i, auth)
	return nil
}

func noPolicy(transport.TPM, tpm2.TPMISHPolicy, tpm2.TPM2BNonce) error { return nil }

// Every way to offer a PIN to the index is counted.
func TestEveryGuessAtTheIndexCounts(t *testing.T) {
	v := newVictim(t)
	raw := v.tpm.Dial()
	for name, auth := range map[string]tpm2.Session{
		"password": tpm2.PasswordAuth(guess(wrongPIN)),
		"session":  tpm2.HMAC(tpm2.TPMAlgSHA256, 16, tpm2.Auth(guess(wrongPIN))),
	} {
		by := tpm2.AuthHandle{Handle: v.index.Handle, Name: v.index.Name, Auth: auth}
		if err := readIndex(raw, v.index, by); !errors.Is(err, tpm2.TPMRCBadAuth) {
			t.Errorf("read with a wrong %s: %v", name, err)
		}
	}
	if got := raw.LockoutCounter(); got != 0 {
		t.Errorf("the shared counter moved to %d", got)
	}
	raw.Close()
	var pe *hsm.PINError
	if err := v.sign(t, wrongPIN); !errors.As(err, &pe) || pe.TriesLeft != 2 {
		t.Errorf("after two guesses and one more: %v, want 2 tries left", err)
	}
}

// Why the key takes no part in dictionary-attack protection: with it, each power
// cut after a use counts as a wrong guess of everybody's.
func TestWhyTheKeyIsExemptFromLockout(t *testing.T) {
	for _, noDA := range []bool{true, false} {
		chip := testenv.StartSWTPM(t)
		raw := chip.Dial()
		area := signingArea()
		area.ObjectAttributes.NoDA, area.ObjectAttributes.UserWithAuth = noDA, true
		key := createUnder(t, raw, storageRoot(t, raw), area, guess(rightPIN))
		auth := tpm2.AuthHandle{Handle: key.Handle, Name: key.Name, Auth: tpm2.PasswordAuth(guess(rightPIN))}
		if _, err := signRaw(raw, auth); err != nil {
			t.Fatal(err)
		}
		raw.Close()
		chip.Restart()
		if counted := chip.Dial().LockoutCounter() != 0; counted == noDA {
			t.Errorf("noDA %v: a power cut counted: %v", noDA, counted)
		}
	}
}

// Administration of the key would take its auth value where adminWithPolicy is
// clear; here it refuses every guess alike and the index sees none of them.
func TestAdministrationTellsNothing(t *testing.T) {
	v := newVictim(t)
	raw := v.tpm.Dial()
	for _, pinText := range []string{rightPIN, wrongPIN, ""} {
		key, parent := v.load(t, raw)
		auth := tpm2.AuthHandle{Handle: key.Handle, Name: key.Name, Auth: tpm2.PasswordAuth(guess(pinText))}
		if pinText == "" {
			auth.Auth = tpm2.PasswordAuth(nil)
		}
		_, err := tpm2.Certify{
			ObjectHandle: auth, SignHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHNull, Auth: tpm2.PasswordAuth(nil)},
			InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		}.Execute(raw)
		if !errors.Is(err, tpm2.TPMRCAuthType) {
			t.Errorf("Certify with %q: %v", pinText, err)
		}
		_, err = tpm2.ObjectChangeAuth{ObjectHandle: auth, ParentHandle: parent}.Execute(raw)
		if !errors.Is(err, tpm2.TPMRCAuthType) {
			t.Errorf("ObjectChangeAuth with %q: %v", pinText, err)
		}
		_, err = signRaw(raw, auth)
		if !errors.Is(err, tpm2.TPMRCAuthUnavailable) {
			t.Errorf("Sign with %q: %v", pinText, err)
		}
		flushAll(t, raw)
	}
	raw.Close()
	var pe *hsm.PINError
	if err := v.sign(t, wrongPIN); !errors.As(err, &pe) || pe.TriesLeft != 4 {
		t.Errorf("after guesses at the key: %v, want all tries but this one", err)
	}
}

// The owner may remove the index and define one with the same public area and a
// PIN of their own. It does not open the key: it is unwritten and stays so.
func TestRedefinedIndexDoesNotOpen(t *testing.T) {
	v := newVictim(t)
	raw := v.tpm.Dial()
	old := undefine(t, raw, v.index)
	public, err := old.Contents()
	if err != nil {
		t.Fatal(err)
	}
	public.Attributes.Written = false
	if err := define(raw, *public, guess(wrongPIN)); err != nil {
		t.Fatal(err)
	}
	name, err := tpm2.NVName(public)
	if err != nil {
		t.Fatal(err)
	}
	fake := tpm2.NamedHandle{Handle: v.index.Handle, Name: *name}
	if err := writeIndex(raw, fake, tpm2.PasswordAuth(guess(wrongPIN))); err == nil {
		t.Error("the new index was written with its PIN")
	}
	if err := writeIndex(raw, fake, tpm2.Policy(tpm2.TPMAlgSHA256, 16, noPolicy)); err == nil {
		t.Error("the new index was written without the authority")
	}
	raw.Close()
	for _, pinText := range []string{rightPIN, wrongPIN} {
		if err := v.sign(t, pinText); !errors.Is(err, hsm.ErrForeignKey) {
			t.Errorf("sign with %s behind a new index: %v", pinText, err)
		}
	}
}

// An index that the attacker can write opens nothing either: the key's policy
// asks for another Name.
func TestForgedIndexDoesNotOpen(t *testing.T) {
	v := newVictim(t)
	raw := v.tpm.Dial()
	old := undefine(t, raw, v.index)
	public, err := old.Contents()
	if err != nil {
		t.Fatal(err)
	}
	public.Attributes.Written, public.Attributes.OwnerWrite = false, true
	if err := define(raw, *public, guess(wrongPIN)); err != nil {
		t.Fatal(err)
	}
	forged := writeByOwner(t, raw, *public)
	key, _ := v.load(t, raw)
	prove := func(tp transport.TPM, session tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
		_, err := tpm2.PolicySecret{
			AuthHandle: tpm2.AuthHandle{
				Handle: forged.Handle, Name: forged.Name,
				Auth: tpm2.HMAC(tpm2.TPMAlgSHA256, 16, tpm2.Auth(guess(wrongPIN))),
			},
			PolicySession: session,
		}.Execute(tp)
		return err
	}
	_, err = signRaw(raw, tpm2.AuthHandle{
		Handle: key.Handle, Name: key.Name, Auth: tpm2.Policy(tpm2.TPMAlgSHA256, 16, prove),
	})
	if !errors.Is(err, tpm2.TPMRCPolicyFail) {
		t.Errorf("sign by way of a forged index: %v, want %v", err, tpm2.TPMRCPolicyFail)
	}
}

// Nobody can set the count back: not the owner, not with the PIN.
func TestCountCannotBeReset(t *testing.T) {
	v := newVictim(t)
	raw := v.tpm.Dial()
	owner := tpm2.NVWrite{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}, NVIndex: v.index,
		Data: tpm2.TPM2BMaxNVBuffer{Buffer: make([]byte, 8)},
	}
	if _, err := owner.Execute(raw); err == nil {
		t.Error("the owner wrote the index")
	}
	if err := writeIndex(raw, v.index, tpm2.PasswordAuth(guess(rightPIN))); err == nil {
		t.Error("the PIN wrote the index")
	}
}

func TestBlobCannotBeDuplicated(t *testing.T) {
	v := newVictim(t)
	raw := v.tpm.Dial()
	key, _ := v.load(t, raw)
	_, err := tpm2.Duplicate{
		ObjectHandle: tpm2.AuthHandle{Handle: key.Handle, Name: key.Name, Auth: tpm2.Policy(tpm2.TPMAlgSHA256, 16,
			func(tp transport.TPM, session tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
				_, err := tpm2.PolicyCommandCode{PolicySession: session, Code: tpm2.TPMCCDuplicate}.Execute(tp)
				return err
			})},
		NewParentHandle: tpm2.TPMRHNull,
		Symmetric:       tpm2.TPMTSymDef{Algorithm: tpm2.TPMAlgNull},
	}.Execute(raw)
	if err == nil {
		t.Error("the key was duplicated")
	}
}
