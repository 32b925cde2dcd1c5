package hsmtest

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// T is what a case says its verdict to: a *testing.T, or one who only listens.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// Complaints runs one case and returns what it has to say against a chip, which
// is nothing when the chip passes. A panic is a complaint too. The case must
// apply: one that would be skipped fails tb.
func Complaints(tb testing.TB, f Fixture, name string) []string {
	tb.Helper()
	cases := Cases()
	i := slices.IndexFunc(cases, func(c Case) bool { return c.Name == name })
	if i < 0 {
		tb.Fatalf("no case is called %q", name)
	}
	j := &judge{}
	done := make(chan struct{})
	go func() { // since Fatalf ends the goroutine it is called in
		defer close(done)
		defer j.catch()
		cases[i].check(&rig{T: j, Fixture: f, tb: tb})
	}()
	<-done
	switch { // what is wrong with the machine is not the chip's
	case tb.Skipped():
		tb.SkipNow()
	case tb.Failed():
		tb.FailNow()
	}
	if j.skipped != "" {
		tb.Fatalf("case %q was skipped: %s", name, j.skipped)
	}
	return j.complaints
}

// judge listens to a case.
type judge struct {
	mu         sync.Mutex
	complaints []string
	skipped    string
}

func (*judge) Helper() {}

// Errorf implements T.
func (j *judge) Errorf(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.complaints = append(j.complaints, fmt.Sprintf(format, args...))
}

// Fatalf implements T.
func (j *judge) Fatalf(format string, args ...any) {
	j.Errorf(format, args...)
	runtime.Goexit()
}

// Skipf implements T.
func (j *judge) Skipf(format string, args ...any) {
	j.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (j *judge) catch() {
	if p := recover(); p != nil {
		j.Errorf("panic: %v", p)
	}
}
