package main

import (
	"fmt"
	"html"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
)

// changelogFile is kept by hand: a heading of the second level for each release,
// newest first, and a list of what has changed for those who use it.
const changelogFile = "CHANGELOG.md"

// release is one heading with what stands below it.
type release struct {
	name, version, contact string
	date                   time.Time
	changes                []string
}

// heading is "## 0.4.0 (2026-01-31)", or "## Unreleased" for what comes next.
var heading = regexp.MustCompile(`^## (?:(Unreleased)|([0-9.]+) \((\d{4}-\d\d-\d\d)\))$`)

// changelog writes the changelog of the package that is built: its own entry holds
// what is not released yet, or what was released under its version.
func changelog(out io.Writer, format string, building release) error {
	text, err := os.ReadFile(changelogFile)
	if err != nil {
		return err
	}
	list, err := releases(string(text), building)
	if err != nil {
		return fmt.Errorf("%s: %w", changelogFile, err)
	}
	write := entry(format)
	if write == nil {
		return fmt.Errorf("no changelog format %q", format)
	}
	for _, r := range list {
		write(out, r)
	}
	return nil
}

// entry writes one release in a format; nil is a format that there is not.
func entry(format string) func(io.Writer, release) {
	return map[string]func(io.Writer, release){"deb": debEntry, "yaml": yamlEntry, "appstream": appstreamEntry}[format]
}

// releases reads the file, newest first. What is not released takes the version
// and date of what is built.
func releases(text string, building release) ([]release, error) {
	var list []release
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n ")
		switch {
		case strings.HasPrefix(line, "## "):
			r, err := readHeading(line, building)
			if err != nil {
				return nil, err
			}
			list = append(list, r)
		case len(list) == 0 || line == "":
		case strings.HasPrefix(line, "- "):
			last := &list[len(list)-1]
			last.changes = append(last.changes, line[len("- "):])
		case strings.HasPrefix(line, "  ") && len(list[len(list)-1].changes) > 0:
			changes := list[len(list)-1].changes
			changes[len(changes)-1] += " " + strings.TrimSpace(line)
		default:
			return nil, fmt.Errorf("neither a heading nor an item of a list: %q", line)
		}
	}
	return list, check(list, building)
}

func readHeading(line string, building release) (release, error) {
	m := heading.FindStringSubmatch(line)
	if m == nil {
		return release{}, fmt.Errorf("%q is not \"## VERSION (YYYY-MM-DD)\"", line)
	}
	r := release{name: building.name, version: building.version, contact: building.contact, date: building.date}
	if m[1] != "" {
		return r, nil
	}
	date, err := time.Parse(time.DateOnly, m[3])
	r.version, r.date = m[2], date
	return r, err
}

// check makes sure that the first entry is about what is built, and none is empty.
func check(list []release, building release) error {
	if len(list) == 0 || list[0].version != building.version {
		return fmt.Errorf("its first heading is neither \"## Unreleased\" nor that of %s, which is built", building.version)
	}
	for _, r := range list {
		if len(r.changes) == 0 {
			return fmt.Errorf("%s has no changes", r.version)
		}
	}
	return nil
}

// debEntry is an entry as deb-changelog(5) has it.
func debEntry(out io.Writer, r release) {
	_, _ = fmt.Fprintf(out, "%s (%s) unstable; urgency=medium\n\n", r.name, r.version)
	for _, c := range r.changes {
		_, _ = fmt.Fprintf(out, "  * %s\n", strings.Join(wrap(c, 74), "\n    "))
	}
	_, _ = fmt.Fprintf(out, "\n -- %s  %s\n\n", r.contact, r.date.Format(time.RFC1123Z))
}

// yamlEntry is an entry as nfpm takes it for RPM, whose versions have a release.
func yamlEntry(out io.Writer, r release) {
	_, _ = fmt.Fprintf(out, "- semver: \"%s-1\"\n  date: %s\n  packager: %q\n  changes:\n", r.version, r.date.Format(time.RFC3339), r.contact)
	for _, c := range r.changes {
		_, _ = fmt.Fprintf(out, "    - note: %q\n", strings.Join(wrap(c, 76), "\n  "))
	}
}

// appstreamEntry is an entry as AppStream has it, in one line.
func appstreamEntry(out io.Writer, r release) {
	_, _ = fmt.Fprintf(out, `<release version="%s" date="%s"><description><ul>`, r.version, r.date.Format(time.DateOnly))
	for _, c := range r.changes {
		_, _ = fmt.Fprintf(out, "<li>%s</li>", html.EscapeString(strings.ReplaceAll(c, "`", "")))
	}
	_, _ = fmt.Fprint(out, "</ul></description></release>\n")
}

// wrap breaks a text into lines of at most width bytes where its words allow it.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines, line = append(lines, line), word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
