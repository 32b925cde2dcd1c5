package audit

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Kinds of the log's own records.
const (
	// KindBegan is the first record of all.
	KindBegan = "log.began"
	// KindPruned names the last record of what was removed to make room.
	KindPruned = "log.pruned"
	// KindMended says that a last line was half written, and where it is now.
	KindMended = "log.mended"
	// KindCut says that the end of the log is not what the head says. It does not
	// come of a crash.
	KindCut = "log.cut"
)

// Event is what happened. Members that do not apply are empty.
type Event struct {
	// Kind is a stable word, e.g. "decision.made".
	Kind string `json:"kind"`
	// UID is whose affair it is; nil where it is the service's own.
	UID     *uint32 `json:"uid,omitempty"`
	Profile string  `json:"profile,omitempty"`
	// Request is the transaction's id, Client the relying party's.
	Request string `json:"request,omitempty"`
	Client  string `json:"client,omitempty"`
	// Detail holds stable words, numbers and hashes.
	Detail map[string]string `json:"detail,omitempty"`
}

// Record is an event with its place in the chain.
type Record struct {
	// Seq counts from 1, without gaps.
	Seq uint64    `json:"seq"`
	At  time.Time `json:"at"`
	// BootMS is CLOCK_BOOTTIME in milliseconds.
	BootMS int64 `json:"boot_ms"`
	Event
	// Prev is the base64url SHA-256 of the line before with its end, or 32 zero
	// bytes.
	Prev string `json:"prev"`
}

// maxLine bounds a line in bytes.
const maxLine = 16 << 10

func (r Record) encode() ([]byte, error) {
	line, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if len(line) >= maxLine {
		return nil, fmt.Errorf("audit: a record of %d bytes is too long", len(line))
	}
	return append(line, '\n'), nil
}

// parse reads a line as encode writes it, and nothing else: a line that says
// the same in other bytes was not written here.
func parse(line []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, fmt.Errorf("not a record: %w", err)
	}
	again, err := r.encode()
	if err != nil || string(again) != string(line) {
		return Record{}, errors.New("not a record as it is written here")
	}
	return r, nil
}

func hashOf(line []byte) string {
	sum := sha256.Sum256(line)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

const (
	detailSeq  = "seq"
	detailHash = "sha256"
	detailFile = "file"
)
