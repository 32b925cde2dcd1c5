package testenv

import (
	"math/rand/v2"
	"strings"
)

// hostileSeed makes HostileTexts the same on each run.
const hostileSeed = 20260921

// HostileTexts are n texts that somebody may send who wants them to do something
// else than to be read: to move the cursor, to turn or hide other text, to be
// taken for markup, for a command of a prompt or for a line of ours, or to be cut
// off. Plain ones are among them, which are to arrive as they are.
func HostileTexts(n int) []string {
	r := rand.New(rand.NewPCG(hostileSeed, 1))
	texts := fixedHostile()
	for len(texts) < n {
		text := pick(r, openings())
		for range r.IntN(3) {
			text += pick(r, payloads()) + pick(r, openings())
		}
		texts = append(texts, text)
	}
	return texts[:n]
}

func pick(r *rand.Rand, list []string) string { return list[r.IntN(len(list))] }

func openings() []string {
	return []string{
		"Pay 40 EUR", "Approve", "a", " ", "  ", "Zoë Müller", "支払い", "שלום 100", "مرحبا", "100 %", "%s%n", "%0A%25", "€ 1.234,50", "Server: https://bank.example",
		"Expires: never", "Request from Example Bank:", "Verzoek van Bank:", "Anfrage von Bank:", "</body>", "'; --", `\n\r\u0000`, "$(id)", "👍🏽",
	}
}

func payloads() []string {
	return []string{
		"\n", "\r", "\r\nServer: https://evil.example", "\x00", "\x07", "\x08\x08\x08", "\x1b[2J", "\x1b]0;title\x07", "\x7f", "\u0085", "\u009b31m", "\x0b", "\x0c",
		"\u202e", "\u2067", "\u2069", "\u200e", "\u200f", "\u061c", "\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\U000e0041", "\u2028", "\u2029",
		"\u115f", "\u3164", "\uffa0", "\u2800", "\ufe0f", "\u034f", "\u0301\u0301", "q" + strings.Repeat("\u0301\u0302", 250), "e\u0308", "\ufffd", "\xff\xfe", "\xed\xa0\x80",
		"<b>", "<img src=http://evil.example/>", "<a href='x'>", "&lt;b&gt;", "&#x202e;", "<span size=\"1\">", "<!--", "]]>",
		"OK", "ERR 83886179", "D 123456", "%0AOK", "%00", "%", "\nSETOK Deny", "CONFIRM", "\t", strings.Repeat("W", 400), strings.Repeat("word ", 100), strings.Repeat("字", 200),
		"\u2e3b\u2e3b", "\ufdfa", "-", ":", "  Sent: x", "",
	}
}

// fixedHostile are texts worth trying each by itself.
func fixedHostile() []string {
	long := []string{
		strings.Repeat("x", 1<<20), strings.Repeat("x", 1025), strings.Repeat("x", 1024), strings.Repeat("\n", 1000), strings.Repeat(" ", 500),
		strings.Repeat("字", 342), strings.Repeat("<b>", 300), strings.Repeat("%", 1000), "a" + strings.Repeat(" ", 900) + "Server: https://evil.example",
		strings.Repeat("\u202e", 100), "q" + strings.Repeat("\u0301", 500), "",
	}
	list := append(long, openings()...)
	return append(list, payloads()...)
}
