package text_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"countersign/session/text"
)

// said are the formats that the session helper and the command say, by where
// they are said: the first argument of every call of T, or of say that is T.
func said(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, root := range []string{"..", filepath.Join("..", "..", "cmd", "countersign")} {
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && len(call.Args) > 0 && isT(call.Fun) {
					if lit, ok := call.Args[0].(*ast.BasicLit); ok {
						format, err := strconv.Unquote(lit.Value)
						if err != nil {
							t.Fatal(err)
						}
						found[format] = path
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func isT(f ast.Expr) bool {
	switch f := f.(type) {
	case *ast.SelectorExpr:
		return f.Sel.Name == "T"
	case *ast.Ident:
		return f.Name == "say"
	}
	return false
}

// verbs are a format's, in order.
func verbs(format string) []string {
	return regexp.MustCompile(`%[a-z]`).FindAllString(format, -1)
}

// TestEachMessageIsInEachLanguage compares what is said with what is translated,
// both ways.
func TestEachMessageIsInEachLanguage(t *testing.T) {
	formats := said(t)
	if len(formats) < 50 {
		t.Fatalf("only %d messages were found", len(formats))
	}
	for lang, table := range text.Tables() {
		for format, path := range formats {
			msg, ok := table[format]
			if !ok {
				t.Errorf("%s: %q of %s is not translated", lang, format, path)
				continue
			}
			if !slices.Equal(verbs(format), verbs(msg)) {
				t.Errorf("%s: %q takes other arguments than %q", lang, msg, format)
			}
		}
		for format := range table {
			if _, ok := formats[format]; !ok {
				t.Errorf("%s: %q is said nowhere", lang, format)
			}
		}
	}
}

func TestArgumentsComeOutAsTheyAre(t *testing.T) {
	for _, lang := range append(text.Languages(), "it", "") {
		for _, name := range []string{"100 % Bank %s", "<b>", "1,234.50"} {
			if got := text.In(lang).T("Approval request from %s", name); !strings.Contains(got, name) {
				t.Errorf("%s: %q", lang, got)
			}
		}
		if got := text.In(lang).T("Tries left: %d.", 5); !strings.Contains(got, "5") {
			t.Errorf("%s: %q", lang, got)
		}
	}
	if got := text.In("de").T("Not me"); got != "Nicht ich" {
		t.Errorf("German: %q", got)
	}
	if got := (text.Printer{}).T("Not me"); got != "Not me" {
		t.Errorf("nothing said: %q", got)
	}
}

func TestPreferred(t *testing.T) {
	for _, c := range []struct{ all, messages, lang, language, want string }{
		{"", "", "", "", "en"},
		{"", "", "de_AT.UTF-8", "", "de"},
		{"", "fr_FR.UTF-8", "de_DE.UTF-8", "", "fr"},
		{"nl_NL", "fr_FR.UTF-8", "de_DE.UTF-8", "", "nl"},
		{"", "", "it_IT.UTF-8", "", "en"},
		{"", "", "it_IT.UTF-8", "pt:fr:de", "fr"},
		{"", "", "de_DE.UTF-8", "en", "en"},
		{"C", "", "de_DE.UTF-8", "fr", "en"},
		{"", "", "C.UTF-8", "fr", "en"},
	} {
		for name, value := range map[string]string{"LC_ALL": c.all, "LC_MESSAGES": c.messages, "LANG": c.lang, "LANGUAGE": c.language} {
			t.Setenv(name, value)
			if value == "" {
				_ = os.Unsetenv(name)
			}
		}
		if got := text.Preferred(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
