// Package qr reads the one-time code out of a picture.
//
// A picture comes from anybody: a web page, a mail, whatever is on the screen.
// What takes it apart is therefore a process of its own, which holds no key,
// reaches no socket, file or other process, and has little memory and time. It
// gives these up before it looks at the first byte, and where the kernel does
// not let it, it refuses the picture. Whoever takes that process over has won
// the choice of one code, which a picture chooses anyway.
//
// The caller runs Serve when its own program is started as Subcommand, and
// calls Read. Only a code, or a link that carries one, is ever returned; a
// picture with two different codes is refused, because nobody could say which
// of them the person meant.
package qr

import (
	"errors"
	"strings"
)

// What a picture may be at most.
const (
	MaxBytes  = 20 << 20
	MaxPixels = 8192 // in each direction
)

// Why a picture gives no code.
var (
	ErrUnreadable = errors.New("not a PNG or JPEG picture")
	ErrTooLarge   = errors.New("the picture is too large")
	ErrNone       = errors.New("no QR code of a one-time code is in the picture")
	ErrSeveral    = errors.New("several different codes are in the picture")
	ErrTime       = errors.New("the picture took too long to read")
	ErrConfine    = errors.New("this system cannot confine what reads pictures")
	ErrHelper     = errors.New("the process that reads pictures failed")
)

// What a code looks like. The service judges it; this is what keeps every
// other QR code of a screen out.
const (
	linkPrefix = "countersign:otp?"
	maxLink    = 4096
	alphabet   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	minCode    = 26 // 128 bits
	maxCode    = 128
)

// isCode reports whether a text is a code or a link with one.
func isCode(text string) bool {
	if strings.HasPrefix(text, linkPrefix) {
		return len(text) <= maxLink && printableASCII(text)
	}
	return len(text) >= minCode && len(text) <= maxCode && strings.Trim(text, alphabet) == ""
}

func printableASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
