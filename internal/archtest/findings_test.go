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

// TestEveryFindingIsExplained holds docs/troubleshooting.md to the source: each code
// that doctor can print has one row there, and no row is of a code that it cannot.
func TestEveryFindingIsExplained(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(root, "docs/troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(string(doc), -1) {
		if rows[m[1]] {
			t.Errorf("docs/troubleshooting.md has two rows of %q", m[1])
		}
		rows[m[1]] = true
	}
	found := findings(t)
	for code := range found {
		if !rows[code] {
			t.Errorf("%q has no row in docs/troubleshooting.md", code)
		}
	}
	for code := range rows {
		if !found[code] {
			t.Errorf("docs/troubleshooting.md has a row of %q, which doctor never says", code)
		}
	}
	if len(found) < 60 {
		t.Errorf("found only %d codes of doctor", len(found))
	}
}

// findings are the codes of doctor, by each of the ways in which the source names
// them.
func findings(t *testing.T) map[string]bool {
	t.Helper()
	// The constants of doctor, the two kinds of chip, and the kinds of trouble with the
	// network; the ways of verifying people have a prefix.
	found := map[string]bool{"internal_error": true} // a chip's error that nobody foresaw
	for name, value := range constants(t, "agent") {
		if strings.HasPrefix(name, "check") || name == "kindTPM" || name == "kindPIV" {
			found[value] = true
		}
	}
	for name, value := range constants(t, "agent/upstream") {
		if strings.HasPrefix(name, "Kind ") {
			found[value] = true
		}
	}
	known := constants(t, "ipc")
	for name, value := range known {
		if strings.HasPrefix(name, "Verify") {
			found["verify_"+value] = true
		}
	}
	// What is written out where it is found, and what these functions name for others.
	through := []string{"chipCases", "wrongClock", "errServer", "errKeyForbidden", "errUnproved"}
	for _, dir := range []string{"agent", "hsm/tpm", "hsm/piv", "cmd/countersign", "cmd/countersignd"} {
		walk(t, dir, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				if code, ok := findingIn(n); ok {
					found[code] = true
				}
			case *ast.FuncDecl:
				if slices.Contains(through, n.Name.Name) {
					for _, name := range codeNamesIn(n) {
						found[known[name]] = true
					}
				}
			}
			return true
		})
	}
	return found
}

// constants returns the string constants of a package by name, those of a type Kind
// as "Kind NAME".
func constants(t *testing.T, dir string) map[string]string {
	t.Helper()
	values := map[string]string{}
	walk(t, dir, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		prefix := ""
		if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Kind" {
			prefix = "Kind "
		}
		for i, name := range spec.Names {
			if i < len(spec.Values) {
				if value, ok := text(spec.Values[i]); ok {
					values[prefix+name.Name] = value
				}
			}
		}
		return true
	})
	return values
}

// findingIn returns the code that is written out in an ipc.Check or an hsm.Note.
func findingIn(lit *ast.CompositeLit) (code string, ok bool) {
	typ, is := lit.Type.(*ast.SelectorExpr)
	if lit.Type != nil && (!is || typ.Sel.Name != "Check" && typ.Sel.Name != "Note") {
		return "", false
	}
	for _, e := range lit.Elts {
		pair, is := e.(*ast.KeyValueExpr)
		if !is {
			continue
		}
		if key, is := pair.Key.(*ast.Ident); is && key.Name == "Code" {
			return text(pair.Value)
		}
	}
	return "", false
}

// codeNamesIn are the constants ipc.Code... that a function uses.
func codeNamesIn(f *ast.FuncDecl) (names []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "ipc" && strings.HasPrefix(s.Sel.Name, "Code") {
				names = append(names, s.Sel.Name)
			}
		}
		return true
	})
	return names
}

func text(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	value, err := strconv.Unquote(lit.Value)
	return value, err == nil
}

// walk visits the source of a package, without its tests.
func walk(t *testing.T, dir string, visit func(ast.Node) bool) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v, %d files", dir, err, len(files))
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, visit)
	}
}
