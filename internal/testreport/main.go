// Command testreport turns "go test -json" on its standard input into what a
// person wants to read: one line a package, the whole output of what failed,
// every skipped test with its reason, and closing lines that count. A skip that
// nobody sees is a test that nobody has.
package main

import (
	"fmt"
	"os"
)

func main() {
	ok, err := newReport(os.Stdout).read(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}
