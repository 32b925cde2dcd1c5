package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"countersign/tokenserver/store"
)

// tx implements store.Tx.
type tx struct {
	ctx context.Context //nolint:containedctx // it lives no longer than the transaction
	t   *sql.Tx
}

var _ store.Tx = (*tx)(nil)

// exec runs a statement; a broken uniqueness is ErrConflict.
func (t *tx) exec(query string, args ...any) error {
	_, err := t.t.ExecContext(t.ctx, query, args...)
	return wrap(err)
}

// swap runs a statement that changes one row if the row is in the right state,
// and returns ErrConflict if it is not, or is not there.
func (t *tx) swap(query string, args ...any) error {
	res, err := t.t.ExecContext(t.ctx, query, args...)
	if err != nil {
		return wrap(err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(store.ErrConflict, err)
	}
	return nil
}

// scanner is a row being read.
type scanner interface{ Scan(dest ...any) error }

func one[T any](t *tx, scan func(scanner) (T, error), query string, args ...any) (T, error) {
	v, err := scan(t.t.QueryRowContext(t.ctx, query, args...))
	return v, wrap(err)
}

func all[T any](t *tx, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := t.t.QueryContext(t.ctx, query, args...)
	if err != nil {
		return nil, wrap(err)
	}
	defer func() { _ = rows.Close() }()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, wrap(err)
		}
		out = append(out, v)
	}
	return out, wrap(rows.Err())
}

func text(row scanner) (s string, err error) {
	err = row.Scan(&s)
	return s, err
}

// wrap gives an error its sentinel.
func wrap(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotFound
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() {
		case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
			return store.ErrConflict
		}
		switch e.Code() & 0xff { // the primary code
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
			return fmt.Errorf("sqlite: %w: %w", store.ErrStorage, err)
		}
	}
	return fmt.Errorf("sqlite: %w", err)
}

// millis writes a time, the zero time as 0.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// moment reads what millis wrote.
type moment struct{ t *time.Time }

func (m moment) Scan(src any) error {
	n, ok := src.(int64)
	if !ok {
		return fmt.Errorf("sqlite: a time is %T", src)
	}
	*m.t = time.Time{}
	if n != 0 {
		*m.t = time.UnixMilli(n).UTC()
	}
	return nil
}

// document reads and writes a value as JSON.
type document struct{ v any }

func (d document) Scan(src any) error {
	s, ok := src.(string)
	if !ok {
		return fmt.Errorf("sqlite: a document is %T", src)
	}
	return json.Unmarshal([]byte(s), d.v)
}

func encode(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("sqlite: %w", err)
	}
	return string(b), nil
}
