package metrics

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// exporter is a File at work in a bubble of time.
type exporter struct {
	*File
	n    atomic.Int64
	stop func()
}

func export(t *testing.T, path string) *exporter {
	t.Helper()
	x := &exporter{File: &File{Path: path, Every: 15 * time.Second, Log: quiet()}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		x.Run(ctx, func(context.Context) []Family { return []Family{Of("n", "N.", float64(x.n.Load()))} })
	}()
	x.stop = func() { cancel(); <-done }
	return x
}

func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
	synctest.Wait()
}

// TestFile: what changed is there at the next look, readable for all, and what did
// not is left alone for a while. At the end the file goes.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.prom")
	synctest.Test(t, func(t *testing.T) {
		x := export(t, path)
		synctest.Wait()
		first := stat(t, path)
		if first.Mode() != 0o644 {
			t.Errorf("its mode is %v", first.Mode())
		}
		wait(t, time.Minute)
		if !os.SameFile(first, stat(t, path)) {
			t.Error("it is written without a change")
		}
		x.n.Store(1)
		wait(t, 15*time.Second)
		second := stat(t, path)
		if os.SameFile(first, second) {
			t.Error("a change is not written")
		}
		wait(t, fresh+15*time.Second)
		if os.SameFile(second, stat(t, path)) {
			t.Error("it looks as if the service were dead")
		}
		names, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
		hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*.prom.*"))
		if len(names) != 1 || len(hidden) != 0 {
			t.Errorf("in the directory: %v %v", names, hidden)
		}
		x.stop()
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("it stays: %v", err)
		}
	})
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// TestFileThatCannotBeWritten says so, and is written once it can.
func TestFileThatCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	synctest.Test(t, func(t *testing.T) {
		x := export(t, filepath.Join(dir, "x.prom"))
		synctest.Wait()
		if x.Err() == nil {
			t.Error("nothing is wrong")
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		wait(t, 15*time.Second)
		if err := x.Err(); err != nil {
			t.Error(err)
		}
		stat(t, x.Path)
		x.stop()
	})
}

// TestNoFile: without a path nobody collects anything.
func TestNoFile(t *testing.T) {
	for _, f := range []*File{nil, {}} {
		f.Run(t.Context(), func(context.Context) []Family {
			t.Error("collected")
			return nil
		})
		if f.Err() != nil {
			t.Error(f.Err())
		}
	}
}
