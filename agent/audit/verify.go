package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
)

// Report is what a look at the whole log found.
type Report struct {
	// Records counts those that are kept, First and Last are their seqs.
	Records int    `json:"records"`
	First   uint64 `json:"first"`
	Last    uint64 `json:"last"`
	// Head is the hash of the last record: noted elsewhere, it proves later that
	// everything up to it is unchanged.
	Head string `json:"head"`
	OK   bool   `json:"ok"`
	// Problem says what is wrong and BadSeq where, unless OK.
	Problem string `json:"problem,omitempty"`
	BadSeq  uint64 `json:"bad_seq,omitempty"`
}

// Verify reads the whole log. An error says that it could not be read; what is
// wrong with it is in the Report.
func (l *Log) Verify(ctx context.Context) (Report, error) {
	r, err := l.verify(ctx)
	if err == nil && !r.OK {
		// The oldest segment may have been removed to make room meanwhile.
		return l.verify(ctx)
	}
	return r, err
}

func (l *Log) verify(ctx context.Context) (Report, error) {
	var w walk
	segments, last, kept := l.snapshot()
	if err := each(ctx, segments, w.line); err != nil {
		return Report{}, err
	}
	w.finish(last, kept)
	return w.Report, nil
}

// Records calls f for each record, oldest first, until f returns false. Lines
// that are no records are left out: Verify tells of them.
func (l *Log) Records(ctx context.Context, f func(Record) bool) error {
	segments, _, _ := l.snapshot()
	err := each(ctx, segments, func(_ uint64, line []byte) error {
		if r, err := parse(line); err == nil && !f(r) {
			return errStop
		}
		return nil
	})
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

var errStop = errors.New("enough")

// snapshot is the log as it is now, and the head that is kept of it.
func (l *Log) snapshot() (segments []segment, last, kept head) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept, _ = readHead(l.head)
	return slices.Clone(l.segments), l.last, kept
}

// each calls f for each line of the segments, with the seq of its place. A
// segment that is gone has no lines.
func each(ctx context.Context, segments []segment, f func(seq uint64, line []byte) error) error {
	for _, s := range segments {
		seq := s.first
		err := s.lines(func(line []byte) error {
			defer func() { seq++ }()
			return errors.Join(ctx.Err(), f(seq, line))
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("audit: %w", err)
		}
	}
	return nil
}

// walk goes along the chain.
type walk struct {
	Report
	prev string
	// begins is the record before the first one kept, until a record tells that
	// everything up to it was removed on purpose.
	begins head
}

// line takes the next line. It never fails: what is wrong is noted, once.
func (w *walk) line(place uint64, line []byte) error {
	r, err := parse(line)
	w.Records++
	w.Last = place
	switch {
	case err != nil:
		w.note(place, err.Error())
	case w.Records == 1:
		w.First, w.begins = r.Seq, head{r.Seq - 1, r.Prev}
		if r.Seq != place {
			w.note(place, "the first record is not the one that its file is named for")
		}
	case r.Seq != place || r.Prev != w.prev:
		w.note(place, "the record does not follow the one before")
	}
	switch r.Kind {
	case KindPruned:
		if r.Detail[detailSeq] == strconv.FormatUint(w.begins.Seq, 10) && r.Detail[detailHash] == w.begins.Hash {
			w.begins = head{0, noHash}
		}
	case KindCut:
		w.note(place, "the service found at its start that the end of the log had been cut off or changed")
	}
	w.prev = hashOf(line)
	return nil
}

func (w *walk) note(seq uint64, problem string) {
	if w.Problem == "" {
		w.Problem, w.BadSeq = problem, seq
	}
}

// finish compares the end of the chain with what is known of it.
func (w *walk) finish(last, kept head) {
	w.Head = w.prev
	switch {
	case w.begins != head{0, noHash}:
		w.note(w.First, "records before the first are missing, and no record says that they were removed to make room")
	case (head{w.Last, w.prev}) != last:
		w.note(w.Last, "the end of the log is not what was written last")
	case kept != last:
		w.note(w.Last, "the head beside the log is not that of the last record")
	}
	w.OK = w.Problem == ""
}
