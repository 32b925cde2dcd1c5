// Package audit is the service's own record of what happened: each decision,
// refusal, lockout and enrollment, one line each, chained by hashes.
//
// A record is durable when Append returns. A line that was changed, removed or
// put in between breaks the chain, and a tail that was cut off misses the head
// that is kept beside it. Who owns the state directory can rewrite all of it,
// the head too: then only a head that somebody noted elsewhere tells, which is
// why Verify returns it.
//
// Callers put no secret into a record: no PIN, no number that was typed, no
// one-time code, and texts of others only as hashes.
package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Bounds of what is kept: the oldest segments go.
const (
	segmentBytes = 1 << 20
	maxSegments  = 16
)

// Clock tells the two times of a record. A nil member is not allowed.
type Clock struct {
	// Wall is for people and can be set by anybody; Boot runs on in suspend and
	// cannot.
	Wall func() time.Time
	Boot func() time.Duration
}

// Log is an open log. It is safe for concurrent use; a directory must have one
// Log at a time.
type Log struct {
	dir   string
	clock Clock

	mu       sync.Mutex // guards the rest; held while a record is written
	segments []segment
	last     head
	file     *os.File // the last segment, or nil until it is written to
	head     *os.File
}

// segment is one file of the log.
type segment struct {
	path  string
	first uint64 // the seq of its first record
	size  int64
}

// Open makes or opens the log in a directory. What a crash left half written is
// put aside, and the record that says so goes on with the chain.
func Open(dir string, clock Clock) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	l := &Log{dir: dir, clock: clock, last: head{Hash: noHash}}
	if err := l.open(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Log) open() error {
	var known head
	var err error
	if l.head, known, err = openHead(l.dir); err != nil {
		return err
	}
	if l.segments, err = list(l.dir); err != nil {
		return err
	}
	found, err := l.resume(known)
	if err != nil {
		return err
	}
	for _, e := range found {
		if err := l.Append(e); err != nil {
			return err
		}
	}
	// From now on the file has its size, whatever happens.
	return errors.Join(l.head.Sync(), syncPath(l.dir))
}

// resume takes up the chain where it ends, and returns what is to be recorded
// of how that end was found.
func (l *Log) resume(known head) (found []Event, err error) {
	if len(l.segments) > 0 {
		torn, err := l.segments[len(l.segments)-1].cutTorn(l.dir)
		if err != nil {
			return nil, err
		}
		if torn != "" {
			found = append(found, Event{Kind: KindMended, Detail: map[string]string{detailFile: torn}})
		}
	}
	held := known == l.last // the log has the record that the head names
	for _, s := range slices.Backward(l.segments) {
		end, lines, err := s.end()
		if err != nil {
			return nil, err
		}
		if lines == 0 {
			continue // made for a record that was not written
		}
		l.last = end
		held = known.Seq < end.Seq || known == end
		break
	}
	switch {
	case l.last.Seq == 0 && known.Seq == 0:
		found = append(found, Event{Kind: KindBegan})
	case known == head{} || !held:
		return append(found, Event{Kind: KindCut, Detail: known.detail()}), nil
	}
	return found, l.catchUp(known)
}

// catchUp brings the head to the end of the log, where a crash between the two
// left it behind. That of a log that begins names no record, and is there before
// the first one.
func (l *Log) catchUp(known head) error {
	if known == l.last {
		return nil
	}
	if n := len(l.segments); n > 0 {
		// It was read, which does not mean that it would outlast a power cut.
		if err := syncPath(l.segments[n-1].path); err != nil {
			return fmt.Errorf("audit: %w", err)
		}
	}
	if err := l.last.save(l.head); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

// Close closes the files. Nothing is left to be written.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, f := range []*os.File{l.file, l.head} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	l.file, l.head = nil, nil
	return errors.Join(errs...)
}

// Append writes one record, durably. After an error nothing of it counts, and
// a later call may succeed.
func (l *Log) Append(e Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.prune(); err != nil {
		return err
	}
	return l.write(e)
}

// write expects l.mu held.
func (l *Log) write(e Event) error {
	r := Record{
		Seq: l.last.Seq + 1, At: l.clock.Wall().UTC().Truncate(time.Millisecond), BootMS: l.clock.Boot().Milliseconds(),
		Event: e, Prev: l.last.Hash,
	}
	line, err := r.encode()
	if err != nil {
		return err
	}
	if err := l.room(r.Seq, len(line)); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	at := &l.segments[len(l.segments)-1]
	next := head{Seq: r.Seq, Hash: hashOf(line)}
	_, err = l.file.WriteAt(line, at.size)
	if err == nil {
		err = l.file.Sync()
	}
	if err == nil {
		err = next.save(l.head)
	}
	if err != nil {
		// Half a line is as good as none, and so is one that its head does not
		// know: the next one goes in its place.
		return fmt.Errorf("audit: %w", errors.Join(err, l.file.Truncate(at.size)))
	}
	at.size += int64(len(line))
	l.last = next
	return nil
}

// room makes sure that there is an open segment with room for a line.
func (l *Log) room(seq uint64, n int) (err error) {
	if k := len(l.segments); k > 0 && l.segments[k-1].size+int64(n) <= segmentBytes {
		if l.file == nil {
			l.file, err = os.OpenFile(l.segments[k-1].path, os.O_RDWR, 0)
		}
		return err
	}
	s := segment{path: filepath.Join(l.dir, segmentName(seq)), first: seq}
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := syncPath(l.dir); err != nil {
		return errors.Join(err, f.Close())
	}
	if l.file != nil {
		_ = l.file.Close() // synced with its last record
	}
	l.file, l.segments = f, append(l.segments, s)
	return nil
}

// prune removes the oldest segment where there are too many, once it is on
// record where the chain begins from then on. It expects l.mu held.
func (l *Log) prune() error {
	if len(l.segments) <= maxSegments {
		return nil
	}
	gone := l.segments[0]
	end, _, err := gone.end()
	if err != nil {
		return err
	}
	if err := l.write(Event{Kind: KindPruned, Detail: end.detail()}); err != nil {
		return err
	}
	l.segments = slices.Delete(l.segments, 0, 1)
	if err := os.Remove(gone.path); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}
