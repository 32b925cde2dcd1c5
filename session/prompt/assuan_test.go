package prompt

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func FuzzParseResponse(f *testing.F) {
	for _, s := range []string{
		"OK Pleased to meet you", "OK", "ERR 83886179 Operation cancelled <Pinentry>", "D 12%2534", "D ", "D %", "D %4",
		"D %zz", "S BUTTON_INFO close", "# comment", "", "INQUIRE QUALITY", "ERR", "ERR x", "OKAY", "D", strings.Repeat("D", 1001),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		before := bytes.Clone(line)
		r, err := parseResponse(line)
		if err != nil {
			if !errors.Is(err, errAssuan) {
				t.Errorf("error %v", err)
			}
			return
		}
		if len(before) > lineLimit {
			t.Error("too long and accepted")
		}
		if r.kind == lineData && len(r.data) > len(before)-2 {
			t.Error("decoding made it longer")
		}
		if strings.ContainsFunc(r.text, unshowable) {
			t.Errorf("text %q", r.text)
		}
		if r.kind == lineData && !bytes.ContainsAny(r.data, "\x00") {
			again, err := unescape([]byte(escape(string(r.data))))
			if err != nil || !bytes.Equal(again, r.data) {
				t.Errorf("escape and unescape differ for %q", r.data)
			}
		}
	})
}

func TestTalk(t *testing.T) {
	for _, tt := range []struct{ name, server, want, wantErr string }{
		{"data", "OK hi\nS PASSPHRASE\n# x\nD 12%25\nD 34\nOK\n", "12%34", ""},
		{"refusal", "OK hi\nERR 83886194 Not confirmed\n", "", "Not confirmed"},
		{"no greeting", "ERR 1 no\n", "", "no (1)"},
		{"cut off", "OK hi\nD 12", "", "EOF"},
		{"endless", "OK hi\nD " + strings.Repeat("1", 2000), "", "endless"},
		{"too much", "OK hi\n" + strings.Repeat("D "+strings.Repeat("1", 900)+"\n", 3) + "OK\n", "", "too much"},
		{"unknown", "OK hi\nHELLO 123456\n", "", "unknown response"},
		{"long line", "OK hi\nD " + strings.Repeat("1", 999) + "\nOK\n", "", "1001 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, err := func() (string, error) {
				// One byte at a time is the hardest way to be read.
				a, err := newAssuan(io.Discard, oneByte{strings.NewReader(tt.server)})
				if err != nil {
					return "", err
				}
				v, err := a.do("GETPIN", "")
				return string(v.Reveal()), err
			}()
			if tt.wantErr == "" && err != nil || tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) {
				t.Errorf("error %v, want %q", err, tt.wantErr)
			}
			if err != nil && strings.Contains(err.Error(), "123456") {
				t.Error("the error quotes what was typed")
			}
			if v != tt.want {
				t.Errorf("got %q, want %q", v, tt.want)
			}
		})
	}
}

type oneByte struct{ r io.Reader }

func (o oneByte) Read(b []byte) (int, error) { return o.r.Read(b[:1]) }

func TestNothingIsLeftInTheBuffer(t *testing.T) {
	a, err := newAssuan(io.Discard, strings.NewReader("OK hi\nD 123456\nOK\n"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := a.do("GETPIN", "")
	if err != nil || string(v.Reveal()) != "123456" {
		t.Fatalf("got %d bytes, %v", len(v.Reveal()), err)
	}
	if bytes.Contains(a.buf[:cap(a.buf)], []byte("123456")) {
		t.Error("the PIN stays in the buffer")
	}
}

func TestLeadingSpacesSurvive(t *testing.T) {
	var sent bytes.Buffer
	a, err := newAssuan(&sent, strings.NewReader("OK hi\nOK\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.do("SETDESC", "  100%\n  x"); err != nil || sent.String() != "SETDESC %20 100%25%0A  x\n" {
		t.Errorf("sent %q, %v", sent.String(), err)
	}
}

func TestCommandsKeepTheLimit(t *testing.T) {
	var sent bytes.Buffer
	a := &assuan{w: &sent, r: strings.NewReader(""), buf: make([]byte, 0, 10)}
	if _, err := a.do("SETDESC", strings.Repeat("x", 1000)); !errors.Is(err, errAssuan) || sent.Len() > 0 {
		t.Errorf("error %v, %d bytes sent", err, sent.Len())
	}
}

// TestAClosedWindowIsNoButton: some flavors report the close button of the
// frame as if Deny had been pressed, and say so in a status line before.
func TestAClosedWindowIsNoButton(t *testing.T) {
	a, err := newAssuan(io.Discard, strings.NewReader("OK hi\nS BUTTON_INFO close\nERR 83886194 Not confirmed\nERR 83886194 Not confirmed\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.do("CONFIRM", ""); err == nil || !a.closed {
		t.Errorf("closed %v, %v", a.closed, err)
	}
	if _, err := a.do("CONFIRM", ""); err == nil || a.closed {
		t.Errorf("closed %v, %v", a.closed, err)
	}
}
