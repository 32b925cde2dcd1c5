package agent

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"countersign/agent/upstream"
	"countersign/hsm"
	"countersign/ipc"
)

// crowdedChip remembers how many have asked it at once.
type crowdedChip struct {
	hsm.Provider
	now, most atomic.Int32
}

func (c *crowdedChip) Status(ctx context.Context) (hsm.Status, error) {
	if n := c.now.Add(1); n > c.most.Load() {
		c.most.Store(n)
	}
	defer c.now.Add(-1)
	_ = upstream.Sleep(ctx, time.Second)
	return c.Provider.Status(ctx)
}

// TestDoctorsLeaveTheChipToOthers: who examines the computer over and over asks the
// chip once at a time, whatever they hold open.
func TestDoctorsLeaveTheChipToOthers(t *testing.T) {
	k := newKit(t)
	synctest.Test(t, func(t *testing.T) {
		chip := &crowdedChip{Provider: k.chip}
		k.agent.chips = chips{chip}
		defer func() { k.agent.chips = chips{k.chip} }()
		var all sync.WaitGroup
		busy := atomic.Int32{}
		for i := range 30 {
			call := k.agent.getDoctor
			if i%2 == 0 {
				call = k.agent.getInventory
			}
			all.Go(func() {
				_, err := call(nil, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), scopeOf(testUID+1))
				if codeOf(err) == ipc.CodeBusy {
					busy.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := chip.most.Load(); n != 1 {
			t.Errorf("one user has the chip asked %d times at once", n)
		}
		if n := busy.Load(); n == 0 || n == 30 {
			t.Errorf("%d of 30 are told to wait", n)
		}
	})
}

// TestAllIsLookedAtOnceAtATime: all that is kept of the log is read for a caller, and
// that by many at once would take the service's memory; keys take the chip.
func TestAllIsLookedAtOnceAtATime(t *testing.T) {
	k := newKit(t)
	synctest.Test(t, func(t *testing.T) {
		give, err := k.agent.examine(t.Context(), scopeOf(testUID))
		if err != nil {
			t.Fatal(err)
		}
		defer give()
		for name, get := range map[string]func(http.ResponseWriter, *http.Request, ipc.Scope) (any, error){
			"records": k.agent.getLog, "verification": k.agent.getLogVerification, "keys": k.agent.getKeys,
		} {
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
			if _, err := get(httptest.NewRecorder(), r, scopeOf(testUID)); codeOf(err) != ipc.CodeBusy {
				t.Errorf("%s: a second call is answered with %v", name, err)
			}
			if _, err := get(httptest.NewRecorder(), r, scopeOf(testUID+1)); err != nil {
				t.Errorf("%s: another user: %v", name, err)
			}
		}
	})
}
