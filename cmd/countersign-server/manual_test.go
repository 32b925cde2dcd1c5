package main

import (
	"os"
	"testing"

	"countersign/internal/docgen"
)

// TestManual writes the manual pages: "make man" runs it.
func TestManual(t *testing.T) {
	extra, err := os.ReadFile("../../docs/man/countersign-server.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := docgen.Dir(t)
	files, err := docgen.Commands((&cli{}).command(), "8", string(extra), dir)
	if err != nil {
		t.Fatal(err)
	}
	settings, err := docgen.Settings("../../docs/countersign-server.toml", "/etc/countersign", "countersign-server", dir)
	if err != nil {
		t.Fatal(err)
	}
	docgen.Check(t, append(files, settings)...)
}
