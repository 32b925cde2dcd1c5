package agent

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"countersign/agent/state"
	"countersign/ipc"
)

// keeping runs a freshener on a kit's profile, whose certificates last an hour, and
// returns the times at which it tried to renew, since the start.
type keeping struct {
	*kit
	tries  []time.Duration
	events []ipc.Event
	err    error
}

// keepFor has it work for a time of the bubble's.
func keepFor(t *testing.T, d time.Duration, begin func(*keeping)) *keeping {
	t.Helper()
	k := &keeping{kit: newKit(t)}
	start := time.Now()
	f := &freshener{profile: k.profile, renew: func(context.Context) error {
		k.tries = append(k.tries, time.Since(start))
		if k.err == nil {
			chain := selfSigned(t, k.device)
			return k.profile.update(func(s *state.Profile) { s.DeviceChain = chain })
		}
		return k.err
	}}
	sub := k.agent.events.subscribe(func(uint32) bool { return true }, testUID, false)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	go func() {
		for e := range sub.events {
			k.events = append(k.events, e)
		}
	}()
	begin(k)
	f.run(ctx)
	k.agent.events.unsubscribe(sub)
	synctest.Wait()
	return k
}

func minutes(list ...int) (out []time.Duration) {
	for _, m := range list {
		out = append(out, time.Duration(m)*time.Minute)
	}
	return out
}

// TestDeviceKeyIsRenewedWithAThirdLeft, and again with a third of the next left.
func TestDeviceKeyIsRenewedWithAThirdLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keepFor(t, 3*time.Hour, func(*keeping) {})
		if want := minutes(40, 80, 120, 160); !slices.Equal(k.tries, want) {
			t.Errorf("renewed after %v, want %v", k.tries, want)
		}
	})
}

// TestRenewalIsTriedLessAndLess while it fails: each try is a key made in vain.
func TestRenewalIsTriedLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keepFor(t, 24*time.Hour, func(k *keeping) { k.err = errors.New("no") })
		want := minutes(40, 42, 46, 54, 70, 102, 166, 294, 550, 910, 1270)
		if !slices.Equal(k.tries, want) {
			t.Errorf("tried after %v, want %v", k.tries, want)
		}
	})
}

// TestServersClockCounts: it says that a certificate is over which is not by ours.
// However often it does, tries keep their distance.
func TestServersClockCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keepFor(t, 35*time.Minute, func(k *keeping) {
			k.err = errors.New("no")
			go func() {
				for range 60 {
					time.Sleep(10 * time.Second) //nolint:forbidigo // the bubble's
					k.profile.refresh()
				}
			}()
		})
		if len(k.tries) == 0 || k.tries[0] != 10*time.Second || len(k.tries) > 5 {
			t.Errorf("tried after %v", k.tries)
		}
	})
}

// TestOwnerIsAskedOnceADay to renew the approval key.
func TestOwnerIsAskedOnceADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keepFor(t, 50*time.Hour, func(*keeping) {})
		if len(k.events) != 3 {
			t.Fatalf("%d events", len(k.events))
		}
		for _, e := range k.events {
			if e.Kind != ipc.EventProfile || e.Profile.RenewBy == nil || e.Profile.ID != k.id {
				t.Errorf("the session is told %+v", e)
			}
		}
	})
}

// TestTokenRenewsNothingAlone: its key takes a person.
func TestTokenRenewsNothingAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keepFor(t, 5*time.Hour, func(k *keeping) { k.profile.device().facts.Provider = kindPIV })
		if len(k.tries) != 0 {
			t.Errorf("tried after %v", k.tries)
		}
	})
}

// TestFleetDoesNotRenewAtOnce: chance spreads a tenth of what is left.
func TestFleetDoesNotRenewAtOnce(t *testing.T) {
	v := validity{time.Unix(0, 0), time.Unix(3000, 0)}
	for chance, want := range map[float64]int64{0: 2000, 0.5: 2050, 1: 2100} {
		if got := v.due(chance).Unix(); got != want {
			t.Errorf("with %v due at %d, want %d", chance, got, want)
		}
	}
}
