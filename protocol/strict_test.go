package protocol_test

import (
	"strings"
	"testing"

	"countersign/protocol"
)

func TestCheckText(t *testing.T) {
	for _, good := range []string{
		"", "Zoë", "日本語", "👍🏽", "a\u00a0b", strings.Repeat("é", 32), "\U0010fffd", "ﷺ", "क्ष",
		"שָׁלוֹם", "မြန်မာ", "ཧཱུྃ", "1\u202f234,50\u00a0€", "x\u0338\u0323\u0301\u0302",
	} {
		if err := protocol.CheckText("x", good, 64); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	bad := map[string]string{
		"NUL": "a\x00", "tab": "a\tb", "line feed": "a\nb", "carriage return": "a\rb", "escape": "\x1b[2J",
		"delete": "a\x7f", "C1 next line": "a\u0085b", "C1 CSI": "\u009b31m",
		"soft hyphen": "a\u00adb", "zero width space": "a\u200bb", "zero width joiner": "a\u200db",
		"right-to-left mark": "\u200f", "left-to-right override": "\u202d", "right-to-left override": "\u202e",
		"right-to-left isolate": "\u2067", "pop isolate": "\u2069", "arabic letter mark": "\u061c",
		"word joiner": "a\u2060b", "byte order mark": "\ufeffa", "annotation anchor": "\ufff9", "tag": "\U000e0041",
		"line separator": "a\u2028b", "paragraph separator": "a\u2029b",
		"replacement character": "a\ufffdb", "not UTF-8": "a\xffb", "surrogate in UTF-8": "\xed\xa0\x80",
		"Hangul filler": "\u3164", "Hangul choseong filler": "\u115f", "Hangul jungseong filler": "\u1160", "halfwidth Hangul filler": "\uffa0",
		"Braille blank": "a\u2800b", "grapheme joiner": "a\u034fb", "Khmer inherent vowel": "\u17b4", "variation selector": "a\ufe0fb",
		"Mongolian selector": "\u180b", "ideographic selector": "\u845b\U000e0100", "null notehead": "\U0001d159", "Khitan filler": "\U00016fe4",
		"blank hieroglyph": "\U00013441", "five marks": "x\u0338\u0321\u0323\u0301\u0302", "a mark twice": "x\u0338\u0338",
		"a pile of marks": "q" + strings.Repeat("\u0301\u0302", 14),
		"overlong":        "\xc0\xaf", "decomposed": "Zoe\u0308", "singleton": "\u212b", "over long": strings.Repeat("é", 33),
	}
	for name, s := range bad {
		t.Run(name, func(t *testing.T) { wantCode(t, protocol.CheckText("x", s, 64), protocol.CodeBadText) })
	}
}

func TestDecodeStrict(t *testing.T) {
	type doc struct {
		A string   `json:"a"`
		N int64    `json:"n"`
		L []string `json:"l"`
		C struct {
			A string `json:"a"`
		} `json:"c"`
	}
	for name, tt := range map[string]struct{ in, code string }{
		"plain":                  {`{"a":"x","n":7,"l":["y"],"c":{"a":"z"}}`, ""},
		"white space":            {" {\n\"a\" : \"x\" }\r\n", ""},
		"same name, other depth": {`{"a":"x","c":{"a":"x"}}`, ""},
		"escaped name":           {`{"\u0061":"x"}`, ""},
		"escaped pair":           {`{"a":"\ud83d\udc4d"}`, ""},
		"empty":                  {``, protocol.CodeBadMessage},
		"not JSON":               {`{"a"`, protocol.CodeBadMessage},
		"trailing comma":         {`{"a":"x",}`, protocol.CodeBadMessage},
		"missing comma":          {`{"a":"x" "n":1}`, protocol.CodeBadMessage},
		"comment":                {`{"a":"x"/**/}`, protocol.CodeBadMessage},
		"second document":        {`{"a":"x"}{}`, protocol.CodeBadMessage},
		"trailing bracket":       {`{"a":"x"}]`, protocol.CodeBadMessage},
		"wrong bracket":          {`{"l":["y"}}`, protocol.CodeBadMessage},
		"null":                   {`{"a":null}`, protocol.CodeBadMessage},
		"null document":          {`null`, protocol.CodeBadMessage},
		"other kind of document": {`["a"]`, protocol.CodeBadMessage},
		"unknown member":         {`{"b":"x"}`, protocol.CodeBadMessage},
		"unknown member, deep":   {`{"c":{"b":"x"}}`, protocol.CodeBadMessage},
		"upper case":             {`{"A":"x"}`, protocol.CodeBadMessage},
		"folding letter":         {"{\"\u017f\":\"x\"}", protocol.CodeBadMessage},
		"given twice":            {`{"a":"x","a":"x"}`, protocol.CodeBadMessage},
		"twice, once escaped":    {`{"a":"x","\u0061":"x"}`, protocol.CodeBadMessage},
		"twice, deep":            {`{"c":{"a":"x","a":"y"}}`, protocol.CodeBadMessage},
		"fraction":               {`{"n":1.0}`, protocol.CodeBadMessage},
		"exponent":               {`{"n":1e3}`, protocol.CodeBadMessage},
		"over 64 bits":           {`{"n":9223372036854775808}`, protocol.CodeBadMessage},
		"number as a string":     {`{"n":"1"}`, protocol.CodeBadMessage},
		"string as a number":     {`{"a":1}`, protocol.CodeBadMessage},
		"too deep":               {`{"l":` + strings.Repeat("[", 9) + strings.Repeat("]", 9) + `}`, protocol.CodeBadMessage},
		"very deep":              {strings.Repeat("[", 60000), protocol.CodeBadMessage},
		"lone high surrogate":    {`{"a":"\ud800"}`, protocol.CodeBadText},
		"lone low surrogate":     {`{"a":"\udc00x"}`, protocol.CodeBadText},
		"swapped surrogates":     {`{"a":"\udc4d\ud83d"}`, protocol.CodeBadText},
		"escaped control":        {`{"a":"\u0007"}`, protocol.CodeBadText},
		"escaped line feed":      {`{"a":"x\ny"}`, protocol.CodeBadText},
		"raw control":            {"{\"a\":\"x\ny\"}", protocol.CodeBadMessage},
		"bidi in an element":     {"{\"l\":[\"\u202e\"]}", protocol.CodeBadText},
		"not normalized":         {"{\"a\":\"e\u0301\"}", protocol.CodeBadText},
		"not UTF-8":              {"{\"a\":\"\xff\"}", protocol.CodeBadText},
		"byte order mark":        {"\ufeff{}", protocol.CodeBadMessage},
		"over 64 KiB":            {`{"a":"` + strings.Repeat("x", 64<<10) + `"}`, protocol.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, protocol.DecodeStrict([]byte(tt.in), new(doc)), tt.code) })
	}
}

func TestErrorsRepeatNothing(t *testing.T) {
	for _, in := range []string{`{"sesame":1}`, `{"a":"sesame\u0007"}`, `{"n":"sesame"}`, `{"sesame":1,"sesame":1}`} {
		err := protocol.DecodeStrict([]byte(in), new(struct {
			A string `json:"a"`
			N int    `json:"n"`
		}))
		if err == nil || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %v", in, err)
		}
	}
}
