package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"countersign/internal/testenv"
)

// What is measured where the environment does not say it: for how long each
// program is watched, how many approvals come before. A poll waits for 55 s, so
// that each program is woken as often in a window of that length, or of several.
const (
	defaultWindow    = 55 * time.Second
	defaultApprovals = 1000
	manyProfiles     = 5
)

// BenchmarkIdle prints what the service costs while it waits: alone, with a
// watchdog, with a session helper, and after many approvals; how soon it is ready;
// and how much disk it takes. Beside it stand the least that a Go program can be
// and a hello-world with the same listeners, which is the baseline of the ratios:
// a socket for local callers and a long poll over TLS 1.3 and HTTP/2.
//
// The programs are those of "make build". Each runs from a file of its own, the
// services with a software TPM each, all at the same server.
// COUNTERSIGN_WINDOW is for how long they are watched, COUNTERSIGN_APPROVALS how
// many approvals one of them has made before.
func BenchmarkIdle(b *testing.B) {
	testenv.Need(b, "swtpm", "pinentry-gtk-2")
	window := setting(b, "COUNTERSIGN_WINDOW", defaultWindow, time.ParseDuration)
	n := setting(b, "COUNTERSIGN_APPROVALS", defaultApprovals, strconv.Atoi)
	for b.Loop() {
		measure(b, window, n)
	}
}

// service is one service as the table names it.
type service struct {
	name string
	*agent
}

func measure(b *testing.B, window time.Duration, n int) {
	s := startServer(b)
	none, many, helped, worked := newAgent(b, s, 0), newAgent(b, s, manyProfiles), newAgent(b, s, 1), newAgent(b, s, 1)
	empty := ownCopy(b, "bench/empty")
	hello := newHello(b, none)
	times := startTimes(b, []contender{
		{"empty Go program", func() *daemon { return start(b, empty, nil) }},
		{"hello-world (baseline)", hello},
		{"countersignd, no profile", none.start},
		{fmt.Sprintf("countersignd, %d profiles", manyProfiles), many.start},
	})
	rows := []*row{{name: "empty Go program", daemon: start(b, empty, nil)}, {name: "hello-world (baseline)", daemon: hello()}}
	for _, c := range []service{
		{"countersignd, no profile", none},
		{"countersignd", newAgent(b, s, 1)},
		{"countersignd, watchdog", newAgent(b, s, 1, watchdog(b)...)},
		{"countersignd, session helper", helped},
		{fmt.Sprintf("countersignd, %d profiles", manyProfiles), many},
		{fmt.Sprintf("countersignd, after %d approvals", n), worked},
	} {
		rows = append(rows, &row{name: c.name, daemon: c.start()})
		c.awaitServer()
	}
	rows = append(rows, &row{name: "countersign session, the helper", daemon: helper(b, helped)})
	took := worked.approve(b, n)
	after := memoryOf(b, worked.pid())
	watch(b, rows, window)
	fmt.Printf("\n%d approvals took %v; right after them countersignd had %d KiB RSS, %d KiB private\n", n, took.Round(time.Second), after.rss, after.private)
	report(b, rows, window, times)
}

// newHello makes the hello-world, with a server to wait for and a socket next to
// that of a service.
func newHello(b *testing.B, neighbor *agent) (again func() *daemon) {
	b.Helper()
	url, roots := longPolls(b)
	program, socket := ownCopy(b, "bench/hello"), filepath.Join(filepath.Dir(neighbor.socket()), "hello")
	return func() *daemon {
		_ = os.Remove(socket)
		return start(b, program, nil, socket, url, roots)
	}
}

// row is one program that waits, and what it costs.
type row struct {
	name string
	*daemon

	memory
	switches   float64       // of context, per minute
	cpu        time.Duration // per minute
	threads    int
	goroutines int
	files      int
}

// settling is how long the programs are left alone before they are watched: the
// service hangs up on its TPM after two seconds.
const settling = 5 * time.Second

// watch measures all rows in the same time. It ends them.
func watch(b *testing.B, rows []*row, window time.Duration) {
	b.Helper()
	pause(b, settling)
	before := make([]usage, len(rows))
	for i, r := range rows {
		before[i] = usageOf(b, r.pid())
	}
	pause(b, window)
	for i, r := range rows {
		r.switches, r.cpu = usageOf(b, r.pid()).since(before[i])
		r.memory, r.threads, r.files = memoryOf(b, r.pid()), countThreads(b, r.pid()), countFiles(b, r.pid())
	}
	for _, r := range rows {
		r.goroutines = r.countGoroutines()
	}
}

func pause(b *testing.B, d time.Duration) {
	b.Helper()
	select {
	case <-time.After(d):
	case <-b.Context().Done():
		b.Fatal("the benchmark was ended")
	}
}

func setting[T any](b *testing.B, name string, otherwise T, parse func(string) (T, error)) T {
	b.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	v, err := parse(text)
	if err != nil {
		b.Fatalf("%s: %v", name, err)
	}
	return v
}
