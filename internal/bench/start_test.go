package bench

import (
	"slices"
	"testing"
	"time"
)

// starts is how often each program is started.
const starts = 20

// contender is a program that is started again and again.
type contender struct {
	name  string
	start func() *daemon
}

// started is how long a program took to be ready, each time, sorted.
type started struct {
	name string
	took []time.Duration
}

func (s started) median() time.Duration { return s.took[len(s.took)/2] }

// startTimes starts the programs in turns, so that whatever else the machine does
// falls on all alike.
func startTimes(b *testing.B, list []contender) []started {
	b.Helper()
	times := make([]started, len(list))
	for range starts {
		for i, c := range list {
			d := c.start()
			times[i].name, times[i].took = c.name, append(times[i].took, d.took)
			d.stop()
		}
	}
	for i := range times {
		slices.Sort(times[i].took)
	}
	return times
}
