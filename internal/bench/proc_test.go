package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// memory is what a process has, in KiB: rss of all that is mapped, pss with what
// others map too divided among them, and private what is its own and no file's,
// which the kernel can get back only by ending it. Private_Dirty would be the same,
// were there not the pages of programs that were copied a moment ago.
type memory struct{ rss, pss, private int }

// memoryOf reads smaps_rollup (proc_pid_smaps(5)).
func memoryOf(tb testing.TB, pid int) (m memory) {
	tb.Helper()
	fields := map[string]*int{"Rss": &m.rss, "Pss": &m.pss, "Anonymous": &m.private}
	for name, value := range fieldsOf(tb, fmt.Sprintf("/proc/%d/smaps_rollup", pid)) {
		if f := fields[name]; f != nil {
			*f = number(tb, strings.TrimSuffix(value, " kB"))
		}
	}
	if m.rss == 0 {
		tb.Fatalf("process %d has no memory", pid)
	}
	return m
}

// usage is what a process has used so far.
type usage struct {
	at       time.Time
	cpu      time.Duration
	switches int
}

// usageOf sums over the threads. The scheduler's own count of time is exact, and
// that of the process in ticks of 10 ms is not.
func usageOf(tb testing.TB, pid int) usage {
	tb.Helper()
	u := usage{at: time.Now()}
	for _, task := range glob(tb, fmt.Sprintf("/proc/%d/task/*", pid)) {
		status := fieldsOf(tb, filepath.Join(task, "status"))
		u.switches += number(tb, status["voluntary_ctxt_switches"]) + number(tb, status["nonvoluntary_ctxt_switches"])
		run, _, _ := strings.Cut(string(read(tb, filepath.Join(task, "schedstat"))), " ")
		u.cpu += time.Duration(number(tb, run))
	}
	return u
}

// since is what was used per minute since an earlier usage.
func (u usage) since(before usage) (switches float64, cpu time.Duration) {
	minutes := u.at.Sub(before.at).Minutes()
	return float64(u.switches-before.switches) / minutes, time.Duration(float64(u.cpu-before.cpu) / minutes)
}

func countThreads(tb testing.TB, pid int) int {
	tb.Helper()
	return len(glob(tb, fmt.Sprintf("/proc/%d/task/*", pid)))
}

func countFiles(tb testing.TB, pid int) int {
	tb.Helper()
	return len(glob(tb, fmt.Sprintf("/proc/%d/fd/*", pid)))
}

// fieldsOf reads lines of "name: value".
func fieldsOf(tb testing.TB, file string) map[string]string {
	tb.Helper()
	fields := map[string]string{}
	for line := range bytes.Lines(read(tb, file)) {
		if name, value, ok := strings.Cut(string(line), ":"); ok {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields
}

func read(tb testing.TB, file string) []byte {
	tb.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func number(tb testing.TB, text string) int {
	tb.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func glob(tb testing.TB, pattern string) []string {
	tb.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil {
		tb.Fatal(err)
	}
	return list
}
