package sqlite

import (
	"context"
	"fmt"

	"countersign/tokenserver/store"
)

// maxBatch is how many Updates share one commit at most.
const maxBatch = 256

// job is an Update on its way through the writer.
type job struct {
	ctx  context.Context //nolint:containedctx // the caller's, looked at once before the job runs
	fn   func(store.Tx) error
	err  error
	done chan struct{}
}

type version struct {
	n   int64
	err error
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	j := &job{ctx: ctx, fn: fn, done: make(chan struct{})}
	select {
	case s.jobs <- j:
	case <-s.closing:
		return store.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-j.done:
		return j.err
	case <-s.done:
	}
	// The writer has ended, perhaps with this job as its last.
	select {
	case <-j.done:
		return j.err
	default:
		return store.ErrClosed
	}
}

// Changes implements store.Store. It asks the connection that writes, to which
// its own commits are no news.
func (s *Store) Changes(ctx context.Context) (int64, error) {
	reply := make(chan version, 1)
	select {
	case s.versions <- reply:
		v := <-reply
		return v.n, v.err
	case <-s.closing:
		return 0, store.ErrClosed
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// write is the one goroutine that changes the database.
func (s *Store) write() {
	defer close(s.done)
	for {
		select {
		case j := <-s.jobs:
			s.commit(s.gather(j))
		case reply := <-s.versions:
			var v version
			v.err = s.conn.QueryRowContext(context.Background(), "PRAGMA data_version").Scan(&v.n)
			reply <- v
		case <-s.closing:
			return
		}
	}
}

// gather takes what has arrived since the last commit.
func (s *Store) gather(first *job) []*job {
	batch := []*job{first}
	for len(batch) < maxBatch {
		select {
		case j := <-s.jobs:
			batch = append(batch, j)
		default:
			return batch
		}
	}
	return batch
}

// commit runs a batch in one transaction. A job that fails takes back its own
// changes only; a commit that fails takes back all.
func (s *Store) commit(batch []*job) {
	err := s.runAll(batch)
	for _, j := range batch {
		if j.err == nil {
			j.err = err
		}
		close(j.done)
	}
}

func (s *Store) runAll(batch []*job) error {
	// A caller's context must not take back what others wrote.
	ctx := context.Background()
	t, err := s.conn.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", wrap(err))
	}
	defer func() { _ = t.Rollback() }()
	for _, j := range batch {
		if j.err, err = run(&tx{ctx, t}, j); err != nil {
			return err
		}
	}
	if err := t.Commit(); err != nil {
		return fmt.Errorf("commit: %w", wrap(err))
	}
	return nil
}

// run runs one job within a savepoint. The second error spoils the batch.
func run(t *tx, j *job) (jobErr, batchErr error) {
	if err := j.ctx.Err(); err != nil {
		return err, nil
	}
	if err := t.exec("SAVEPOINT job"); err != nil {
		return nil, err
	}
	if jobErr = call(t, j.fn); jobErr != nil {
		if err := t.exec("ROLLBACK TO job"); err != nil {
			return jobErr, err
		}
	}
	return jobErr, t.exec("RELEASE job")
}

// call turns a panic into an error: it would end everybody's writer.
func call(t *tx, fn func(store.Tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("sqlite: panic in an update: %v", p)
		}
	}()
	return fn(t)
}
