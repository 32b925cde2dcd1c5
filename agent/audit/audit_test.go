package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countersign/agent/audit"
)

func clock() audit.Clock {
	return audit.Clock{
		Wall: func() time.Time { return time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC) },
		Boot: func() time.Duration { return 42 * time.Second },
	}
}

func open(t *testing.T, dir string) *audit.Log {
	t.Helper()
	l, err := audit.Open(dir, clock())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func event(n int) audit.Event {
	uid := uint32(1000)
	return audit.Event{Kind: "decision.made", UID: &uid, Request: fmt.Sprintf("t_%d", n), Detail: map[string]string{"decision": "approve"}}
}

// write makes a log with n events and closes it.
func write(t *testing.T, dir string, n int) {
	t.Helper()
	l := open(t, dir)
	for i := range n {
		if err := l.Append(event(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func verify(t *testing.T, l *audit.Log) audit.Report {
	t.Helper()
	r, err := l.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func records(t *testing.T, l *audit.Log) (out []audit.Record) {
	t.Helper()
	if err := l.Records(t.Context(), func(r audit.Record) bool { out = append(out, r); return true }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWhatIsAppendedIsThereAfterwards(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, 3)
	l := open(t, dir)
	if err := l.Append(event(3)); err != nil {
		t.Fatal(err)
	}
	got := records(t, l)
	if len(got) != 5 || got[0].Kind != audit.KindBegan || got[4].Request != "t_3" || got[4].Seq != 5 || *got[4].UID != 1000 || got[4].BootMS != 42_000 {
		t.Errorf("got %+v", got)
	}
	if r := verify(t, l); !r.OK || r.Records != 5 || r.First != 1 || r.Last != 5 || len(r.Head) != 43 {
		t.Errorf("report %+v", r)
	}
}

// files reads all files of a directory.
func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, path := range paths {
		if out[path], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func put(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestEachChangedByteIsFound changes each byte of each file in three ways,
// while the log is open.
func TestEachChangedByteIsFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, 4)
	l := open(t, dir)
	n := 0
	for path, data := range files(t, dir) {
		for i := range data {
			for _, flip := range []byte{0x01, 0x20, 0xff} {
				changed := bytes.Clone(data)
				changed[i] ^= flip
				put(t, path, changed)
				if r := verify(t, l); r.OK {
					t.Errorf("byte %d of %s xor %#x is not found", i, filepath.Base(path), flip)
				}
				n++
			}
		}
		put(t, path, data)
	}
	if r := verify(t, l); !r.OK || n < 1000 {
		t.Errorf("after %d changes that were taken back: %+v", n, r)
	}
}

// TestEachCutIsFound cuts the log at each length while nobody has it open: at
// a line's end it is a tail cut off, within a line it might be a crash, and
// nothing that was durable is missing after one.
func TestEachCutIsFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, 2)
	whole := files(t, dir)
	for path, data := range whole {
		for n := range data {
			for p, d := range whole {
				put(t, p, d)
			}
			put(t, path, data[:n])
			l := open(t, dir)
			if r := verify(t, l); r.OK {
				t.Errorf("%s cut to %d of %d bytes is not found", filepath.Base(path), n, len(data))
			}
			_ = l.Close()
			for p := range files(t, dir) {
				_ = os.Remove(p)
			}
		}
	}
}

func TestHalfALineIsPutAside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, 2)
	path := segment(t, dir)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, path, append(data, `{"seq":4,"at":"20`...))
	l := open(t, dir)
	got := records(t, l)
	if last := got[len(got)-1]; last.Kind != audit.KindMended || last.Seq != 4 {
		t.Errorf("the last record is %+v", last)
	}
	torn, err := os.ReadFile(filepath.Join(dir, got[len(got)-1].Detail["file"]))
	if err != nil || string(torn) != `{"seq":4,"at":"20` {
		t.Errorf("put aside: %q, %v", torn, err)
	}
	if r := verify(t, l); !r.OK {
		t.Errorf("report %+v", r)
	}
}

func segment(t *testing.T, dir string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "log-*.jsonl"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("%q, %v", paths, err)
	}
	return paths[0]
}

// TestAnOlderHeadIsNoAlarm is what a power cut may leave.
func TestAnOlderHeadIsNoAlarm(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, 1)
	old, err := os.ReadFile(filepath.Join(dir, "head"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, 2)
	put(t, filepath.Join(dir, "head"), old)
	l := open(t, dir)
	if r := verify(t, l); !r.OK {
		t.Errorf("before anything is added: report %+v", r)
	}
	if err := l.Append(event(9)); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, l); !r.OK {
		t.Errorf("report %+v", r)
	}
}

func TestOldSegmentsGoAndTheRestVerifies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	big := event(0)
	big.Detail = map[string]string{"pad": strings.Repeat("x", 15<<10)}
	for range 20 * 70 {
		if err := l.Append(big); err != nil {
			t.Fatal(err)
		}
	}
	if r := verify(t, l); !r.OK || r.First < 200 {
		t.Errorf("report %+v", r)
	}
	if n := len(files(t, dir)); n > 19 {
		t.Errorf("%d files are kept", n)
	}
	_ = l.Close()
	l = open(t, dir)
	if r := verify(t, l); !r.OK {
		t.Errorf("opened again: %+v", r)
	}
	oldest, _ := filepath.Glob(filepath.Join(dir, "log-*.jsonl"))
	if err := os.Remove(oldest[0]); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, l); r.OK {
		t.Error("a segment that somebody removed is not missed")
	}
}

func TestARecordTooLongIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, 2)
	l := open(t, dir)
	too := event(1)
	too.Detail["pad"] = strings.Repeat("x", 20<<10)
	if err := l.Append(too); err == nil {
		t.Error("a record over the limit is taken")
	}
	if err := l.Append(event(2)); err != nil {
		t.Error(err)
	}
	if r := verify(t, l); !r.OK || r.Records != 4 {
		t.Errorf("report %+v", r)
	}
}

// FuzzOpen opens and verifies what somebody wrote in place of a log: there is no
// panic, it can be written to, and none but the log itself verifies.
func FuzzOpen(f *testing.F) {
	seed := f.TempDir()
	l, err := audit.Open(seed, clock())
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(l.Append(event(1)), l.Close()); err != nil {
		f.Fatal(err)
	}
	whole, err1 := os.ReadFile(filepath.Join(seed, "log-00000000000000000001.jsonl"))
	head, err2 := os.ReadFile(filepath.Join(seed, "head"))
	if err := errors.Join(err1, err2); err != nil {
		f.Fatal(err)
	}
	f.Add(whole, head)
	f.Add(whole[:len(whole)-3], head)
	f.Add([]byte("\n\n{}\n"), []byte("00000000000000000001 x"))
	f.Fuzz(func(t *testing.T, log, kept []byte) {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "log-00000000000000000001.jsonl"), log)
		put(t, filepath.Join(dir, "head"), kept)
		l := open(t, dir)
		if err := l.Append(event(2)); err != nil {
			t.Fatal(err)
		}
		r := verify(t, l)
		// Half a line alone is no log: it is put aside, and a new log begins.
		honest := bytes.HasPrefix(whole, log) || bytes.HasPrefix(log, whole) || !bytes.Contains(log, []byte("\n"))
		if r.OK && !honest {
			t.Errorf("%q with the head %q verifies", log, kept)
		}
	})
}
