package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// goFiles lists the module's Go files, tests included. The files are read in
// this process, so that go test's cache sees them change.
func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin"):
			return filepath.SkipDir
		case !d.IsDir() && strings.HasSuffix(name, ".go"):
			files = append(files, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d Go files found below %s", len(files), root)
	}
	return files
}

// sources maps each package of the module to all that its shipped files
// import.
func sources(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, name := range goFiles(t) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		pkg, err := packageOf(name)
		if err != nil {
			t.Fatal(err)
		}
		imports, err := importsOf(name)
		if err != nil {
			t.Fatal(err)
		}
		found[pkg] = append(found[pkg], imports...)
	}
	return found
}

func packageOf(file string) (string, error) {
	rel, err := filepath.Rel(root, filepath.Dir(file))
	return path.Clean(filepath.ToSlash(rel)), err
}

func importsOf(file string) ([]string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var imports []string
	for _, spec := range f.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		imports = append(imports, name)
	}
	return imports, nil
}

// within reports whether pkg is prefix or lies below it.
func within(pkg, prefix string) bool {
	return pkg == prefix || strings.HasPrefix(pkg, prefix+"/")
}

func TestPackagesImportOnlyWhatTheyMay(t *testing.T) {
	rules := mayImport()
	for pkg, imports := range sources(t) {
		allowed, ok := rules[pkg]
		if !ok {
			t.Errorf("%s has no row in mayImport", pkg)
			continue
		}
		for _, name := range imports {
			if ours, ok := strings.CutPrefix(name, module); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s must not import %s", pkg, ours)
			}
		}
	}
}

func TestModulesOfOthersStayWhereTheyAreWrapped(t *testing.T) {
	free := []string{"internal/testenv", "internal/e2e", "hsm/hsmtest"}
	for pkg, imports := range sources(t) {
		if slices.Contains(free, pkg) {
			continue
		}
		for _, name := range imports {
			for prefix, homes := range onlyHere() {
				if within(name, prefix) && !slices.Contains(homes, pkg) {
					t.Errorf("%s must not import %s: that is for %s", pkg, name, strings.Join(homes, ", "))
				}
			}
		}
	}
}

// TestExampleStandsAlone keeps the example free of everything that a reader
// could not copy into a program of their own.
func TestExampleStandsAlone(t *testing.T) {
	for _, name := range sources(t)["examples/relying-party"] {
		if strings.Contains(strings.Split(name, "/")[0], ".") {
			t.Errorf("examples/relying-party imports %s, which is not in the standard library", name)
		}
	}
}
