package sqlite_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"countersign/tokenserver/store"
	"countersign/tokenserver/store/sqlite"
	"countersign/tokenserver/store/storetest"
)

func open(tb testing.TB, path string) *sqlite.Store {
	tb.Helper()
	s, err := sqlite.Open(context.Background(), path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(tb testing.TB) (a, b store.Store) {
		tb.Helper()
		path := filepath.Join(tb.TempDir(), "server.db")
		return open(tb, path), open(tb, path)
	})
}

func TestOpenAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a dir?#%", "server.db")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			s, err := sqlite.Open(context.Background(), path)
			if err != nil {
				t.Error(err)
				return
			}
			err = s.Update(context.Background(), func(tx store.Tx) error { return tx.AddUser(store.User{Name: fmt.Sprint(i)}) })
			if err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	err := open(t, path).View(t.Context(), func(tx store.Tx) error {
		users, err := tx.Users()
		if len(users) != 8 {
			t.Errorf("%d of 8 users are there", len(users))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.db")
	open(t, path)
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "server.db"))
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			err := s.Update(context.Background(), func(tx store.Tx) error { return tx.AddEvent(store.Event{Kind: "k"}) })
			if err != nil {
				b.Error(err)
			}
		}
	})
}
