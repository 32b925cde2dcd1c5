package main

import (
	"os"
	"testing"

	"countersign/internal/docgen"
)

// TestManual writes the manual pages: "make man" runs it.
func TestManual(t *testing.T) {
	extra, err := os.ReadFile("../../docs/man/countersign.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := docgen.Commands((&app{}).command(), "1", string(extra), docgen.Dir(t))
	if err != nil {
		t.Fatal(err)
	}
	docgen.Check(t, files...)
}
