// Package text says what we say to people in their language.
//
// Messages are looked up by their English text in a catalog of
// golang.org/x/text. What others wrote, such as a relying party's name or the
// display record, goes in as an argument and comes out as it is; the record's
// own words are the protocol's and not from here.
package text

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/message/catalog"
)

// Printer speaks one language. The zero Printer speaks English.
type Printer struct {
	language string
	printer  *message.Printer
}

// In makes a Printer for a language, English where it is none of Languages.
func In(lang string) Printer {
	if !slices.Contains(Languages(), lang) {
		lang = "en"
	}
	return Printer{lang, message.NewPrinter(language.MustParse(lang), message.Catalog(messages()))}
}

// Language is the one that is spoken, as a tag such as "nl".
func (p Printer) Language() string {
	if p.language == "" {
		return "en"
	}
	return p.language
}

// T says the message of an English format.
func (p Printer) T(format string, args ...any) string {
	if p.printer == nil {
		return In("en").T(format, args...)
	}
	return p.printer.Sprintf(format, args...)
}

// Languages are those of the catalog.
func Languages() []string { return []string{"en", "nl", "fr", "de"} }

// Preferred is the user's language as the environment says it, by the rules of
// gettext: LANGUAGE holds wishes, but none where the locale is C.
func Preferred() string {
	locale := ""
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if locale = os.Getenv(name); locale != "" {
			break
		}
	}
	if base, _, _ := strings.Cut(locale, "."); base == "" || base == "C" || base == "POSIX" {
		return "en"
	}
	for _, wish := range append(strings.Split(os.Getenv("LANGUAGE"), ":"), locale) {
		tag, _, _ := strings.Cut(strings.ToLower(wish), "_")
		tag, _, _ = strings.Cut(tag, ".")
		if slices.Contains(Languages(), tag) {
			return tag
		}
	}
	return "en"
}

// messages is the catalog.
func messages() catalog.Catalog {
	b := catalog.NewBuilder(catalog.Fallback(language.English))
	for lang, table := range map[string]map[string]string{"nl": dutch(), "fr": french(), "de": german()} {
		for key, msg := range table {
			// It fails for a message that is no format, which a test would find.
			_ = b.SetString(language.MustParse(lang), key, msg)
		}
	}
	return b
}
