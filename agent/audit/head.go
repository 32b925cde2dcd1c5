package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// head names a record: the last one. It is kept in a file of its own, so that
// a tail cut off is missed.
type head struct {
	Seq  uint64
	Hash string
}

// headSize is that of the file, always: it is written over in place, which
// leaves the old head or the new one, and never an empty file.
const headSize = 20 + 1 + 43 + 1

func (h head) String() string { return fmt.Sprintf("%020d %s\n", h.Seq, h.Hash) }

func (h head) detail() map[string]string {
	return map[string]string{detailSeq: strconv.FormatUint(h.Seq, 10), detailHash: h.Hash}
}

// openHead opens the file, and says in known what it holds: nothing where it is
// no head.
func openHead(dir string) (f *os.File, known head, err error) {
	if f, err = os.OpenFile(filepath.Join(dir, headFile), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, head{}, fmt.Errorf("audit: %w", err)
	}
	known, _ = readHead(f)
	return f, known, nil
}

var errNoHead = errors.New("it is no head")

func readHead(f *os.File) (h head, err error) {
	text := make([]byte, headSize+1)
	n, _ := f.ReadAt(text, 0)
	if n != headSize {
		return head{}, errNoHead
	}
	if h.Seq, err = strconv.ParseUint(string(text[:20]), 10, 64); err != nil {
		return head{}, errNoHead
	}
	h.Hash = string(text[21 : headSize-1])
	if h.String() != string(text[:headSize]) {
		return head{}, errNoHead
	}
	return h, nil
}

// save writes the head over the one before. It is not synced: one that is older
// than the log after a power cut is still true of the log.
func (h head) save(f *os.File) error {
	_, err := f.WriteAt([]byte(h.String()), 0)
	return err
}
