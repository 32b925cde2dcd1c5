package protocol

import (
	"slices"
	"unicode"
	"unicode/utf8"
)

// maxMarks is how many marks may stand on one letter, as in Unicode Technical
// Standard 39, section 5.4.
const maxMarks = 4

// checkShows refuses what a person does not see, or sees in the wrong place:
// characters that steer or show nothing, and marks in piles, which reach into
// the lines around.
func checkShows(name, s string) error {
	var last rune
	marks := 0
	for _, r := range s {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) || r == utf8.RuneError || blank(r) {
			return errorf(CodeBadText, "%s holds the character %U, which is refused", name, r)
		}
		if !unicode.In(r, unicode.Mn, unicode.Me) {
			marks = 0
			continue
		}
		if marks++; marks > maxMarks || marks > 1 && r == last {
			return errorf(CodeBadText, "%s has over %d marks on one letter, or the same one twice", name, maxMarks)
		}
		last = r
	}
	return nil
}

// blank reports whether a character that is no space shows nothing. Two texts
// that differ in such alone look the same, and a name of them looks like none.
// Unicode calls most of them default ignorable: fillers of Hangul, variation
// selectors and the like. The others are pictures of nothing.
func blank(r rune) bool {
	return unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) || slices.Contains([]rune{
		0x2800,           // a Braille cell without dots
		0x13441, 0x13442, // blank hieroglyphs
		0x16FE4, // filler of Khitan
		0x1D159, // a note without a head
	}, r)
}
