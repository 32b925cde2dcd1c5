package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/ipc"
	"countersign/protocol"
)

// shelf is a pending list with a clock of its own.
type shelf struct {
	*pending
	clock  atomic.Int64
	mu     sync.Mutex
	events []ipc.Event
}

func newShelf() *shelf {
	s := new(shelf)
	s.pending = newPending(func() time.Duration { return time.Duration(s.clock.Load()) }, func(_ uint32, e ipc.Event) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.events = append(s.events, e)
	})
	return s
}

func (s *shelf) pass(d time.Duration) { s.clock.Add(int64(d)) }

// put adds a request of a relying party of its own.
func (s *shelf) put(id string, life time.Duration) bool { return s.putOf("p", id, id, life) == added }

func (s *shelf) putOf(profile, client, id string, life time.Duration) admission {
	return s.add(&item{
		profile: profile, uid: testUID, req: &protocol.Request{ID: id, Client: protocol.Client{ID: client}}, received: time.Now(),
		deadline: time.Duration(s.clock.Load()) + life,
	})
}

func (s *shelf) statusOf(id string) string {
	sum, _, _ := s.get("p", id)
	return sum.Status
}

func (s *shelf) last() ipc.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events[len(s.events)-1]
}

func (s *shelf) mustClaim(t *testing.T, id string) (*item, uint64) {
	t.Helper()
	it, claim, err := s.claim(scopeOf(testUID), id)
	if err != nil {
		t.Fatal(err)
	}
	return it, claim
}

func TestPendingIsBoundedAndKnowsWhatItHas(t *testing.T) {
	s := newShelf()
	for i := range maxOfProfile {
		if !s.put(fmt.Sprint(i), time.Minute) {
			t.Fatalf("request %d was not taken", i)
		}
		if s.put(fmt.Sprint(i), time.Hour) {
			t.Fatalf("request %d was taken twice", i)
		}
	}
	if s.put("more", time.Minute) {
		t.Error("the list is not bounded")
	}
	if s.pass(time.Minute); s.waiting(func(uint32) bool { return true }) != 0 {
		t.Error("a request given again lives longer")
	}
	for i := range maxOfProfile {
		s.end("p", fmt.Sprint(i), protocol.StateExpired)
	}
	for i := range maxHistory + 20 {
		if id := fmt.Sprint("later ", i); !s.put(id, time.Minute) {
			t.Fatal("no room")
		} else {
			s.end("p", id, protocol.StateCancelled)
		}
	}
	if n := len(s.list(scopeOf(testUID), true)); n > maxHistory+1 {
		t.Errorf("%d requests are remembered", n)
	}
}

// TestNobodyBuriesTheOthers: a relying party, a server and all servers together
// have their bounds.
func TestNobodyBuriesTheOthers(t *testing.T) {
	s := newShelf()
	for i := range maxOfClient {
		if s.putOf("p", "loud", fmt.Sprint("loud ", i), time.Minute) != added {
			t.Fatalf("request %d was not taken", i)
		}
	}
	if s.putOf("p", "loud", "more", time.Minute) != crowded {
		t.Error("a relying party has no bound")
	}
	if s.putOf("p", "loud", "loud 0", time.Minute) != known {
		t.Error("one that is there already is not known")
	}
	if s.putOf("p", "quiet", "a", time.Minute) != added || s.putOf("q", "loud", "b", time.Minute) != added {
		t.Error("others have no room")
	}
	for i := range maxOfUser {
		s.putOf(fmt.Sprint("p", i/maxOfProfile), fmt.Sprint("c", i), fmt.Sprint("r", i), time.Minute)
	}
	if n := s.waiting(func(uint32) bool { return true }); n != maxOfUser {
		t.Errorf("%d wait", n)
	}
	s.drop("p", "loud")
	if got := s.statusOf("loud 0"); got != "cancelled" || s.statusOf("a") != statusPending {
		t.Errorf("dropped: %s, and the other is %s", got, s.statusOf("a"))
	}
}

// TestTheWallClockOrdersNothing sets it back by a day between two requests, and
// forward before a third.
func TestTheWallClockOrdersNothing(t *testing.T) {
	s := newShelf()
	s.restore("p", testUID, &protocol.Request{ID: "later"}, state.Entry{State: state.Queued, ReceivedAt: time.Unix(2000, 0)})
	s.restore("q", testUID, &protocol.Request{ID: "earlier"}, state.Entry{State: state.Queued, ReceivedAt: time.Unix(1000, 0)})
	for i, at := range []int64{200000, 100000, 300000} {
		id := string(rune('a' + i))
		s.add(&item{profile: "p", uid: testUID, received: time.Unix(at, 0), deadline: time.Minute, req: &protocol.Request{ID: id}})
	}
	var got []string
	for _, r := range s.list(scopeOf(testUID), true) {
		got = append(got, r.ID)
	}
	if want := []string{"earlier", "later", "a", "b", "c"}; !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
}

// TestOnlyWhatWasPromptedForIsIgnored: a request that came in silence and ends
// in it was no strike; one that was announced again afterwards is.
func TestOnlyWhatWasPromptedForIsIgnored(t *testing.T) {
	s := newShelf()
	var quiet string
	var ignored int
	s.quiet, s.ignored = func(uint32) string { return quiet }, func(uint32) { ignored++ }
	quiet = ipc.QuietMuted
	for _, id := range []string{"a", "b"} {
		s.put(id, time.Minute)
	}
	if e := s.last(); e.Request.Quiet != ipc.QuietMuted {
		t.Errorf("told %+v", e.Request)
	}
	s.end("p", "a", protocol.StateExpired)
	if ignored != 0 {
		t.Error("a request in silence was a strike")
	}
	quiet = ""
	s.announceAll(testUID)
	if e := s.last(); e.Kind != ipc.EventPending || e.Request.Quiet != "" {
		t.Errorf("told %+v", e)
	}
	s.end("p", "b", protocol.StateCancelled)
	if ignored != 1 {
		t.Errorf("%d strikes", ignored)
	}
}

// TestPendingExpiresByItsOwnClock: the wall clock, which synctest moves, ends
// nothing; the boot clock does, whether or not anybody has noticed yet.
func TestPendingExpiresByItsOwnClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		ctx, cancel := context.WithCancel(t.Context())
		go s.expire(ctx)
		s.put("a", time.Minute)
		_ = upstream.Sleep(t.Context(), time.Hour)
		if got := s.statusOf("a"); got != statusPending {
			t.Errorf("after an hour of wall clock it is %s", got)
		}
		s.pass(time.Minute)
		if got := s.statusOf("a"); got != "expired" {
			t.Errorf("past its deadline it is shown as %s", got)
		}
		if list := s.list(scopeOf(testUID), false); len(list) != 0 {
			t.Errorf("past its deadline it is listed: %v", list)
		}
		if _, _, err := s.claim(scopeOf(testUID), "a"); codeOf(err) != ipc.CodeNotDecidable {
			t.Errorf("past its deadline: %v", err)
		}
		_ = upstream.Sleep(t.Context(), time.Minute) // until expire looks again
		synctest.Wait()
		if e := s.last(); e.Kind != ipc.EventClosed || e.Request.Status != "expired" || e.Pending != 0 {
			t.Errorf("told: %+v", e)
		}
		cancel()
	})
}

func TestClaimIsExclusive(t *testing.T) {
	s := newShelf()
	s.put("a", time.Minute)
	var won atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, _, err := s.claim(scopeOf(testUID), "a"); err == nil {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d claims at once", won.Load())
	}
	for _, uid := range []uint32{0, testUID + 1} {
		if _, _, err := s.claim(scopeOf(uid), "a"); codeOf(err) != ipc.CodeNotFound {
			t.Errorf("uid %d: %v", uid, err)
		}
	}
}

// TestEndedWhileClaimed: a request that the server ends while somebody types
// is over when that comes to nothing, and is not signed.
func TestEndedWhileClaimed(t *testing.T) {
	s := newShelf()
	s.put("a", time.Minute)
	it, claim := s.mustClaim(t, "a")
	if err := s.still(it); err != nil {
		t.Error(err)
	}
	s.end("p", "a", protocol.StateCancelled)
	if got := s.statusOf("a"); got != statusPending {
		t.Errorf("while claimed it is %s", got)
	}
	if err := s.still(it); codeOf(err) != ipc.CodeNotDecidable {
		t.Errorf("it would be signed: %v", err)
	}
	s.settle(it, claim, statusPending)
	if got := s.statusOf("a"); got != "cancelled" {
		t.Errorf("afterwards it is %s", got)
	}
	if e := s.last(); e.Kind != ipc.EventClosed {
		t.Errorf("told: %+v", e)
	}
}

// TestExpiredWhileClaimed: a claim extends nothing.
func TestExpiredWhileClaimed(t *testing.T) {
	s := newShelf()
	s.put("a", time.Minute)
	it, claim := s.mustClaim(t, "a")
	s.pass(time.Minute)
	if err := s.still(it); codeOf(err) != ipc.CodeNotDecidable {
		t.Errorf("it would be signed: %v", err)
	}
	s.settle(it, claim, statusPending)
	if got := s.statusOf("a"); got != "expired" {
		t.Errorf("afterwards it is %s", got)
	}
}

// TestAnswerFasterThanSettle: the server's answer may come before the caller
// that decided has settled its claim, and the next claim is not the first's to
// settle.
func TestAnswerFasterThanSettle(t *testing.T) {
	s := newShelf()
	s.put("a", time.Minute)
	first, one := s.mustClaim(t, "a")
	s.resolve("p", "a", statusPending) // a wrong number: pending again
	second, two := s.mustClaim(t, "a")
	s.settle(first, one, statusUnconfirmed)
	if _, _, err := s.claim(scopeOf(testUID), "a"); err == nil {
		t.Error("two claims at once")
	}
	s.settle(second, two, statusPending)
	if got := s.statusOf("a"); got != statusPending {
		t.Errorf("it is %s, and nobody can decide any more", got)
	}
	third, three := s.mustClaim(t, "a")
	s.resolve("p", "a", "approved")
	s.settle(third, three, statusUnconfirmed)
	if got := s.statusOf("a"); got != "approved" {
		t.Errorf("the answer is lost: %s", got)
	}
}

// TestRestoreLeavesOpenWhatIsOpen: what the server refused without ending it
// is listed again after a restart, and can be decided.
func TestRestoreLeavesOpenWhatIsOpen(t *testing.T) {
	for _, c := range []struct {
		e    state.Entry
		want string
	}{
		{state.Entry{State: state.Queued}, statusUnconfirmed},
		{state.Entry{State: state.Delivered, Status: "approved"}, "approved"},
		{state.Entry{State: state.Refused, Code: protocol.ProblemWrongNumber, Status: "failed"}, "failed"},
		{state.Entry{State: state.Refused, Code: protocol.ProblemAlreadyDecided, Status: "denied"}, "denied"},
		{state.Entry{State: state.Refused, Code: protocol.ProblemWrongNumber, Status: "pending"}, statusPending},
		{state.Entry{State: state.Refused, Code: protocol.ProblemRoleForbidden, Status: "pending"}, statusPending},
	} {
		s := newShelf()
		s.pass(time.Hour)
		s.restore("p", testUID, &protocol.Request{ID: "a"}, c.e)
		s.put("a", time.Minute) // listed again
		if got := s.statusOf("a"); got != c.want {
			t.Errorf("%s %s: it is %s, want %s", c.e.State, c.e.Code, got, c.want)
		}
		if _, _, err := s.claim(scopeOf(testUID), "a"); (err == nil) != (c.want == statusPending) {
			t.Errorf("%s %s: %v", c.e.State, c.e.Code, err)
		}
	}
}

// TestRefusedAfterARestart: the refusal of what was decided in an earlier run
// comes before the list of the server or after it, and the person decides anew.
func TestRefusedAfterARestart(t *testing.T) {
	for _, listedFirst := range []bool{true, false} {
		s := newShelf()
		s.pass(time.Hour)
		s.restore("p", testUID, &protocol.Request{ID: "a"}, state.Entry{State: state.Queued})
		if listedFirst {
			s.put("a", time.Minute)
		}
		s.resolve("p", "a", statusPending)
		if !listedFirst {
			s.put("a", time.Minute)
		}
		if _, _, err := s.claim(scopeOf(testUID), "a"); err != nil {
			t.Errorf("listed first %t: %v", listedFirst, err)
		}
		s.pass(time.Minute)
		if got := s.statusOf("a"); got != "expired" {
			t.Errorf("listed first %t: when its time is over it is %s", listedFirst, got)
		}
	}
}

func TestPendingEventsCount(t *testing.T) {
	s := newShelf()
	s.put("a", time.Minute)
	s.put("b", time.Minute)
	if e := s.last(); e.Kind != ipc.EventPending || e.Request.ID != "b" || e.Pending != 2 {
		t.Errorf("told: %+v", e)
	}
	s.end("p", "a", protocol.StateApproved)
	s.end("p", "a", protocol.StateCancelled)
	if e := s.last(); e.Kind != ipc.EventClosed || e.Request.Status != "approved" || e.Pending != 1 || len(s.events) != 3 {
		t.Errorf("told: %+v", s.events)
	}
	if gone := s.missing("p", map[string]bool{}); len(gone) != 1 || gone[0] != "b" {
		t.Errorf("missing: %v", gone)
	}
}

// TestWhoTypesACodeIsPrompted: in silence too, and not for a link, which anybody
// can have opened.
func TestWhoTypesACodeIsPrompted(t *testing.T) {
	s := newShelf()
	s.quiet = func(uint32) string { return ipc.QuietTooMany }
	for origin, want := range map[string]string{
		"": ipc.QuietTooMany, protocol.OriginLink: ipc.QuietTooMany, protocol.OriginTyped: "", protocol.OriginImage: "", protocol.OriginScreen: "",
	} {
		id := "by " + origin
		s.add(&item{profile: "p", uid: testUID, req: &protocol.Request{ID: id, Origin: origin, Client: protocol.Client{ID: id}}, received: time.Now(), deadline: time.Hour})
		if sum, _, _ := s.get("p", id); sum.Quiet != want {
			t.Errorf("%q: quiet %q", origin, sum.Quiet)
		}
	}
}

// TestClearedIsNotIgnored: the end of an enrollment is no strike, and what a
// suspension took away comes again.
func TestClearedIsNotIgnored(t *testing.T) {
	s := newShelf()
	ignored := 0
	s.ignored = func(uint32) { ignored++ }
	for _, id := range []string{"a", "b"} {
		s.put(id, time.Minute)
	}
	it, _ := s.mustClaim(t, "b")
	s.clear("p", true)
	if got := s.statusOf("a"); got != "" || it.ended != protocol.StateCancelled || ignored != 0 {
		t.Errorf("cleared: %q, the one being decided %q, %d strikes", got, it.ended, ignored)
	}
	if !s.put("a", time.Minute) {
		t.Error("it does not come again")
	}
	if s.clear("p", false); s.statusOf("a") != "cancelled" || ignored != 0 {
		t.Errorf("over: %q, %d strikes", s.statusOf("a"), ignored)
	}
}
