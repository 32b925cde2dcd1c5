package main

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	// described is what git describe says: the tag, and how far the commit is from
	// it; without a tag the commit alone.
	described = regexp.MustCompile(`^v?([0-9]+(?:\.[0-9]+)*(?:[~+.a-z0-9]*))(?:-([0-9]+)-g([0-9a-f]+))?(-dirty)?$`)
	commit    = regexp.MustCompile(`^([0-9a-f]{7,40})(-dirty)?$`)
)

// version writes what git describe said as packages do: v0.5.0 is 0.5.0, and
// twelve commits later it is 0.5.0+12.gabcdef0, which sorts behind it and before
// any release. The version of no tag sorts before all.
func version(said string) (string, error) {
	if m := commit.FindStringSubmatch(said); m != nil {
		return "0.0.0+g" + m[1] + strings.Replace(m[2], "-", ".", 1), nil
	}
	m := described.FindStringSubmatch(said)
	if m == nil {
		return "", fmt.Errorf("%q is no version: packages take such as 0.5.0, v0.5.0 and v0.5.0-12-gabcdef0", said)
	}
	var past []string
	if m[2] != "" {
		past = append(past, m[2], "g"+m[3])
	}
	if m[4] != "" {
		past = append(past, "dirty")
	}
	if len(past) == 0 {
		return m[1], nil
	}
	return m[1] + "+" + strings.Join(past, "."), nil
}
