// Package sqlite keeps the Token Server's database in one file.
//
// One goroutine writes; what arrived during one commit goes into the next
// together, so that many callers share the cost of a durable write. Readers
// have connections of their own and are never in the writer's way. Other
// processes may open the same file at the same time: SQLite's lock orders
// their changes, and Changes tells of them.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"sync"

	"github.com/pressly/goose/v3"
	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // the "sqlite" driver

	"countersign/tokenserver/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store implements store.Store.
type Store struct {
	reads, writes *sql.DB
	conn          *sql.Conn
	jobs          chan *job
	versions      chan chan version
	closing       chan struct{}
	done          chan struct{}
	closeOnce     sync.Once
}

var _ store.Store = (*Store)(nil)

// Open opens the database file, making it with mode 0600 where there is none
// and bringing its schema up to date.
func Open(ctx context.Context, path string) (*Store, error) {
	s := &Store{
		jobs: make(chan *job, maxBatch), versions: make(chan chan version),
		closing: make(chan struct{}), done: make(chan struct{}),
	}
	if err := s.open(ctx, path); err != nil {
		return nil, errors.Join(fmt.Errorf("sqlite: open %s: %w", path, err), s.closeAll())
	}
	go s.write() //nolint:gosec // it lives until Close, not as long as ctx
	return s, nil
}

func (s *Store) open(ctx context.Context, path string) error {
	unlock, err := create(path)
	if err != nil {
		return err
	}
	defer unlock()
	if s.writes, err = sql.Open("sqlite", dsn(path, "immediate", "foreign_keys(1)", "synchronous(FULL)")); err != nil {
		return err
	}
	if err := migrate(ctx, s.writes); err != nil {
		return err
	}
	if s.conn, err = s.writes.Conn(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	if s.reads, err = sql.Open("sqlite", dsn(path, "deferred", "query_only(1)")); err != nil {
		return err
	}
	s.reads.SetMaxOpenConns(maxReaders)
	s.reads.SetMaxIdleConns(maxReaders)
	return nil
}

const maxReaders = 8

// create makes the file for its owner alone and holds a lock on it, so that
// two processes that start at once do not both set it up.
func create(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	unlock = func() { _ = f.Close() }
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		unlock()
		return nil, fmt.Errorf("lock: %w", err)
	}
	db, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		unlock()
		return nil, err
	}
	return unlock, db.Close()
}

// dsn names the database with what every connection to it must set. The busy
// timeout comes first, since the others may have to wait.
func dsn(path, txlock string, pragmas ...string) string {
	q := url.Values{"_txlock": {txlock}, "_pragma": append([]string{"busy_timeout(10000)", "journal_mode(WAL)"}, pragmas...)}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

func migrate(ctx context.Context, db *sql.DB) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, dir)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// View implements store.Store.
func (s *Store) View(ctx context.Context, fn func(store.Tx) error) error {
	t, err := s.reads.BeginTx(ctx, nil)
	if err != nil {
		return wrap(err)
	}
	defer func() { _ = t.Rollback() }()
	return fn(&tx{ctx, t})
}

// Close implements store.Store. It waits for the Update that runs.
func (s *Store) Close() error {
	var err error
	s.closeOnce.Do(func() {
		close(s.closing)
		<-s.done
		err = s.closeAll()
	})
	return err
}

func (s *Store) closeAll() error {
	var errs []error
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	for _, db := range []*sql.DB{s.reads, s.writes} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}
