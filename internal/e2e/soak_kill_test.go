package e2e

import (
	"net/http"
	"path/filepath"
	"regexp"
	"time"

	"countersign/internal/testenv"
)

// A step is a system call that leaves a trace outside of its process. Those of
// the server's database are pwrite64 and fsync.
const (
	serverCalls = calls + ",pwrite64"
	soakHold    = "3000" // microseconds
	// soakPatience is how long a step is waited for before the kill comes anyway.
	soakPatience = 3 * time.Second
)

type soakStep struct {
	name string
	line *regexp.Regexp
}

func serviceSteps() []soakStep {
	return []soakStep{
		{"fsync", regexp.MustCompile(`^\d+ +f(data)?sync\(`)},
		{"rename", regexp.MustCompile(`^\d+ +rename`)},
		{"unlink", regexp.MustCompile(`^\d+ +unlink`)},
		{"write to the server", regexp.MustCompile(`^\d+ +(write|writev|sendto|sendmsg)\(\d+<TCP`)},
		{"write to the TPM or a caller", regexp.MustCompile(`^\d+ +(write|writev|sendto|sendmsg)\(\d+<(socket|UNIX)`)},
	}
}

func serverSteps() []soakStep {
	return []soakStep{
		{"fsync", regexp.MustCompile(`^\d+ +f(data)?sync\(`)},
		{"write to the database", regexp.MustCompile(`^\d+ +pwrite64\(`)},
		{"write to a client", regexp.MustCompile(`^\d+ +(write|writev|sendto|sendmsg)\(\d+<TCP`)},
	}
}

// victim is what is killed and started again.
type victim struct {
	name  string
	steps []soakStep
	proc  func() *process
	// start starts it, under a tracer where it is to be killed at a step.
	start func(traced bool) *tracer
	// check looks at it once it is back.
	check  func()
	tracer *tracer
	took   *[]time.Duration
}

func (s *soak) victims() []*victim {
	return []*victim{
		{name: "service", steps: serviceSteps(), proc: func() *process { return s.device.proc }, start: s.startService, check: s.checkService, took: &s.stats.service},
		{name: "server", steps: serverSteps(), proc: func() *process { return s.server.proc }, start: s.startServer, check: s.checkServer, took: &s.stats.server},
	}
}

// killAll kills each victim so many times, in any order.
func (s *soak) killAll(kills int) {
	s.tb.Helper()
	var order []*victim
	for _, v := range s.victims() {
		for range kills {
			order = append(order, v)
		}
	}
	s.rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	told := time.Now()
	for _, v := range order {
		s.kill(v)
		s.check()
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			s.progress()
		}
	}
}

// kill kills one, at a step where it is traced and else after a while, starts
// it again and sees that all is well.
func (s *soak) kill(v *victim) {
	s.tb.Helper()
	v.dieAt(s)
	pause(s.ctx, time.Duration(s.rand.IntN(50))*time.Millisecond)
	traced := s.rand.IntN(2) == 0
	began := time.Now()
	v.tracer = v.start(traced)
	v.proc().expect("ready")
	if took := time.Since(began); traced {
		s.stats.traced++
	} else {
		*v.took = append(*v.took, took)
	}
	s.stats.kills[v.name]++
	v.check()
}

func (v *victim) dieAt(s *soak) {
	step := v.steps[s.rand.IntN(len(v.steps))]
	nth, wait := 1+s.rand.IntN(6), time.Duration(s.rand.IntN(800))*time.Millisecond
	at := "any time"
	if v.tracer != nil {
		v.tracer.armOnly(step.line, nth)
		select {
		case <-v.proc().ended:
			at = step.name
		case <-time.After(soakPatience):
		}
	} else {
		pause(s.ctx, wait)
	}
	v.proc().kill()
	s.stats.at[v.name+", "+at]++
}

func (s *soak) startService(traced bool) *tracer {
	d := s.device
	d.log = new(testenv.Log)
	if traced {
		var tr *tracer
		d.proc, tr = startUnderTrace(s.tb, d.log, calls, soakHold, d.program(), d.args()...)
		return tr
	}
	d.proc = start(s.tb, d.log, filepath.Join("plain", "countersignd"), d.args()...)
	return nil
}

func (s *soak) startServer(traced bool) *tracer {
	v := s.server
	v.log = new(testenv.Log)
	args := []string{"serve", "--data", v.data, "--listen", hostOf(s.tb, v.issuer), "--device-listen", hostOf(s.tb, v.device)}
	if traced {
		var tr *tracer
		v.proc, tr = startUnderTrace(s.tb, v.log, serverCalls, soakHold, filepath.Join(bin, "countersign-server"), args...)
		return tr
	}
	v.proc = start(s.tb, v.log, "countersign-server", args...)
	return nil
}

// checkService: the service that is ready answers, has its profile, and its
// audit log is whole.
func (s *soak) checkService() {
	s.tb.Helper()
	report, err := s.caller.VerifyLog(s.ctx)
	if err != nil || !report.OK {
		s.wrong("the audit log after the kill: %+v, %v", report, err)
	}
	profiles, err := s.caller.Profiles(s.ctx)
	if err != nil || len(profiles) != 1 || profiles[0].State != "active" {
		s.wrong("the profiles after the kill: %+v, %v", profiles, err)
	}
}

// checkServer: the server that is ready has not forgotten what it said.
func (s *soak) checkServer() {
	s.tb.Helper()
	for _, d := range s.ledger.ended() {
		t, err := d.portal.try(s.ctx, "GET", "/v1/transactions/"+d.id, "", nil)
		if err != nil || t.http != http.StatusOK || t.Evidence == nil {
			s.wrong("%s after the kill: %w, %d %s", d.id, err, t.http, t.raw)
			return
		}
		if err := d.end(t.Status, t.Evidence.Receipt); err != nil {
			s.wrong("%w", err)
		}
	}
}
