package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"countersign/internal/testenv"
)

// someSteps are the steps of n to kill at: all of them in a soak, else a few, each
// time others.
func someSteps(t *testing.T, n, few int) []int {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("%d steps, seed %d", n, seed)
	steps := rand.New(rand.NewPCG(seed, 0)).Perm(n)
	if !testenv.Soaking() && few < n {
		steps = steps[:few]
	}
	slices.Sort(steps)
	for i := range steps {
		steps[i]++
	}
	return steps
}

// stepsSeen is how many steps there were since the tracer was armed.
func (tr *tracer) stepsSeen() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.seen)
}

// TestRenewSurvivesAKillAtItsSteps: afterwards both keys work, with the same PIN,
// and there are no others.
func TestRenewSurvivesAKillAtItsSteps(t *testing.T) {
	s, d, p := crashWorld(t)
	d.enroll(s.link())
	s.learned(d) // which is no step of a renewal
	renew := func(n int) (after string, killed bool, steps int) {
		d.proc.kill()
		tr := d.startTraced()
		d.connected()
		tr.armOnly(changeSteps, n)
		a := d.renew(pin+"\n", "--pin-stdin")
		after, killed = tr.killed()
		if !killed && a.status != 0 {
			t.Fatalf("renew: %s", a.stdout)
		}
		steps = tr.stepsSeen()
		d.proc.kill()
		d.start()
		testenv.Eventually(t, "the renewals to come to their end: "+after, func() bool {
			left, _ := filepath.Glob(filepath.Join(d.state(), "profiles", "*", "*renewal.json"))
			return len(left) == 0
		})
		d.noLeftovers()
		d.connected()
		d.onlyPIN(p, pin, otherPIN)
		d.denies(p)
		return after, killed, steps
	}
	_, _, all := renew(0)
	if all < 40 {
		t.Errorf("only %d steps were seen: the tracer misses some", all)
	}
	for _, n := range someSteps(t, all, 3) {
		if after, killed, _ := renew(n); !killed && n < all-10 {
			t.Errorf("not killed at step %d, %s", n, after)
		}
	}
}

// TestUnenrollSurvivesAKillAtItsSteps: afterwards the enrollment works on both
// sides, or there is none on either, and no key of it.
func TestUnenrollSurvivesAKillAtItsSteps(t *testing.T) {
	s, d, p := crashWorld(t)
	users := 0
	gone, stayed := 0, 0
	unenroll := func(n int) (steps int) {
		users++
		user := fmt.Sprintf("user%d", users)
		s.command("", "user", "add", user).ok(t)
		if d.count("profiles") == 0 {
			d.enroll(s.linkFor(user))
		} else {
			user = d.member("user").(string)
		}
		d.proc.kill()
		tr := d.startTraced()
		d.connected()
		tr.armOnly(changeSteps, n)
		a := d.cli("", "unenroll", d.profile().ID)
		after, killed := tr.killed()
		steps = tr.stepsSeen()
		d.proc.kill()
		d.start()
		if !killed && a.status != 0 {
			t.Fatalf("unenroll: %s", a.stdout)
		}
		testenv.Eventually(t, "the profile to be whole or gone: "+after, func() bool {
			list, _ := d.cli("", "profiles").ok(t).json["profiles"].([]any)
			stored, _ := filepath.Glob(filepath.Join(d.state(), "profiles", "*"))
			return len(list)+len(stored) == 0 || len(list) == 1 && list[0].(map[string]any)["connected"] == true
		})
		d.noLeftovers()
		local := d.count("profiles")
		if active := s.activeDevices(user); active != local || a.status == 0 && local != 0 {
			t.Fatalf("killed after %s: the device has %d profiles, the server %d active devices", after, local, active)
		}
		if local == 0 {
			gone++
			return steps
		}
		stayed++
		d.connected()
		tx := p.beginFor(user, "login")
		d.waitFor(tx.ID)
		d.approve(tx).ok(t)
		return steps
	}
	all := unenroll(0)
	if all < 10 {
		t.Errorf("only %d steps were seen: the tracer misses some", all)
	}
	// The first step comes before the server hears of it, the last after.
	for _, n := range slices.Compact(slices.Sorted(slices.Values(append(someSteps(t, all, 3), 1, all)))) {
		unenroll(n)
	}
	if gone < 2 || stayed < 1 {
		t.Errorf("%d times the enrollment was gone, %d times it stayed: the kills all came at one stage", gone, stayed)
	}
}
