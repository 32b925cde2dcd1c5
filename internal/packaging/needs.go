package main

import (
	"debug/elf"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// provider is the Debian package of each library that a program of ours may need.
// A library that is not here was linked by accident.
func provider() map[string]string {
	return map[string]string{
		"libc.so.6":        "libc6",
		"libresolv.so.2":   "libc6",
		"libpthread.so.0":  "libc6",
		"libpcsclite.so.1": "libpcsclite1",
	}
}

// needs prints what programs need of the system, one relation a line: the
// libraries that they load, and of libc the version of the newest symbol in use.
// A static program needs nothing.
func needs(out io.Writer, format string, programs []string) error {
	found := map[string]bool{}
	for _, program := range programs {
		file, err := elf.Open(program)
		if err != nil {
			return err
		}
		list, err := relations(format, file)
		_ = file.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", program, err)
		}
		for _, r := range list {
			found[r] = true
		}
	}
	for _, r := range slices.Sorted(maps.Keys(found)) {
		_, _ = fmt.Fprintln(out, r)
	}
	return nil
}

func relations(format string, file *elf.File) ([]string, error) {
	libraries, err := file.ImportedLibraries()
	if err != nil || len(libraries) == 0 {
		return nil, err
	}
	glibc, err := newestGlibc(file)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, library := range libraries {
		pkg, ok := provider()[library]
		if !ok {
			return nil, fmt.Errorf("it needs %s, which no dependency of ours brings", library)
		}
		switch {
		case format == "rpm" && library == "libc.so.6":
			list = append(list, library+"(GLIBC_"+glibc+")(64bit)")
		case format == "rpm":
			list = append(list, library+"()(64bit)")
		case pkg == "libc6":
			list = append(list, "libc6 (>= "+glibc+")")
		default:
			list = append(list, pkg)
		}
	}
	return list, nil
}

// newestGlibc is the version of libc that brought the newest symbol in use.
func newestGlibc(file *elf.File) (string, error) {
	symbols, err := file.ImportedSymbols()
	if err != nil {
		return "", err
	}
	newest := []int{2, 0}
	for _, s := range symbols {
		text, ok := strings.CutPrefix(s.Version, "GLIBC_")
		if !ok {
			continue
		}
		var version []int
		for part := range strings.SplitSeq(text, ".") {
			n, err := strconv.Atoi(part)
			if err != nil {
				return "", fmt.Errorf("symbol %s is of %s", s.Name, s.Version)
			}
			version = append(version, n)
		}
		if slices.Compare(version, newest) > 0 {
			newest = version
		}
	}
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(newest)), "."), "[]"), nil
}
