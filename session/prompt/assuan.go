package prompt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"countersign/internal/secret"
)

// lineLimit is the longest line of the Assuan protocol, in bytes, without its
// end.
const lineLimit = 1000

// Codes of libgpg-error that pinentry answers with: the low 16 bits of the
// number after ERR. The rest names the component that failed.
const (
	gpgTimeout        = 62
	gpgCancelled      = 99
	gpgNotConfirmed   = 114
	gpgFullyCancelled = 198
	gpgCodeMask       = 0xffff
)

// errAssuan is what every breach of the protocol by the other side wraps.
var errAssuan = errors.New("not the Assuan protocol")

// gpgError is an ERR line.
type gpgError struct {
	code uint32
	text string
}

func (e *gpgError) Error() string { return fmt.Sprintf("pinentry: %s (%d)", e.text, e.code) }

// noAnswer reports whether the person closed the window or let it time out.
func (e *gpgError) noAnswer() bool {
	switch e.code & gpgCodeMask {
	case gpgTimeout, gpgCancelled, gpgFullyCancelled:
		return true
	}
	return false
}

func (e *gpgError) notConfirmed() bool { return e.code&gpgCodeMask == gpgNotConfirmed }

type lineKind int

const (
	lineOK lineKind = iota + 1
	lineErr
	lineData
	lineStatus
	lineComment
)

// response is one line the server said. Data of a data line is decoded and
// secret until shown otherwise.
type response struct {
	kind lineKind
	code uint32
	text string
	data []byte
}

// parseResponse reads one line, without its end. A data line is decoded in
// place, so that no copy of a PIN is made: the result shares line's bytes.
func parseResponse(line []byte) (response, error) {
	if len(line) > lineLimit {
		return response{}, fmt.Errorf("%w: a line of %d bytes", errAssuan, len(line))
	}
	word, rest, spaced := bytes.Cut(line, []byte(" "))
	switch string(word) {
	case "OK":
		return response{kind: lineOK, text: printable(rest)}, nil
	case "ERR":
		return parseErr(rest)
	case "D":
		if !spaced {
			return response{}, fmt.Errorf("%w: D without data", errAssuan)
		}
		data, err := unescape(rest)
		return response{kind: lineData, data: data}, err
	case "S":
		return response{kind: lineStatus, text: printable(rest)}, nil
	}
	if len(line) == 0 || line[0] == '#' {
		return response{kind: lineComment}, nil
	}
	// The line is not quoted: whatever it is, it may hold what was typed.
	return response{}, fmt.Errorf("%w: an unknown response", errAssuan)
}

func parseErr(rest []byte) (response, error) {
	num, text, _ := strings.Cut(string(rest), " ")
	code, err := strconv.ParseUint(num, 10, 32)
	if err != nil {
		return response{}, fmt.Errorf("%w: ERR without a number", errAssuan)
	}
	return response{kind: lineErr, code: uint32(code), text: printable([]byte(text))}, nil
}

// unescape decodes %XX in place and returns the shorter slice.
func unescape(b []byte) ([]byte, error) {
	n := 0
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '%' {
			if i+2 >= len(b) || unhex(b[i+1]) < 0 || unhex(b[i+2]) < 0 {
				return nil, fmt.Errorf("%w: a broken escape", errAssuan)
			}
			c = byte(unhex(b[i+1])<<4 | unhex(b[i+2]))
			i += 2
		}
		b[n] = c
		n++
	}
	clear(b[n:])
	return b[:n], nil
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// escape makes a text fit to be an argument of a command. Servers skip the
// spaces before an argument; where a page begins with relying-party text, they
// are what keeps it out of the first column.
func escape(s string) string {
	s = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
	if rest, ok := strings.CutPrefix(s, " "); ok {
		return "%20" + rest
	}
	return s
}

// assuan is a client of one server on a pair of pipes.
type assuan struct {
	w   io.Writer
	r   io.Reader
	buf []byte // what was read and not yet used
	// closed says that the window was closed by its frame; some flavors
	// report that as a click on a button.
	closed bool
}

// newAssuan reads the server's greeting.
func newAssuan(w io.Writer, r io.Reader) (*assuan, error) {
	a := &assuan{w: w, r: r, buf: make([]byte, 0, lineLimit+2)}
	_, err := a.finish()
	return a, err
}

// do sends a command and returns the data of the answer, which is the
// caller's to wipe. A refusal is a *gpgError.
func (a *assuan) do(command, arg string) (secret.Value, error) {
	line := command
	if arg != "" {
		line += " " + escape(arg)
	}
	if len(line) > lineLimit {
		return secret.Value{}, fmt.Errorf("%w: %s is over %d bytes", errAssuan, command, lineLimit)
	}
	a.closed = false
	if _, err := io.WriteString(a.w, line+"\n"); err != nil {
		return secret.Value{}, fmt.Errorf("pinentry: %w", err)
	}
	return a.finish()
}

// finish reads until OK or ERR.
func (a *assuan) finish() (secret.Value, error) {
	// Room for what a PIN can be at most: appending never moves it, which
	// would leave a copy behind.
	data := make([]byte, 0, 2*lineLimit)
	for {
		done, err := a.next(&data)
		if err != nil {
			clear(data[:cap(data)])
			return secret.Value{}, err
		}
		if done {
			return secret.New(data), nil
		}
	}
}

// next reads one line, adds its data to data, and reports whether it was OK.
func (a *assuan) next(data *[]byte) (bool, error) {
	line, err := a.line()
	if err != nil {
		return false, err
	}
	defer clear(line)
	r, err := parseResponse(line)
	if err != nil {
		return false, fmt.Errorf("pinentry: %w", err)
	}
	switch r.kind {
	case lineErr:
		return false, &gpgError{code: r.code, text: r.text}
	case lineData:
		if len(*data)+len(r.data) > cap(*data) {
			return false, fmt.Errorf("pinentry: %w: too much data", errAssuan)
		}
		*data = append(*data, r.data...)
	case lineStatus:
		a.closed = a.closed || r.text == "BUTTON_INFO close"
	case lineOK, lineComment:
	}
	return r.kind == lineOK, nil
}

// line returns the next line without its end. It is the caller's own copy;
// the buffer keeps none.
func (a *assuan) line() ([]byte, error) {
	for {
		if i := bytes.IndexByte(a.buf, '\n'); i >= 0 {
			line := bytes.Clone(a.buf[:i])
			n := copy(a.buf, a.buf[i+1:])
			clear(a.buf[n:])
			a.buf = a.buf[:n]
			return line, nil
		}
		if len(a.buf) == cap(a.buf) {
			clear(a.buf)
			return nil, fmt.Errorf("pinentry: %w: an endless line", errAssuan)
		}
		n, err := a.r.Read(a.buf[len(a.buf):cap(a.buf)])
		a.buf = a.buf[:len(a.buf)+n]
		if n == 0 && err != nil {
			clear(a.buf)
			return nil, fmt.Errorf("pinentry: %w", err)
		}
	}
}
