package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// fresh is the longest that the file stays as it is: its time says that the
// service lives.
const fresh = 5 * time.Minute

// File is where metrics are written. The zero value writes nothing.
type File struct {
	// Path ends in .prom; "" is none.
	Path string
	// Every is how often they are looked at.
	Every time.Duration
	Log   *slog.Logger

	mu    sync.Mutex // guards the rest
	last  []byte
	wrote time.Time
	err   error
}

// Run writes what collect returns, where it has changed, until ctx ends. Then it
// removes the file: numbers of a service that does not run are none.
func (f *File) Run(ctx context.Context, collect func(context.Context) []Family) {
	if f == nil || f.Path == "" {
		return
	}
	ticker := time.NewTicker(f.Every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		f.update(collect(ctx))
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	if err := os.Remove(f.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.Log.Warn("the metrics of a service that ends are not removed", "error", err)
	}
}

// Err is why they are not written, or nil.
func (f *File) Err() error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// update writes them where they have changed.
func (f *File) update(families []Family) {
	var b bytes.Buffer
	err := Write(&b, families)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && bytes.Equal(b.Bytes(), f.last) && time.Since(f.wrote) < fresh {
		return
	}
	if err == nil {
		err = replace(f.Path, b.Bytes())
	}
	if err == nil {
		f.last, f.wrote = b.Bytes(), time.Now()
	} else if f.err == nil {
		f.Log.Error("metrics are not written", "error", err)
	}
	f.err = err
}

// replace writes a file for everybody to read, at once. The name that it has until
// then is none that node_exporter reads.
func replace(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("metrics: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}
