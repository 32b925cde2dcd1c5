package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
	named := regexp.MustCompile(`^(Code|Problem)[A-Z]`)
	codes := 0
	for dir, isCode := range map[string]*regexp.Regexp{
		"installer":              named,
		"ipc":                    named,
		"protocol":               named,
		"tokenserver/problem":    regexp.MustCompile(`^[A-Z]`),
		"cmd/countersign":        named,
		"cmd/countersign-server": named,
	} {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			for _, code := range codesIn(t, file, isCode) {
				codes++
				if !strings.Contains(string(doc), "| `"+code+"` |") {
					t.Errorf("%s: %q has no row in docs/errors.md", file, code)
				}
			}
		}
	}
	if codes < 60 {
		t.Errorf("found only %d codes", codes)
	}
}

// TestClassesArePublishedOnce holds the table of what each class stands against in
// README.md to that in the threat model: nobody is promised more there.
func TestClassesArePublishedOnce(t *testing.T) {
	row := regexp.MustCompile(`(?m)^\| (?:class|C[0-3]) \| .*$`)
	var tables [2][]string
	for i, name := range []string{"README.md", "docs/threat-model.md"} {
		doc, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		tables[i] = row.FindAllString(string(doc), -1)
	}
	if len(tables[0]) != 5 || !slices.Equal(tables[0], tables[1]) {
		t.Errorf("README.md has\n%s\nand docs/threat-model.md\n%s", strings.Join(tables[0], "\n"), strings.Join(tables[1], "\n"))
	}
}

// codesIn returns a file's string constants of the given names, and the codes
// that the commands write into a failure{exit, code, ...}.
func codesIn(t *testing.T, file string, isCode *regexp.Regexp) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			code, _ := strconv.Unquote(lit.Value)
			codes = append(codes, code)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if isCode.MatchString(name.Name) && i < len(n.Values) {
					add(n.Values[i])
				}
			}
		case *ast.CompositeLit:
			if typ, ok := n.Type.(*ast.Ident); ok && typ.Name == "failure" && len(n.Elts) > 1 {
				add(n.Elts[1])
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
	// What every Debian has (essential packages), and what the reader has.
	brought := map[string]bool{"go": true, "git": true, "make": true, "bash": true, "sh": true, "grep": true, "basenc": true, "dpkg": true}
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
				name := tool[1]
				if strings.HasPrefix(name, "tpm2_") {
					name = "tpm2_load" // one package brings them all
				}
				if !brought[name] {
					t.Errorf("%s needs %s, which scripts/deps does not install", file, name)
				}
			}
		}
	}
	if asked == 0 {
		t.Error("no test needs a tool: the pattern is wrong")
	}
}
