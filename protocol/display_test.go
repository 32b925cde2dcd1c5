package protocol_test

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	_ "time/tzdata" // the records below must not depend on the machine

	"github.com/google/go-cmp/cmp"

	"countersign/protocol"
)

func TestDisplayGolden(t *testing.T) {
	bare := request()
	bare.Details, bare.Context, bare.HighValue, bare.SigningData = nil, nil, false, ""
	emptyContext := *bare
	emptyContext.Context = &protocol.Context{}
	for name, tt := range map[string]struct {
		r    *protocol.Request
		tz   string
		want protocol.Record
	}{
		"whole": {request(), "Europe/Berlin", protocol.Record{
			"Request from Example Bank:",
			"  Pay 250.00 EUR to Zoë Müller?",
			"  Amount: 250.00 EUR",
			"  To: DE02 1203 0000 0000 2020 51",
			"This is marked as high value.",
			"Reported by Example Bank, not checked:",
			"  IP address: 192.0.2.7",
			"  Place: Lyon, France",
			"  Browser: Firefox on Linux",
			"  Device: Laptop",
			"Signed data, SHA-256: 6d42d69c4d3affdae6c62b2c4b8828cb124cf242176f1cf314b7f980244f6569",
			"Server: https://auth.example",
			"Sent: 2026-09-21 16:13:20 +02:00",
			"Expires: 2026-09-21 16:15:20 +02:00",
		}},
		"bare": {bare, "UTC", protocol.Record{
			"Request from Example Bank:",
			"  Pay 250.00 EUR to Zoë Müller?",
			"Server: https://auth.example",
			"Sent: 2026-09-21 14:13:20 +00:00",
			"Expires: 2026-09-21 14:15:20 +00:00",
		}},
		"empty context": {&emptyContext, "Asia/Kolkata", protocol.Record{
			"Request from Example Bank:",
			"  Pay 250.00 EUR to Zoë Müller?",
			"Server: https://auth.example",
			"Sent: 2026-09-21 19:43:20 +05:30",
			"Expires: 2026-09-21 19:45:20 +05:30",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := protocol.Display(tt.r, 1, "en", tt.tz)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestDisplayAcrossClockChange shows both sides of an hour that comes twice.
func TestDisplayAcrossClockChange(t *testing.T) {
	r := request()
	for at, want := range map[int64]string{
		1792889999: "Sent: 2026-10-25 02:59:59 +02:00", // the last second of summer time
		1792890000: "Sent: 2026-10-25 02:00:00 +01:00",
		1774745999: "Sent: 2026-03-29 01:59:59 +01:00", // the last second of winter time
		1774746000: "Sent: 2026-03-29 03:00:00 +02:00",
	} {
		r.IssuedAt, r.ExpiresAt = at, at+60
		rec := must(protocol.Display(r, 1, "en", "Europe/Berlin"))
		if !slices.Contains(rec, want) {
			t.Errorf("%d: no %q in %q", at, want, rec)
		}
	}
}

func TestDisplayRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		version  int
		lang, tz string
	}{
		"version 0":            {0, "en", "UTC"},
		"a later version":      {2, "en", "UTC"},
		"no language":          {1, "", "UTC"},
		"another language":     {1, "it", "UTC"},
		"a region":             {1, "de-AT", "UTC"},
		"language in capitals": {1, "EN", "UTC"},
		"no zone":              {1, "en", ""},
		"the machine's zone":   {1, "en", "Local"},
		"the machine's file":   {1, "en", "localtime"},
		"the machine's rules":  {1, "en", "posixrules"},
		"with leap seconds":    {1, "en", "right/Europe/Berlin"},
		"a second tree":        {1, "en", "posix/Europe/Berlin"},
		"unknown zone":         {1, "en", "Europe/Atlantis"},
		"an offset":            {1, "en", "+02:00"},
		"a rule":               {1, "en", "CET-1CEST,M3.5.0,M10.5.0/3"},
		"a path":               {1, "en", "/etc/localtime"},
		"a path upwards":       {1, "en", "../zoneinfo/UTC"},
		"a directory":          {1, "en", "Europe"},
		"a table":              {1, "en", "zone.tab"},
	} {
		t.Run(name, func(t *testing.T) {
			rec, err := protocol.Display(request(), tt.version, tt.lang, tt.tz)
			wantCode(t, err, protocol.CodeBadMessage)
			if rec != nil {
				t.Error("refused and yet displayed")
			}
		})
	}
}

func TestRecordBytes(t *testing.T) {
	rec := protocol.Record{"a", "  ü"}
	if got := string(rec.Bytes()); got != "a\n  ü\n" {
		t.Errorf("bytes %q", got)
	}
	sum := sha256.Sum256([]byte("a\n  ü\n"))
	if got := rec.Hash(); got != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Errorf("hash %q", got)
	}
}

// ours begins every line that may stand in the first column, in order.
func ours(language string) []string {
	return map[string][]string{
		"en": {"Request from ", "This is marked as high value.", "This came by a code, not to you alone: ", "Approve only if you started this.", "Reported by ", "Signed data, SHA-256: ", "Server: https://", "Sent: ", "Expires: "},
		"nl": {"Verzoek van ", "Dit is gemarkeerd ", "Dit kwam via een code, ", "Keur dit alleen goed ", "Opgegeven door ", "Ondertekende gegevens, SHA-256: ", "Server: https://", "Verzonden: ", "Verloopt: "},
		"fr": {"Demande de ", "Cette demande est signalée ", "Cette demande est venue par un code, ", "N'approuvez que si ", "Indiqué par ", "Données signées, SHA-256 : ", "Serveur : https://", "Envoyée : ", "Expire : "},
		"de": {"Anfrage von ", "Diese Anfrage ist als hochwertig ", "Diese Anfrage kam über einen Code, ", "Bestätigen Sie nur, ", "Angaben von ", "Signierte Daten, SHA-256: ", "Server: https://", "Gesendet: ", "Läuft ab: "},
	}[language]
}

// checkRecord fails unless text that is not ours stays behind two spaces and
// our lines stand there once and in order.
func checkRecord(tb testing.TB, language string, rec protocol.Record) {
	tb.Helper()
	words := ours(language)
	at := -1
	for i, line := range rec {
		if strings.ContainsAny(line, "\r\n\x00\x1b") {
			tb.Errorf("%q holds a control character", line)
		}
		if strings.HasPrefix(line, "  ") {
			continue
		}
		next := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(line, w) })
		if next <= at || i == 0 && next != 0 {
			tb.Errorf("%q stands in the first column", line)
		}
		at = next
	}
	if n := len(rec); n < 5 || at != len(words)-1 || !strings.HasPrefix(rec[n-3], words[at-2]) || !strings.HasPrefix(rec[n-2], words[at-1]) {
		tb.Errorf("the record ends with %q", rec[max(0, len(rec)-3):])
	}
}

func TestDisplayKeepsTheFirstColumn(t *testing.T) {
	for _, text := range []string{
		"Server: https://evil.example", "Expires: never", "This is marked as high value.", "Sent: x", "-", "\u0338\u0301x",
		"Request from Example Bank:",
	} {
		r := request()
		r.Client.Name, r.Message, r.Details = text, text, []protocol.Detail{{Label: text, Value: text}}
		r.Context = &protocol.Context{IP: text, Place: text, UserAgent: text, Device: text}
		r.SigningData = text
		if err := r.Validate(); err != nil {
			t.Fatal(err)
		}
		for _, language := range protocol.Languages() {
			for _, r.Origin = range []string{"", protocol.OriginLink} {
				checkRecord(t, language, must(protocol.Display(r, 1, language, "UTC")))
			}
		}
	}
}

// TestRecordsAreFrozen holds the bytes of a record with every line of ours, from
// every origin, in every language: evidence that was made with them is verified
// for years. A failure here is a new display_v, and not a new hash.
func TestRecordsAreFrozen(t *testing.T) {
	frozen := map[string]string{
		"en": "9ORbgLzF2Dz2RY9U1qYAnI-K6cEslImFKvUpJC0jcLA",
		"nl": "2VsH5TYrU1N9p8K9vEgmXJyvdd--sqG4SlDYO9VP0yE",
		"fr": "DncLcH1TL8sNCJuBa7_z5rmeRZ3-k5zbQ6tJ2n000uE",
		"de": "XwtoVd4rPaeeZV3fKkzo7puSVRqDiZJ3HzfN02n9HzM",
	}
	for _, language := range protocol.Languages() {
		var all []byte
		for _, origin := range []string{protocol.OriginTyped, protocol.OriginLink, protocol.OriginImage, protocol.OriginScreen} {
			r := request()
			r.Origin = origin
			all = append(all, must(protocol.Display(r, 1, language, "Europe/Berlin")).Bytes()...)
		}
		if got := protocol.Hash(all); got != frozen[language] {
			t.Errorf("%s: %s", language, got)
		}
	}
}

// TestNumbersAreUntouched: what the relying party wrote stands in the record as
// it is, in every language.
func TestNumbersAreUntouched(t *testing.T) {
	r := request()
	r.Message, r.Details = "1,234.50 EUR or 1.234,50 €", []protocol.Detail{{Label: "Amount", Value: "0012"}}
	for _, language := range protocol.Languages() {
		rec := must(protocol.Display(r, 1, language, "UTC"))
		if rec[1] != "  1,234.50 EUR or 1.234,50 €" || rec[2] != "  Amount: 0012" {
			t.Errorf("%s: %q", language, rec[1:3])
		}
	}
}
