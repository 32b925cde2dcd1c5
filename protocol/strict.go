package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxDepth bounds the nesting of a message; ours need three levels.
const maxDepth = 8

// CheckText refuses a string that could show one thing and mean another:
// not UTF-8, not in normalization form C, over limit bytes, or holding a
// control, format or line-separating character (Cc, Cf, Zl, Zp), one that shows
// nothing, marks in piles, or U+FFFD, which stands for something already lost.
// It never repairs.
func CheckText(name, s string, limit int) error {
	switch {
	case len(s) > limit:
		return errorf(CodeBadText, "%s is over %d bytes", name, limit)
	case !utf8.ValidString(s):
		return errorf(CodeBadText, "%s is not UTF-8", name)
	case !norm.NFC.IsNormalString(s):
		return errorf(CodeBadText, "%s is not in Unicode normalization form C", name)
	}
	return checkShows(name, s)
}

// DecodeStrict reads exactly one JSON document into v: every member known,
// spelled exactly, given once; no null; every string clean by CheckText. It
// returns *Error.
func DecodeStrict(data []byte, v any) error {
	if len(data) > MaxMessage {
		return errorf(CodeTooLarge, "the message is over %d bytes", MaxMessage)
	}
	if !utf8.Valid(data) {
		return errorf(CodeBadText, "the message is not UTF-8")
	}
	if err := checkDocument(data, cleanText); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		if e, ok := errors.AsType[*Error](err); ok {
			return e
		}
		return errorf(CodeBadMessage, "the message has an unknown member or one of the wrong kind")
	}
	return nil
}

// textCheck judges a string of a document.
type textCheck func(string) error

func cleanText(s string) error { return CheckText("a string", s, MaxMessage) }

// checkDocument walks one whole document and demands that nothing follows.
func checkDocument(data []byte, text textCheck) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := text.checkValue(dec, 0); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errorf(CodeBadMessage, "something follows the JSON document")
	}
	return nil
}

func (text textCheck) checkValue(dec *json.Decoder, depth int) error {
	tok, err := dec.Token()
	if err != nil {
		return errorf(CodeBadMessage, "the message is not JSON")
	}
	switch tok := tok.(type) {
	case nil:
		return errorf(CodeBadMessage, "the message holds a null")
	case string:
		return text(tok)
	case json.Delim:
		if depth == maxDepth {
			return errorf(CodeBadMessage, "the message is nested too deep")
		}
		return text.checkContainer(dec, tok, depth+1)
	}
	return nil
}

func (text textCheck) checkContainer(dec *json.Decoder, open json.Delim, depth int) error {
	seen := map[string]bool{}
	for dec.More() {
		if open == '{' {
			if err := checkName(dec, seen); err != nil {
				return err
			}
		}
		if err := text.checkValue(dec, depth); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return errorf(CodeBadMessage, "the message is not JSON")
	}
	return nil
}

// checkName takes a member's name. All names of the protocol are lower case,
// so the decoder's indifference to case cannot let a second spelling in.
func checkName(dec *json.Decoder, seen map[string]bool) error {
	tok, err := dec.Token()
	name, ok := tok.(string)
	if err != nil || !ok {
		return errorf(CodeBadMessage, "the message is not JSON")
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return errorf(CodeBadMessage, "the message has an unknown member")
		}
	}
	if seen[name] {
		return errorf(CodeBadMessage, "the message gives a member twice")
	}
	seen[name] = true
	return nil
}
