// Command relying-party is a small web portal that asks Countersign before it
// lets somebody in: a page with a form, the number to type, the outcome, and
// the evidence to download. It uses the Token Server's public HTTP API and Go's
// standard library, nothing else, so that every part can be copied.
//
// It is for one person on one machine: it listens on loopback, has no log-in of
// its own, and forgets everything when it ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "relying-party:", err)
		os.Exit(1)
	}
}

type options struct {
	server, ca, clientFile, listen, user string
}

func parse(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("relying-party", flag.ContinueOnError)
	fs.StringVar(&o.server, "server", "", "`URL` of the Token Server")
	fs.StringVar(&o.ca, "ca", "", "`FILE` of the roots to trust, such as DIR/ca.pem of the server; else the system's")
	fs.StringVar(&o.clientFile, "client-file", "", "`FILE` with what countersign-server client add --json printed, readable by you alone")
	fs.StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback `HOST:PORT` of the page")
	fs.StringVar(&o.user, "user", "", "`NAME` to fill in")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if o.server == "" || o.clientFile == "" {
		return o, errors.New("--server and --client-file are needed")
	}
	return o, nil
}

// run serves the page until ctx ends. It prints the page's address on stdout
// when it can be opened.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	api, err := newAPI(o.server, o.ca, o.clientFile)
	if err != nil {
		return err
	}
	l, err := listenLoopback(o.listen)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler:           newPortal(api, o.user, l.Addr().String()),
		ReadHeaderTimeout: 10 * time.Second,
		// A page that waits for a decision gives up when the program ends.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	fmt.Fprintf(stdout, "http://%s/\n", l.Addr())
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the page: %w", err)
	}
	return nil
}

// listenLoopback refuses every other address: the page acts for whoever opens
// it.
func listenLoopback(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		_ = l.Close()
		return nil, fmt.Errorf("--listen %s is not a loopback address", addr)
	}
	return l, nil
}
