package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestEveryCodeIsDocumented holds docs/errors.md to the code: a program that
// branches on a code must be able to look it up.
func TestEveryCodeIsDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(root, "docs/errors.md"))
	if err != nil {
		t.Fatal(err)
	}
	codes := 0
	for _, dir := range []string{"ipc", "protocol", "tokenserver"} {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			for name, code := range codesIn(t, file) {
				codes++
				if !strings.Contains(string(doc), "| `"+code+"` |") {
					t.Errorf("%s: %s %q has no row in docs/errors.md", file, name, code)
				}
			}
		}
	}
	if codes < 40 {
		t.Errorf("found only %d codes", codes)
	}
}

// codesIn returns the string constants of a file that are named Code... or
// Problem..., exported or not.
func codesIn(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	isCode := regexp.MustCompile(`^([Cc]ode|[Pp]roblem)[A-Z]`)
	codes := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, name := range spec.Names {
			if !isCode.MatchString(name.Name) || i >= len(spec.Values) {
				continue
			}
			if lit, ok := spec.Values[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				codes[name.Name], _ = strconv.Unquote(lit.Value)
			}
		}
		return true
	})
	return codes
}

// TestEveryNeededToolIsInstalled holds scripts/deps to the tests: a tool that
// a test asks for is one that "make test" brings.
func TestEveryNeededToolIsInstalled(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(root, "scripts/deps"))
	if err != nil {
		t.Fatal(err)
	}
	brought := map[string]bool{"go": true, "git": true, "make": true, "bash": true, "sh": true}
	for line := range strings.Lines(string(script)) {
		if f := strings.Fields(line); len(f) > 0 {
			brought[f[0]] = true
		}
	}
	call := regexp.MustCompile(`\bNeed\((?:t|tb|b|[a-z]+\.tb), ((?:"[^"]+"(?:, )?)+)\)`)
	asked := 0
	for _, file := range goFiles(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range call.FindAllStringSubmatch(string(text), -1) {
			for _, tool := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(m[1], -1) {
				asked++
				if !brought[tool[1]] {
					t.Errorf("%s needs %s, which scripts/deps does not install", file, tool[1])
				}
			}
		}
	}
	if asked == 0 {
		t.Error("no test needs a tool: the pattern is wrong")
	}
}
