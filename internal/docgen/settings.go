package docgen

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Settings writes the page of a configuration file into dir, from the commented
// file that is its manual, and returns the page's file: comments become text,
// and a setting, commented out or not, a heading of its own. The page is named
// after the file, in section 5. Where the file belongs is its directory; program
// is the page of the program that reads it.
func Settings(source, directory, program, dir string) (string, error) {
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	name := filepath.Base(source)
	var md strings.Builder
	fmt.Fprintf(&md, "# NAME\n%s \\- configuration of %s\n\n", name, strings.TrimSuffix(name, ".toml"))
	fmt.Fprintf(&md, "# SYNOPSIS\n%s\n\n# DESCRIPTION\n", filepath.Join(directory, name))
	settings(&md, string(text))
	fmt.Fprintf(&md, "\n# SEE ALSO\n**%s**(8)\n", program)
	return page(name, "5", md.String(), dir)
}

var (
	table   = regexp.MustCompile(`^#?(\[+[a-z_.]+\]+)$`)
	setting = regexp.MustCompile(`^#?([a-z_]+ = .*)$`)
)

// settings turns the commented file into Markdown. Comments are about the settings
// that stand below them.
func settings(md *strings.Builder, text string) {
	var comment []string
	put := func(heading string) {
		if heading != "" {
			fmt.Fprintf(md, "%s\n\n", heading)
		}
		md.WriteString(paragraph(comment))
		comment = nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := table.FindStringSubmatch(line); m != nil {
			put("# TABLE " + escape(m[1]))
		} else if m := setting.FindStringSubmatch(line); m != nil {
			put("### " + escape(m[1]))
		} else if line == "" {
			put("")
		} else {
			comment = append(comment, strings.TrimPrefix(strings.TrimPrefix(line, "#"), " "))
		}
	}
	put("")
}

// paragraph renders comments. Lines that are set in stay as they are.
func paragraph(comment []string) string {
	var md strings.Builder
	kept := false
	for _, line := range comment {
		in := strings.HasPrefix(line, "  ")
		if in != kept {
			md.WriteString("\n") // Markdown wants it before a block, and after
		}
		if kept = in; kept {
			md.WriteString("  " + line + "\n")
		} else {
			md.WriteString(escape(line) + "\n")
		}
	}
	return md.String() + "\n"
}
