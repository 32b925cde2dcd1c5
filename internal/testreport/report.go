package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// event is one line of "go test -json" (go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	// Elapsed is in seconds.
	Elapsed float64
}

// unit is a test, or with an empty test the package itself.
type unit struct{ pkg, test string }

// report counts what it reads and prints as it goes. Output is kept until the
// unit's fate is known.
type report struct {
	out    io.Writer
	kept   map[unit]*bytes.Buffer
	failed []unit

	passed, skipped, packages, failedPackages int
}

func newReport(out io.Writer) *report {
	return &report{out: out, kept: map[unit]*bytes.Buffer{}}
}

// read reports everything in in and says whether all of it passed. A line that
// is not an event is shown as it is.
func (r *report) read(in io.Reader) (bool, error) {
	start := time.Now()
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			r.line(line)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false, fmt.Errorf("read the test output: %w", err)
		}
	}
	r.close(time.Since(start))
	return len(r.failed) == 0 && r.failedPackages == 0 && r.packages > 0, nil
}

func (r *report) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil {
		r.printf("%s", line)
		return
	}
	r.event(e)
}

func (r *report) event(e event) {
	u := unit{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		r.printf("%s", e.Output)
	case "output":
		if r.kept[u] == nil {
			r.kept[u] = &bytes.Buffer{}
		}
		r.kept[u].WriteString(e.Output)
	case "pass", "skip", "fail":
		if e.Test == "" {
			r.endPackage(u, e.Action)
		} else {
			r.endTest(u, e.Action)
		}
	}
}

func (r *report) endTest(u unit, action string) {
	switch action {
	case "pass":
		r.passed++
	case "skip":
		r.skipped++
		r.printf("skipped %s %s:%s\n", u.pkg, u.test, r.reason(u))
	case "fail":
		r.failed = append(r.failed, u)
		r.printf("%s", r.kept[u])
	}
	delete(r.kept, u)
}

// reason is what a skipped test said, without the runner's own lines.
func (r *report) reason(u unit) string {
	var said strings.Builder
	for line := range strings.Lines(r.kept[u].String()) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			said.WriteString(" " + line)
		}
	}
	return said.String()
}

// endPackage shows the package's own line, or all it said when it failed,
// including what tests said that did not live to see their end.
func (r *report) endPackage(u unit, action string) {
	r.packages++
	if action == "fail" {
		r.failedPackages++
		r.flush(u.pkg)
		return
	}
	if out := r.kept[u]; out != nil {
		for line := range strings.Lines(out.String()) {
			if strings.HasPrefix(line, "ok") {
				r.printf("%s", line)
			}
		}
	}
	delete(r.kept, u)
}

func (r *report) flush(pkg string) {
	var units []unit
	for u := range r.kept {
		if u.pkg == pkg {
			units = append(units, u)
		}
	}
	// The package's own words come last: they hold its FAIL line.
	slices.SortFunc(units, func(a, b unit) int { return strings.Compare(b.test, a.test) })
	for _, u := range units {
		r.printf("%s", r.kept[u])
		delete(r.kept, u)
	}
}

func (r *report) close(took time.Duration) {
	for _, u := range r.failed {
		r.printf("FAILED %s %s\n", u.pkg, u.test)
	}
	word := "PASS"
	if len(r.failed) > 0 || r.failedPackages > 0 || r.packages == 0 {
		word = "FAIL"
	}
	r.printf("%s: %d tests passed, %d failed, %d skipped in %d packages (%d failed) after %s\n",
		word, r.passed, len(r.failed), r.skipped, r.packages, r.failedPackages, took.Round(time.Second))
}

func (r *report) printf(format string, args ...any) {
	fmt.Fprintf(r.out, format, args...)
}
