package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fenced  = regexp.MustCompile("(?s)```.*?```")
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notSlug = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
)

// TestLinksLeadSomewhere follows each link between documents, to the heading that it
// names.
func TestLinksLeadSomewhere(t *testing.T) {
	var documents []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md"} {
		list, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, list...)
	}
	followed := 0
	for _, from := range documents {
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(read(t, from), ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			followed++
			follow(t, from, m[1])
		}
	}
	if followed < 50 {
		t.Errorf("followed only %d links", followed)
	}
}

func follow(t *testing.T, from, to string) {
	t.Helper()
	file, part, _ := strings.Cut(to, "#")
	path := from
	if file != "" {
		path = filepath.Join(filepath.Dir(from), file)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("%s: %s is not there", from, to)
		return
	}
	if part == "" {
		return
	}
	for _, m := range heading.FindAllStringSubmatch(read(t, path), -1) {
		if slug(m[1]) == part {
			return
		}
	}
	t.Errorf("%s: %s has no such heading", from, to)
}

// slug is the name that a heading has in links.
func slug(heading string) string {
	return strings.ReplaceAll(notSlug.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
