package e2e

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/ipc"
)

// soakKills is how often the service and the server are killed each where
// COUNTERSIGN_SOAK does not say it.
const soakKills = 25

// TestSoak kills service and server under load, at random points and after
// steps that leave a trace, and looks from outside whether they keep what they
// have said: see soakLedger. COUNTERSIGN_SEED repeats a choice of kills; what
// the machine does meanwhile nobody can repeat.
func TestSoak(t *testing.T) {
	testenv.Need(t, "strace")
	t.Parallel()
	kills, seed := soakKills, rand.Uint64()
	if n, err := strconv.Atoi(os.Getenv("COUNTERSIGN_SOAK")); err == nil {
		kills = n
	}
	if n, err := strconv.ParseUint(os.Getenv("COUNTERSIGN_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("COUNTERSIGN_SEED=%d COUNTERSIGN_SOAK=%d", seed, kills)
	s := newSoak(t, seed, startServerOn(t, quietAddress(t), quietAddress(t)))
	s.work()
	s.killAll(kills)
	s.settle()
	s.report(kills)
}

// soak is one server, one device and what is done to them.
type soak struct {
	tb     testing.TB
	rand   *rand.Rand
	dice   *dice
	server *server
	device *device
	caller *ipc.Caller
	ledger *soakLedger
	roots  *x509.CertPool

	ctx   context.Context // ends with what fails first
	fail  context.CancelCauseFunc
	ended chan struct{} // closed when no more transactions are to be started
	load  sync.WaitGroup

	began time.Time
	stats soakStats
}

func newSoak(t *testing.T, seed uint64, server *server) *soak {
	t.Helper()
	s := &soak{
		tb: t, rand: rand.New(rand.NewPCG(seed, 0)), dice: newDice(seed), ended: make(chan struct{}),
		server: server, device: newDevice(t), began: time.Now(),
		stats: soakStats{kills: map[string]int{}, at: map[string]int{}},
	}
	s.ctx, s.fail = context.WithCancelCause(t.Context())
	s.device.plain = true
	s.device.start()
	s.device.enroll(s.server.link())
	s.server.command("", "type", "set", "notice", "--method", "push", "--class", "C0", "--digits", "0", "--ttl", "5m").ok(t)
	s.caller = ipc.Dial(s.device.socket())
	s.ledger = newSoakLedger()
	s.roots = x509.NewCertPool()
	for _, b := range readPEM(t, s.server.ca()) {
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		s.roots.AddCert(cert)
	}
	return s
}

// quietAddress is a free port that the kernel gives to nobody who asks for any:
// while a server is dead, somebody else might get its.
func quietAddress(tb testing.TB) string {
	tb.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000)))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().String()
	}
	tb.Fatal("no free port")
	return ""
}

// What is wrong ends the soak; the first thing is told.
func (s *soak) wrong(format string, args ...any) {
	s.fail(fmt.Errorf(format, args...))
}

// check fails the test with what any part of the soak found.
func (s *soak) check() {
	s.tb.Helper()
	if err := context.Cause(s.ctx); err != nil {
		s.tb.Fatalf("after %d kills of the service and %d of the server: %v\nservice: %s\nserver: %s",
			len(s.stats.service), len(s.stats.server), err, tail(s.device.log.String()), tail(s.server.log.String()))
	}
}

func tail(log string) string {
	const most = 4000
	return log[max(0, len(log)-most):]
}

// settle lets what was started come to its end, and compares what is left on
// both sides.
func (s *soak) settle() {
	s.tb.Helper()
	close(s.ended)
	idle := make(chan struct{})
	go func() { s.load.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-s.ctx.Done():
		s.check()
	case <-time.After(2 * time.Minute):
		list, err := s.caller.Requests(s.ctx, false)
		s.wrong("transactions that do not come to an end: %v; the device lists %+v (%v)", s.ledger.open(), list, err)
	}
	s.check()
	s.looseEnds()
	// The relying party knows the end before the device does, whose answer may have
	// been lost with a kill.
	testenv.Eventually(s.tb, "the device to hear of all its decisions", func() bool {
		return !slices.ContainsFunc(s.outbox(), func(e outboxEntry) bool { return e.State == "queued" })
	})
	s.device.proc.stop()
	s.server.proc.stop()
	s.compareStores()
}

// looseEnds denies what no relying party knows of: the server was killed before
// it could say that it had started the transaction.
func (s *soak) looseEnds() {
	s.tb.Helper()
	testenv.Eventually(s.tb, "the list of the device to be empty", func() bool {
		list, err := s.caller.Requests(s.ctx, false)
		if err != nil {
			s.tb.Fatal(err)
		}
		for _, r := range list {
			if _, err := s.answer(r.ID, nil); err != nil && !errors.As(err, new(*ipc.Error)) {
				s.tb.Fatal(err)
			}
		}
		return len(list) == 0
	})
}
