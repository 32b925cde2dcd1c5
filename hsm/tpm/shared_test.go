//go:build vm

package tpm_test

// These tests run in the virtual machine of scripts/test-vm, whose one TPM is
// behind the kernel's resource manager and has other users at work all the time.
// The chip outlives every test here, so each takes away what it has made; the
// machine compares the chip's whole contents before and after.

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/hsm"
	"countersign/hsm/hsmtest"
	"countersign/hsm/tpm"
	"countersign/internal/testenv"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
)

const (
	sharedPath = "/dev/tpmrm0"
	sharedSpec = "device:" + sharedPath
)

// tidy is a Provider whose keys end with the test that made them.
type tidy struct {
	*tpm.Provider
	t testing.TB
}

func shared(t testing.TB, options ...tpm.Option) tidy {
	t.Helper()
	patient := tpm.WithTimeout(tpm.DefaultTimeout) // with the others in an emulated machine
	return tidy{provider(t, sharedSpec, append(options, patient)...), t}
}

// Create implements hsm.Provider.
func (p tidy) Create(ctx context.Context, template hsm.Template) (hsm.Key, error) {
	key, err := p.Provider.Create(ctx, template)
	if err != nil {
		return nil, err
	}
	p.t.Cleanup(func() {
		if err := key.Delete(context.Background(), hsm.Auth{}); err != nil {
			p.t.Errorf("Delete: %v", err)
		}
	})
	return key, nil
}

func (p tidy) mustCreate(pinText string) hsm.Key {
	p.t.Helper()
	key, err := p.Create(p.t.Context(), bound(pinText))
	if err != nil {
		p.t.Fatal(err)
	}
	return key
}

// The suite, as far as one chip for all cases goes.
func TestSharedConformance(t *testing.T) {
	fixture := chips()
	fixture.OneChip, fixture.Attesting, fixture.Challenge = true, nil, nil
	fixture.Open = func(tb testing.TB) *hsmtest.Chip {
		tb.Helper()
		return &hsmtest.Chip{Provider: shared(tb)}
	}
	hsmtest.Run(t, fixture)
}

// Once over a connection that stays and once over one that is given up after
// each signature, so that the storage root comes back from a context saved by
// another client of the resource manager.
func TestSharedSignatures(t *testing.T) {
	for name, given := range map[string]bool{"OneConnection": false, "ManyConnections": true} {
		for with, pinText := range map[string]string{"WithoutPIN": "", "WithPIN": rightPIN} {
			t.Run(name+with, func(t *testing.T) { testSignatures(t, pinText, given) })
		}
	}
}

func testSignatures(t *testing.T, pinText string, givenUp bool) {
	idle := tpm.DefaultIdle
	if givenUp {
		idle = 50 * time.Millisecond
	}
	key := shared(t, tpm.WithIdle(idle)).mustCreate(pinText)
	took := make([]time.Duration, 200)
	for i := range took {
		start := time.Now()
		mustSign(t, key, pinText)
		took[i] = time.Since(start)
		if givenUp {
			testenv.Eventually(t, "the device is closed", func() bool { return !holdsDevice(t) })
		}
	}
	slices.Sort(took)
	t.Logf("200 signatures: median %v, longest %v", took[100], took[199])
}

// holdsDevice reports whether this process has the device open.
func holdsDevice(t *testing.T) bool {
	t.Helper()
	const mine = "/proc/self/fd"
	open, err := os.ReadDir(mine)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(open, func(fd os.DirEntry) bool {
		target, err := os.Readlink(filepath.Join(mine, fd.Name()))
		return err == nil && target == sharedPath
	})
}

func TestSharedWrongPINs(t *testing.T) {
	p := shared(t)
	key, other := p.mustCreate(rightPIN), p.mustCreate(rightPIN)
	for _, left := range []int{4, 3, 2} {
		mustMiss(t, key, left)
	}
	mustSign(t, key, rightPIN)
	for _, left := range []int{4, 3, 2, 1, 0} {
		mustMiss(t, key, left)
	}
	if _, err := key.Sign(t.Context(), digest(), auth(rightPIN)); !errors.Is(err, hsm.ErrPINLocked) {
		t.Errorf("the right PIN after five wrong ones: %v", err)
	}
	mustSign(t, other, rightPIN)
}

// A service that starts again opens its keys through a connection of its own.
func TestSharedKeysReopened(t *testing.T) {
	for _, pinText := range []string{"", rightPIN} {
		key := shared(t).mustCreate(pinText)
		again, err := shared(t).Open(t.Context(), key.Reference())
		if err != nil {
			t.Fatal(err)
		}
		mustSign(t, again, pinText)
		mustSign(t, key, pinText)
	}
}

// Several services at once, each behind a connection of its own.
func TestSharedByServices(t *testing.T) {
	references := map[string][]byte{}
	for _, pinText := range []string{"", rightPIN} {
		references[pinText] = shared(t).mustCreate(pinText).Reference()
	}
	var wg sync.WaitGroup
	for pinText, reference := range references {
		for range 3 {
			p := shared(t)
			wg.Go(func() {
				key, err := p.Open(t.Context(), reference)
				for range 20 {
					if err == nil {
						_, err = key.Sign(t.Context(), digest(), auth(pinText))
					}
				}
				if err != nil {
					t.Errorf("one of several services, PIN %q: %v", pinText, err)
				}
			})
		}
	}
	wg.Wait()
}

// Whoever holds as many objects and sessions as the chip has slots keeps them,
// and takes no room from us.
func TestSharedWithHoarder(t *testing.T) {
	hoarder := dialShared(t)
	keys := []tpm2.NamedHandle{storageRoot(t, hoarder)}
	for range 2 {
		keys = append(keys, createUnder(t, hoarder, keys[0], hoarded(), []byte("its password")))
	}
	sessions := make([]tpm2.Session, 3)
	for i := range sessions {
		session, done, err := tpm2.HMACSession(hoarder, tpm2.TPMAlgSHA256, 16, tpm2.Auth([]byte("its password")))
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		sessions[i] = session
	}
	p := shared(t)
	device, approval := p.mustCreate(""), p.mustCreate(rightPIN)
	for range 20 {
		mustSign(t, device, "")
		mustSign(t, approval, rightPIN)
		for i, session := range sessions {
			key := keys[1+i%2]
			if _, err := signRaw(hoarder, tpm2.AuthHandle{Handle: key.Handle, Name: key.Name, Auth: session}); err != nil {
				t.Fatalf("the hoarder's session %d after ours: %v", i, err)
			}
		}
	}
}

// hoarded is a key that a password opens.
func hoarded() tpm2.TPMTPublic {
	area := signingArea()
	area.ObjectAttributes.UserWithAuth, area.ObjectAttributes.AdminWithPolicy = true, false
	return area
}

func dialShared(t *testing.T) transport.TPM {
	t.Helper()
	raw, err := linuxtpm.Open(sharedPath)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	return raw
}

// Callers give up in the middle of commands that the kernel is still running. A
// key that could not be had leaves nothing, and a right PIN that was in flight
// costs no try.
func TestSharedGivingUp(t *testing.T) {
	p := shared(t)
	key := p.mustCreate(rightPIN)
	start := time.Now()
	p.mustCreate(rightPIN)
	usual := time.Since(start)
	given := map[string]int{}
	for name, call := range map[string]func(context.Context) error{
		"Create": func(ctx context.Context) error { _, err := p.Create(ctx, bound(rightPIN)); return err },
		"Sign":   func(ctx context.Context) error { _, err := key.Sign(ctx, digest(), auth(rightPIN)); return err },
	} {
		for range 40 {
			ctx, cancel := context.WithTimeout(t.Context(), rand.N(usual))
			err := call(ctx)
			cancel()
			if err == nil {
				continue
			}
			given[name]++
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s with too little time: %v", name, err)
			}
		}
	}
	t.Logf("given up: %v", given)
	mustMiss(t, key, 4)
	mustSign(t, key, rightPIN)
}

// Who is not in the device's group learns which group that is.
func TestStranger(t *testing.T) {
	_, err := provider(t, sharedSpec).Status(t.Context())
	if !errors.Is(err, hsm.ErrPermission) || !strings.Contains(err.Error(), "members of group tss may open it") {
		t.Errorf("somebody outside the group: %v", err)
	}
}
