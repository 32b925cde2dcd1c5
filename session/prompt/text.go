package prompt

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"countersign/ipc"
)

// hang is put before the rest of a line that was broken. The text of a relying
// party stands behind two spaces; no part of it may begin in the first column,
// where it could pass for a line of ours.
const hang = "    "

// check refuses a record that no conforming service sends: one with characters
// that could move the cursor, hide or turn text. Nothing is stripped, since
// what is shown is what is signed.
func check(d ipc.Display) error {
	for _, line := range append([]string{d.Account, d.Client.Name}, d.Lines...) {
		if !utf8.ValidString(line) || strings.ContainsFunc(line, unshowable) {
			return fmt.Errorf("request %s holds characters that must not be shown", printable([]byte(d.ID)))
		}
	}
	if len(d.Lines) == 0 {
		return fmt.Errorf("request %s has nothing to show", printable([]byte(d.ID)))
	}
	return nil
}

// unshowable is Cc, Cf, the two separators that act as line ends, and the
// fillers and selectors that show nothing.
func unshowable(r rune) bool {
	return unicode.In(
		r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp,
		unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector,
	) || slices.Contains([]rune{0x2800, 0x13441, 0x13442, 0x16FE4, 0x1D159}, r)
}

// printable makes a text of unknown origin safe to show and to log.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if unshowable(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(string(b), "\uFFFD"))
}

// Lines writes the display record line by line. Lines wider than width columns
// are continued, indented, on the next; with width 0 every line is written as
// it is. A record with control or format characters is refused unwritten.
func Lines(w io.Writer, d ipc.Display, width int) error {
	if err := check(d); err != nil {
		return err
	}
	for _, line := range d.Lines {
		for _, part := range wrap(line, width, cells) {
			if _, err := fmt.Fprintln(w, part); err != nil {
				return fmt.Errorf("showing the request: %w", err)
			}
		}
	}
	return nil
}

// measure says how much room a character takes.
type measure func(rune) int

// wrap breaks a line into parts of at most width, at spaces where there are
// some. Joined again without the indents, they are the line.
func wrap(line string, width int, m measure) []string {
	if width < 4*len(hang) {
		return []string{line}
	}
	var parts []string
	for indent := ""; ; indent = hang {
		n := fit(line, width-len(indent), m)
		parts = append(parts, indent+line[:n])
		line = line[n:]
		if line == "" {
			return parts
		}
	}
}

// fit returns how many bytes of s fit in width, at least one character,
// preferring to end behind a space in the second half.
func fit(s string, width int, m measure) int {
	used, space := 0, 0
	for i, r := range s {
		used += m(r)
		switch {
		case used > width && space > i/2:
			return space
		case used > width && i > 0:
			return i
		}
		if r == ' ' {
			space = i + 1
		}
	}
	return len(s)
}

// cells measures for terminals, on the wide side: from Hangul Jamo on, a
// character may take two cells.
func cells(r rune) int {
	if r >= 0x1100 {
		return 2
	}
	return 1
}

// ems measures for the proportional fonts of windows, on the wide side: a line
// that the window itself had to break would go on in the first column. One is
// the width of a wide small letter.
func ems(r rune) int {
	switch {
	case strings.ContainsRune("abcdefghijklnopqrstuvxyz0123456789 .,:;-+/'!|()[]{}*\"?", r):
		return 1
	case r >= 0xFB50 && r <= 0xFDFF: // whole words in one character
		return 16
	case r == 0x2E3A || r == 0x2E3B || r >= 0x12000 && r <= 0x1254F: // long dashes, cuneiform
		return 8
	case r >= 0x10000:
		return 4
	case unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana):
		return 2
	case r >= 0x0900 && r < 0x1E00 || r >= 0xA800: // scripts of South and East Asia, with letters as wide as words
		return 4
	}
	return 2
}

// pages breaks a record into pages of at most height lines of that width and
// size bytes as escaped for one Assuan line.
// Spaces that indent are kept from being dropped.
func pages(lines []string, width, height, size int, m measure) []string {
	var out []string
	var page strings.Builder
	rows := 0
	for _, line := range lines {
		for _, part := range wrap(line, width, m) {
			part = hold(part)
			if rows == height || page.Len() > 0 && len(escape(page.String()))+len(escape("\n"+part)) > size {
				out = append(out, page.String())
				page.Reset()
				rows = 0
			}
			if rows > 0 {
				page.WriteString("\n")
			}
			page.WriteString(part)
			rows++
		}
	}
	return append(out, page.String())
}

// hold makes the spaces before a line no-break spaces, which look the same:
// pinentry-curses drops plain ones.
func hold(line string) string {
	rest := strings.TrimLeft(line, " ")
	return strings.Repeat("\u00a0", len(line)-len(rest)) + rest
}

// short cuts a text that is not part of the record to n characters.
func short(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
