package main

import (
	"os"
	"testing"

	"countersign/internal/docgen"
)

// TestManual writes the manual pages: "make man" runs it.
func TestManual(t *testing.T) {
	extra, err := os.ReadFile("../../docs/man/countersignd.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := docgen.Dir(t)
	files, err := docgen.Commands(command(), "8", string(extra), dir)
	if err != nil {
		t.Fatal(err)
	}
	settings, err := docgen.Settings("../../docs/countersignd.toml", "/etc/countersign", "countersignd", dir)
	if err != nil {
		t.Fatal(err)
	}
	docgen.Check(t, append(files, settings)...)
}
