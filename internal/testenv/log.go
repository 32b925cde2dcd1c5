package testenv

import (
	"bytes"
	"strings"
	"sync"
)

// Log keeps what several goroutines write. Its zero value is empty.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is all that was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Has reports whether a text is in it.
func (l *Log) Has(text string) bool { return strings.Contains(l.String(), text) }
