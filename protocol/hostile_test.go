package protocol_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"countersign/internal/testenv"
	"countersign/protocol"
)

// place is where a relying party puts text: how it gets there, what stands before
// it in the record, and how long it may be.
type place struct {
	put    func(r *protocol.Request, text string)
	before string
	limit  int
}

func places() map[string]place {
	return map[string]place{
		"name":    {func(r *protocol.Request, s string) { r.Client.Name = s }, "Request from ", 128},
		"message": {func(r *protocol.Request, s string) { r.Message = s }, "  ", 1024},
		"label":   {func(r *protocol.Request, s string) { r.Details[0].Label = s }, "  ", 64},
		"value":   {func(r *protocol.Request, s string) { r.Details[0].Value = s }, "  Amount: ", 512},
		"place":   {func(r *protocol.Request, s string) { r.Context.Place = s }, "  Place: ", 512},
	}
}

// mark stands in the claims where the text goes, as bytes that no encoder has
// looked at.
const mark = "here goes the text"

func withText(p place, text string) string {
	r := request()
	r.Details, r.Context = slices.Clone(r.Details), &protocol.Context{IP: "192.0.2.7"}
	p.put(r, mark)
	quoted := `"` + text + `"`
	if utf8.ValidString(text) {
		quoted = mustJSON(text)
	}
	return strings.Replace(mustJSON(r), `"`+mark+`"`, quoted, 1)
}

// steers reports whether a text does anything but show.
func steers(text string) bool {
	return !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool {
		return hidden(r) || r == utf8.RuneError || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) || r == 0x2800
	})
}

// TestHostileTextsAreRefusedOrShownAsTheyAre has a server sign anything.
func TestHostileTextsAreRefusedOrShownAsTheyAre(t *testing.T) {
	t.Parallel()
	key := newTestKey("issuer")
	keys := key.keys(t)
	refused, shown := 0, 0
	all := places()
	others := slices.Sorted(maps.Keys(all))
	for i, text := range testenv.HostileTexts(2000) {
		for _, name := range []string{"message", others[i%len(others)]} {
			p := all[name]
			r, err := protocol.ParseRequest(key.jws(key.header(typRequest), withText(p, text)), keys)
			if err != nil {
				checkRefusal(t, err)
				refused++
				continue
			}
			shown++
			if text == "" {
				continue // a place may be left out
			}
			if steers(text) || len(text) > p.limit {
				t.Errorf("%s: %.80q is accepted", name, text)
			}
			showsWhole(t, r, p.before+text)
		}
	}
	if refused < 1000 || shown < 1000 {
		t.Errorf("%d refused, %d shown: that tries too little", refused, shown)
	}
}

// showsWhole demands that a line of the record holds a text from its beginning,
// and that the record is one in every language.
func showsWhole(t *testing.T, r *protocol.Request, line string) {
	t.Helper()
	for _, language := range protocol.Languages() {
		rec := must(protocol.Display(r, protocol.DisplayVersion, language, "UTC"))
		checkRecord(t, language, rec)
		if language == "en" && !slices.ContainsFunc(rec, func(l string) bool { return strings.HasPrefix(l, line) }) {
			t.Errorf("%.80q is not in %.200q", line, rec)
		}
	}
}

// TestHostileTextsAreNotSigned: the server makes no request with them either.
func TestHostileTextsAreNotSigned(t *testing.T) {
	t.Parallel()
	key := newTestKey("issuer")
	for _, text := range testenv.HostileTexts(2000) {
		r := request()
		r.Message = text
		compact, err := protocol.SignRequest(key, r)
		if (steers(text) || len(text) > 1024) && err == nil {
			t.Errorf("%.80q is signed", text)
		}
		if err != nil {
			continue
		}
		var got protocol.Request
		if err := json.Unmarshal(must(base64.RawURLEncoding.DecodeString(strings.Split(compact, ".")[1])), &got); err != nil || got.Message != text {
			t.Errorf("%.80q became %.80q", text, got.Message)
		}
	}
}
