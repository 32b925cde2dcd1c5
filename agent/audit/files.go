package audit

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	segmentPrefix = "log-"
	segmentSuffix = ".jsonl"
	headFile      = "head"
	tornPrefix    = "torn-"
)

// noHash is the Prev of the first record of all: 32 zero bytes.
var noHash = base64.RawURLEncoding.EncodeToString(make([]byte, 32)) //nolint:gochecknoglobals // a constant in all but name

func segmentName(first uint64) string {
	return fmt.Sprintf("%s%020d%s", segmentPrefix, first, segmentSuffix)
}

// list finds the segments of a directory, oldest first.
func list(dir string) ([]segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	var out []segment
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), segmentPrefix)
		digits, ok2 := strings.CutSuffix(digits, segmentSuffix)
		first, err := strconv.ParseUint(digits, 10, 64)
		if !ok || !ok2 || err != nil || segmentName(first) != e.Name() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
		out = append(out, segment{filepath.Join(dir, e.Name()), first, info.Size()})
	}
	slices.SortFunc(out, func(a, b segment) int { return strings.Compare(a.path, b.path) })
	return out, nil
}

// lines calls f for each line of a segment with its end. The last may lack it.
func (s segment) lines(f func(line []byte) error) error {
	file, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer file.Close()
	r := bufio.NewReaderSize(io.LimitReader(file, s.size), maxLine)
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			if err := f(line); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull): // that was a piece of a line too long
			return err
		}
	}
}

// end is the last line of a segment, whatever it is. Where it is no record the
// seq is that of its place.
func (s segment) end() (h head, lines int, err error) {
	err = s.lines(func(line []byte) error {
		h = head{s.first + uint64(lines), hashOf(line)}
		lines++
		return nil
	})
	if err != nil {
		return h, 0, fmt.Errorf("audit: %w", err)
	}
	return h, lines, nil
}

// cutTorn moves what stands behind the last line's end into a file of its own,
// and returns that file's name, or "" where there is nothing.
func (s *segment) cutTorn(dir string) (name string, err error) {
	data, err := os.ReadFile(s.path)
	if err != nil {
		return "", fmt.Errorf("audit: %w", err)
	}
	whole := bytes.LastIndexByte(data, '\n') + 1
	if whole == len(data) {
		return "", nil
	}
	name = fmt.Sprintf("%s%d-%d", tornPrefix, s.first, whole)
	err = os.WriteFile(filepath.Join(dir, name), data[whole:], 0o600)
	if err == nil {
		err = os.Truncate(s.path, int64(whole))
	}
	if err != nil {
		return "", fmt.Errorf("audit: %w", err)
	}
	s.size = int64(whole)
	return name, nil
}

// syncPath makes a file or a directory durable, whoever wrote it.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
