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
		"another language":     {1, "de", "UTC"},
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

// ours begins every line that may stand in the first column.
func ours(line string) bool {
	for _, prefix := range []string{
		"Request from ", "This is marked as high value.", "Reported by ", "Signed data, SHA-256: ",
		"Server: https://", "Sent: ", "Expires: ",
	} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}

// checkRecord fails unless text that is not ours stays behind two spaces and
// our lines stand there once and in order.
func checkRecord(tb testing.TB, rec protocol.Record) {
	tb.Helper()
	var first []string
	for _, line := range rec {
		if strings.ContainsAny(line, "\r\n\x00\x1b") {
			tb.Errorf("%q holds a control character", line)
		}
		if !strings.HasPrefix(line, "  ") {
			first = append(first, line)
		}
	}
	for _, line := range first {
		if !ours(line) {
			tb.Errorf("%q stands in the first column", line)
		}
	}
	if n := len(first); n < 4 || !strings.HasPrefix(first[0], "Request from ") ||
		!strings.HasPrefix(first[n-3], "Server: ") || !strings.HasPrefix(first[n-2], "Sent: ") || !strings.HasPrefix(first[n-1], "Expires: ") {
		tb.Errorf("our lines are %q", first)
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
		checkRecord(t, must(protocol.Display(r, 1, "en", "UTC")))
	}
}
