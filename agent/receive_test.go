package agent

import (
	"math"
	"strings"
	"testing"
	"time"

	"countersign/protocol"
)

// TestRefusedRequests lists what must not be shown, over and over, among a
// good one: each is logged once, and the good one arrives.
func TestRefusedRequests(t *testing.T) {
	k := newKit(t)
	good := k.sign(k.request("good", protocol.C1))
	change := func(f func(*protocol.Request)) string {
		r := k.request("bad", protocol.C1)
		f(r)
		return k.sign(r)
	}
	parts := strings.Split(k.sign(k.request("bad", protocol.C1)), ".")
	stranger, err := protocol.SignRequest(newECDSA(t), k.request("bad", protocol.C1))
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string]string{
		"unsigned":         parts[0] + "." + parts[1] + ".",
		"altered payload":  parts[0] + "." + strings.Replace(parts[1], "a", "b", 1) + "." + parts[2],
		"cut off":          parts[0] + "." + parts[1],
		"stranger's":       stranger,
		"another issuer":   change(func(r *protocol.Request) { r.Issuer = "https://other.example" }),
		"another device":   change(func(r *protocol.Request) { r.Audience = "d_other000" }),
		"another profile":  change(func(r *protocol.Request) { r.Subject = "p_other000" }),
		"a receipt":        k.receipt(entryFor("bad", "x"), nil),
		"oversized":        strings.Repeat("x", 70<<10),
		"empty":            "",
		"escape sequences": "\x1b[2J",
	}
	list := []string{good}
	for _, compact := range bad {
		list = append(list, compact)
	}
	for range 3 {
		k.list(1000, list...)
	}
	if k.status("good") != statusPending || k.status("bad") != "" {
		t.Errorf("good is %q, bad is %q", k.status("good"), k.status("bad"))
	}
	for name, compact := range bad {
		if n := strings.Count(k.log.String(), protocol.Hash([]byte(compact))); n != 1 {
			t.Errorf("%s: logged %d times", name, n)
		}
	}
	if strings.Contains(k.log.String(), "\x1b") {
		t.Error("what was received is in the log")
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	k := newKit(t)
	for i := range 4 * maxRefused {
		k.list(1000, strings.Repeat("x", i+1))
	}
	if len(k.profile.refused) > maxRefused {
		t.Errorf("%d refusals are remembered", len(k.profile.refused))
	}
}

// TestLifetime: however the server's clock lies, a request lives no longer than
// exp − iat from when the poll was sent.
func TestLifetime(t *testing.T) {
	for _, c := range []struct {
		name     string
		now      int64
		exp      int64
		want     time.Duration
		accepted bool
	}{
		{"fresh", 1000, 1300, 300 * time.Second, true},
		{"a while ago", 1200, 1300, 100 * time.Second, true},
		{"just before its end", 1299, 1300, time.Second, true},
		{"at its end", 1300, 1300, 0, false},
		{"past", 5000, 1300, 0, false},
		{"clock before iat", 1, 1300, 300 * time.Second, true},
		{"clock at zero", 0, 1300, 300 * time.Second, true},
		{"clock long before the epoch", math.MinInt64, 1300, 300 * time.Second, true},
		{"clock before the epoch", math.MinInt64 / 2, 1300, 300 * time.Second, true},
		{"clock at the end of time", math.MaxInt64, 1300, 0, false},
		{"a day", 1000, 1000 + protocol.MaxLifetime, protocol.MaxLifetime * time.Second, true},
	} {
		k := newKit(t)
		r := k.request("tx", protocol.C1)
		r.ExpiresAt = c.exp
		before := BootTime()
		k.list(c.now, k.sign(r))
		after := BootTime()
		it, _, err := k.agent.pending.show(scopeOf(testUID), "tx")
		if accepted := err == nil; accepted != c.accepted {
			// A clock so wrong that the sum overflows may cost the request.
			if accepted || c.now != math.MinInt64 {
				t.Errorf("%s: accepted %v", c.name, accepted)
			}
			continue
		}
		if err == nil && (it.deadline < before+c.want || it.deadline > after+c.want) {
			t.Errorf("%s: it lives %v, want %v", c.name, it.deadline-before, c.want)
		}
		k.list(c.now, k.sign(r), k.sign(r)) // listed again, with another signature
		if again, _, err := k.agent.pending.show(scopeOf(testUID), "tx"); err == nil && again.deadline != it.deadline {
			t.Errorf("%s: listed again it lives longer", c.name)
		}
	}
}

// TestLifetimeCountsFromThePoll: what the answer took on its way is part of it.
func TestLifetimeCountsFromThePoll(t *testing.T) {
	k := newKit(t)
	k.profile.BeforeFetch()
	k.profile.polled -= 100 * time.Second // the answer took so long
	k.profile.Listed(t.Context(), protocol.Requests{Now: 1000, Requests: []string{k.sign(k.request("tx", protocol.C1))}})
	it, _, err := k.agent.pending.show(scopeOf(testUID), "tx")
	if err != nil {
		t.Fatal(err)
	}
	if left := it.deadline - BootTime(); left > 200*time.Second {
		t.Errorf("%v are left, want at most 200 s", left)
	}
}

// TestNotAnOverlongRequest: the protocol's bound holds however it is signed.
func TestNotAnOverlongRequest(t *testing.T) {
	k := newKit(t)
	r := k.request("tx", protocol.C1)
	r.ExpiresAt = r.IssuedAt + protocol.MaxLifetime + 1
	if _, err := protocol.SignRequest(k.server, r); err == nil {
		t.Error("a request of more than a day was signed")
	}
}

// TestUnlistedEnds: what the server lists no more is over here.
func TestUnlistedEnds(t *testing.T) {
	k := newKit(t)
	client, err := k.profile.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	k.profile.mu.Lock()
	k.profile.client = client // of a server that is not there
	k.profile.mu.Unlock()
	k.list(1000, k.sign(k.request("a", protocol.C1)), k.sign(k.request("b", protocol.C1)))
	k.list(1000, k.sign(k.request("b", protocol.C1)))
	if k.status("a") != "cancelled" || k.status("b") != statusPending {
		t.Errorf("a is %s, b is %s", k.status("a"), k.status("b"))
	}
	skew := k.profile.skew
	k.profile.Listed(t.Context(), protocol.Requests{})
	if k.status("b") != "cancelled" {
		t.Errorf("with nothing listed b is %s", k.status("b"))
	}
	if k.profile.skew != skew {
		t.Errorf("an answer without a time made the clock differ by %v", k.profile.skew)
	}
}
