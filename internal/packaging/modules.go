package main

import (
	"bytes"
	"cmp"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// module is code of others that is in a program.
type module struct {
	path, version, dir string
}

// standardLibrary is what Go's own library is called in our lists.
const standardLibrary = "Go standard library"

// linked lists the modules that are in the programs, by the programs' own word,
// Go's library first.
func linked(ctx context.Context, programs []string) ([]module, error) {
	var list []module
	for _, program := range programs {
		info, err := buildinfo.ReadFile(program)
		if err != nil {
			return nil, err
		}
		list = append(list, module{standardLibrary, info.GoVersion, runtime.GOROOT()}) //nolint:staticcheck // runs where it was built
		for _, dep := range info.Deps {
			if dep.Replace != nil {
				dep = dep.Replace
			}
			list = append(list, module{path: dep.Path, version: dep.Version})
		}
	}
	slices.SortFunc(list, func(a, b module) int {
		return cmp.Or(cmp.Compare(b.dir, a.dir), cmp.Compare(a.path, b.path), cmp.Compare(a.version, b.version))
	})
	list = slices.Compact(list)
	return list, find(ctx, list)
}

// find looks up where the modules' sources are.
func find(ctx context.Context, list []module) error {
	args := []string{"list", "-m", "-json"}
	for _, m := range list {
		if m.dir == "" {
			args = append(args, m.path)
		}
	}
	if len(args) == 3 {
		return nil
	}
	out, err := exec.CommandContext(ctx, "go", args...).Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	dirs := map[string]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var m struct{ Path, Version, Dir string }
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		dirs[m.Path+"@"+m.Version] = m.Dir
	}
	for i, m := range list {
		if m.dir != "" {
			continue
		}
		if list[i].dir = dirs[m.path+"@"+m.version]; list[i].dir == "" {
			return fmt.Errorf("%s %s: its source is not here", m.path, m.version)
		}
	}
	return nil
}

// legal is what the files are called that say on which terms a module is given.
var legal = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents|authors|contributors)[^/]*$`)

// file is a text that a module's license asks to pass on.
type file struct{ name, text string }

func (m module) files() ([]file, error) {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return nil, err
	}
	var list []file
	for _, e := range entries {
		if e.IsDir() || !legal.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.dir, e.Name()))
		if err != nil {
			return nil, err
		}
		list = append(list, file{e.Name(), string(text)})
	}
	return list, nil
}
