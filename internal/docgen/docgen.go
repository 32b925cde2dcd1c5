// Package docgen writes the manual pages of a command from its cobra tree, and
// those of its configuration from the commented file that is its manual.
//
// It is for the build alone: only tests import it, and "make man" runs those
// tests, so that no program we ship can contain it.
package docgen

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
)

// Dir is where the pages go: the directory MANDIR, an absolute path, where "make
// man" names it, else one that goes with the test.
func Dir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("MANDIR")
	if dir == "" {
		return t.TempDir()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Commands writes one page for the program and one for each of its commands into
// dir, and returns their files. They belong to a section: 1 for users, 8 for
// administrators. The Markdown in extra becomes further sections of the program's
// own page.
func Commands(root *cobra.Command, section, extra, dir string) ([]string, error) {
	root.InitDefaultCompletionCmd()
	m := pages{section: section, dir: dir}
	err := m.write(root, extra)
	return m.files, err
}

type pages struct {
	section, dir string
	files        []string
}

func (m *pages) write(cmd *cobra.Command, extra string) error {
	if !documented(cmd) {
		return nil
	}
	name := dashed(cmd)
	text := command(cmd, m.section) + extra + seeAlso(cmd, m.section)
	file, err := page(name, m.section, text, m.dir)
	if err != nil {
		return err
	}
	m.files = append(m.files, file)
	for _, child := range cmd.Commands() {
		if err := m.write(child, ""); err != nil {
			return err
		}
	}
	return nil
}

// documented leaves out what people do not type, and cobra's own help.
func documented(cmd *cobra.Command) bool {
	return !cmd.Hidden && cmd.Name() != "help" && (!cmd.HasParent() || cmd.Parent().Name() != "completion")
}

func dashed(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// page renders Markdown as the page of a name in a section.
func page(name, section, text, dir string) (string, error) {
	date, err := sourceDate()
	if err != nil {
		return "", err
	}
	head := fmt.Sprintf("%% %q %q %q %q %q\n", strings.ToUpper(name), section, date.Format(time.DateOnly), "Countersign", "Countersign")
	file := filepath.Join(dir, name+"."+section)
	return file, os.WriteFile(file, tidy(md2man.Render([]byte(head+text))), 0o644) //nolint:gosec // manual pages are for everybody
}

// tidy takes out what a reader of manual pages calls superfluous: a paragraph
// that begins where a section does, and blanks before a line.
func tidy(text []byte) []byte {
	var out []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, " \n")
		last := ""
		if len(out) > 0 {
			last = out[len(out)-1]
		}
		if strings.HasPrefix(line, ".S") {
			line = strings.ReplaceAll(line, `"`, `\(dq`) // which else is syntax there
		}
		begun := strings.HasPrefix(last, ".SH") || strings.HasPrefix(last, ".SS") || last == ".PP"
		if line == "" || line == ".PP" && begun || strings.HasPrefix(last, ".PP") && strings.HasPrefix(line, ".S") {
			continue
		}
		out = append(out, line)
	}
	return []byte(strings.Join(out, "\n") + "\n")
}

// sourceDate is the time that the source is of, so that two builds of it write
// the same pages: SOURCE_DATE_EPOCH, or the beginning of time.
func sourceDate() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		text = "0"
	}
	epoch, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(epoch, 0).UTC(), nil
}
