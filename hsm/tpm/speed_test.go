package tpm_test

import (
	"slices"
	"testing"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/internal/testenv"

	"github.com/google/go-tpm/tpm2"
)

// What a warm signature costs a chip: without PIN the signature and nothing
// else, with one a look at the index and the proof besides, and no arithmetic on
// curves but the signature's own.
func TestCommandsPerSignature(t *testing.T) {
	rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
	p := provider(t, rec.Spec())
	for pinText, want := range map[string][]tpm2.TPMCC{
		"":       {tpm2.TPMCCSign},
		rightPIN: {tpm2.TPMCCNVReadPublic, tpm2.TPMCCPolicySecret, tpm2.TPMCCSign},
	} {
		key := mustCreate(t, p, bound(pinText))
		mustSign(t, key, pinText)
		before := len(rec.Log())
		mustSign(t, key, pinText)
		log := rec.Log()[before:]
		if got := codes(log); !slices.Equal(got, want) {
			t.Errorf("a signature with PIN %q took the commands %v, want %v", pinText, got, want)
		}
		if got := sum(log).ecOperations; got != 1 {
			t.Errorf("a signature with PIN %q took %d operations on the curve, want 1", pinText, got)
		}
	}
}

func codes(log []testenv.Exchange) []tpm2.TPMCC {
	var all []tpm2.TPMCC
	for _, x := range log {
		all = append(all, x.Code)
	}
	return all
}

func mustCreate(t *testing.T, p hsm.Provider, template hsm.Template) hsm.Key {
	t.Helper()
	key, err := p.Create(t.Context(), template)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// After a while without work the connection is new, and the key comes back from
// the chip's own copy: nothing is derived, nothing loaded from the blob.
func TestIdleKeyComesBackFromItsContext(t *testing.T) {
	rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
	p := provider(t, rec.Spec())
	for _, pinText := range []string{"", rightPIN} {
		key := mustCreate(t, p, bound(pinText))
		mustSign(t, key, pinText)
		if err := tpm.HangUp(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		before := len(rec.Log())
		mustSign(t, key, pinText)
		log := codes(rec.Log()[before:])
		if !slices.Contains(log, tpm2.TPMCCContextLoad) {
			t.Errorf("PIN %q: no context was loaded: %v", pinText, log)
		}
		for _, code := range []tpm2.TPMCC{tpm2.TPMCCLoad, tpm2.TPMCCCreatePrimary, tpm2.TPMCCContextSave} {
			if slices.Contains(log, code) {
				t.Errorf("PIN %q: command %v after an idle time", pinText, code)
			}
		}
	}
}

// A chip with room for three objects and three sessions, of which other
// programs take one each, is enough for keys used in turns, and nothing foreign
// is flushed. So it is where the storage root takes one too.
func TestThreeSlotsAreEnough(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T, *testenv.RawTPM){
		"settled root": func(*testing.T, *testenv.RawTPM) {},
		"derived root": func(t *testing.T, raw *testenv.RawTPM) { occupyRootHandle(t, raw) },
	} {
		t.Run(name, func(t *testing.T) {
			chip := testenv.StartSWTPM(t)
			raw := chip.Dial()
			prepare(t, raw)
			foreign := []tpm2.TPMHandle{storageRoot(t, raw).Handle}
			session, _, err := tpm2.HMACSession(raw, tpm2.TPMAlgSHA256, 16)
			if err != nil {
				t.Fatal(err)
			}
			foreign = append(foreign, session.Handle())
			raw.Close()
			rec := testenv.RecordTPM(t, chip)
			useInTurns(t, provider(t, "device:"+testenv.TPMDevice(t, rec.Spec())))
			objects, sessions := mostLoaded(rec.Log())
			if objects > 2 || sessions > 2 {
				t.Errorf("held %d objects and %d sessions at a time, want at most 2 of each", objects, sessions)
			}
			for _, x := range rec.Log() {
				if x.Code == tpm2.TPMCCFlushContext && slices.Contains(foreign, x.Handles[0]) {
					t.Errorf("flushed somebody else's %x", x.Handles[0])
				}
			}
		})
	}
}

func useInTurns(t *testing.T, p *tpm.Provider) {
	t.Helper()
	device, approval := mustCreate(t, p, bound("")), mustCreate(t, p, bound(rightPIN))
	other := mustCreate(t, p, bound("another person's PIN"))
	for range 3 {
		mustSign(t, device, "")
		mustSign(t, approval, rightPIN)
		mustSign(t, other, "another person's PIN")
		mustMiss(t, approval, 4)
		if err := mustCreate(t, p, bound(rightPIN)).Delete(t.Context(), hsm.Auth{}); err != nil {
			t.Fatal(err)
		}
	}
}

// mostLoaded counts what a program had in the TPM of its own at the most.
func mostLoaded(log []testenv.Exchange) (objects, sessions int) {
	loaded := map[tpm2.TPMHandle]bool{}
	for _, x := range log {
		if x.RC != tpm2.TPMRCSuccess {
			continue
		}
		switch x.Code {
		case tpm2.TPMCCLoad, tpm2.TPMCCLoadExternal, tpm2.TPMCCCreatePrimary, tpm2.TPMCCContextLoad, tpm2.TPMCCStartAuthSession:
			loaded[x.ResponseHandle()] = true
		case tpm2.TPMCCFlushContext:
			delete(loaded, x.Handles[0])
		}
		for _, h := range x.EndedSessions() {
			delete(loaded, h)
		}
		o, s := 0, 0
		for h := range loaded {
			if h>>24 == 0x80 {
				o++
			} else {
				s++
			}
		}
		objects, sessions = max(objects, o), max(sessions, s)
	}
	return objects, sessions
}
