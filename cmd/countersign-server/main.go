// Command countersign-server is the Token Server of Countersign and the
// operator's tool for it.
//
// The commands that take --data work on the server's directory, whether or not
// a server runs there, and take effect at once.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // evidence names the time zone that a person read times in
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	c := &cli{in: os.Stdin, out: os.Stdout, errOut: os.Stderr}
	code := c.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
