package e2e

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestLostAnswers has persons decide while the network between device and
// server cuts every connection somewhere. Each decision counts once, nothing is
// called sent that the server has not acknowledged, and in the end both sides
// have the same. COUNTERSIGN_DECISIONS says how many.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	decisions, seed := 40, rand.Uint64()
	if n, err := strconv.Atoi(os.Getenv("COUNTERSIGN_DECISIONS")); err == nil {
		decisions = n
	}
	if n, err := strconv.ParseUint(os.Getenv("COUNTERSIGN_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("COUNTERSIGN_SEED=%d COUNTERSIGN_DECISIONS=%d", seed, decisions)
	address := quietAddress(t)
	cut := startCutter(t, address, newDice(seed))
	s := newSoak(t, seed, startServerOn(t, quietAddress(t), address, "--device-url", "https://"+cut.listener.Addr().String()))
	cut.set(true)
	s.work()
	for s.stats.decided.Load() < int64(decisions) && s.ctx.Err() == nil {
		pause(s.ctx, 5*time.Second)
		s.progress()
	}
	s.check()
	cut.set(false)
	s.settle()
	t.Logf("%d connections cut; %v", cut.cuts.Load(), s.ledger.counts)
	if n := cut.cuts.Load(); n < int64(decisions)/10 {
		t.Errorf("only %d connections were cut", n)
	}
}
