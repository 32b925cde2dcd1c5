package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// known are the licenses that code in our packages may have, each with words that
// stand in its text and in no other's. All of them let a program that is under the
// Apache License 2.0 contain such code, for the price of passing their text on. A
// module under anything else fails the build until somebody has judged it.
func known() [][2]string {
	return [][2]string{
		{"Apache-2.0", "apache license version 2.0, january 2004"},
		{"MIT", "permission is hereby granted, free of charge, to any person obtaining a copy of this software"},
		{"BSD-3-Clause", "endorse or promote products derived from this software without specific prior written permission"},
		{"BSD-2-Clause", "redistributions in binary form must reproduce the above copyright notice"},
		{"ISC", "permission to use, copy, modify, and/or distribute this software for any purpose"},
		{"Zlib", "altered source versions must be plainly marked as such, and must not be misrepresented"},
		{"blessing", "all of the code and documentation in sqlite has been dedicated to the public domain"},
	}
}

var space = regexp.MustCompile(`\s+`)

// licenses names the licenses of a module, as SPDX does.
func (m module) licenses() ([]string, error) {
	files, err := m.files()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range files {
		if !isLicense(f.name) {
			continue
		}
		in := identify(f.text)
		if len(in) == 0 {
			return nil, fmt.Errorf("%s %s: nobody has judged the license in %s", m.path, m.version, f.name)
		}
		names = add(names, in...)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s %s: there is no license", m.path, m.version)
	}
	return names, nil
}

// isLicense tells a license from the notices that go along with one.
func isLicense(name string) bool {
	name = strings.ToLower(name)
	if strings.Contains(name, "3rd-party") || strings.Contains(name, "logo") {
		return false
	}
	return strings.HasPrefix(name, "licen") || strings.HasPrefix(name, "copying")
}

// identify names the licenses in a text. Where the third clause of the BSD license
// is, the first two are too, and are not another license.
func identify(text string) []string {
	text = strings.ToLower(space.ReplaceAllString(text, " "))
	var names []string
	for _, k := range known() {
		if strings.Contains(text, k[1]) && (k[0] != "BSD-2-Clause" || len(names) == 0) {
			names = add(names, k[0])
		}
	}
	return names
}

func add(list []string, names ...string) []string {
	for _, name := range names {
		found := false
		for _, have := range list {
			found = found || have == name
		}
		if !found {
			list = append(list, name)
		}
	}
	return list
}

const copyrightHead = `Countersign turns a Linux computer into a second factor that cannot be copied.

Copyright: 2026 the authors of Countersign

License: Apache-2.0
 Licensed under the Apache License, Version 2.0: you may not use these files
 except in compliance with it. Unless required by applicable law or agreed to
 in writing, they are distributed without warranties or conditions of any
 kind, either express or implied. On Debian systems the license is in
 /usr/share/common-licenses/Apache-2.0; other packages bring it along.

The programs contain code of others, on the terms below. The texts of these
licenses, with all copyright notices, are in the file third-party-notices.gz
beside this one.

`

// copyright writes a package's copyright file: our license, and a table of what
// is linked into the programs.
func copyright(ctx context.Context, out io.Writer, programs []string) error {
	list, err := linked(ctx, programs)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, copyrightHead); err != nil {
		return err
	}
	for _, m := range list {
		names, err := m.licenses()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, " %s %s: %s\n", m.path, m.version, strings.Join(names, " and ")); err != nil {
			return err
		}
	}
	return nil
}

// notices writes the texts themselves, word for word.
func notices(ctx context.Context, out io.Writer, programs []string) error {
	list, err := linked(ctx, programs)
	if err != nil {
		return err
	}
	for _, m := range list {
		files, err := m.files()
		if err != nil {
			return err
		}
		for _, f := range files {
			if _, err := fmt.Fprintf(out, "%s\n%s %s: %s\n%[1]s\n\n%[5]s\n", strings.Repeat("=", 78), m.path, m.version, f.name, strings.TrimSpace(f.text)+"\n"); err != nil {
				return err
			}
		}
	}
	return nil
}
