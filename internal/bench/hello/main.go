// Command hello is what the service is measured beside: it listens where the
// service listens, waits for a server as the service waits, and does nothing
// else.
//
//	hello SOCKET [URL ROOTS]
//
// Without a URL it only listens.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 && len(args) != 3 {
		return errors.New("usage: hello SOCKET [URL ROOTS]")
	}
	l, err := net.Listen("unix", args[0])
	if err != nil {
		return err
	}
	if len(args) == 3 {
		client, err := dial(args[2])
		if err != nil {
			return err
		}
		go wait(ctx, client, args[1])
	}
	fmt.Println("ready")
	srv := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }),
	}
	return srv.Serve(l)
}

// dial makes a client whose connection is as the service's: one, over TLS 1.3,
// with HTTP/2 and its pings. It authenticates with nothing.
func dial(roots string) (*http.Client, error) {
	pem, err := os.ReadFile(roots)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool()}
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", roots)
	}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   cfg,
		ForceAttemptHTTP2: true,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}}, nil
}

// wait keeps a long poll open. A server that refuses ends the program: then there
// is nothing to compare with.
func wait(ctx context.Context, client *http.Client, url string) {
	for {
		if err := poll(ctx, client, url); err != nil {
			fmt.Fprintln(os.Stderr, "hello:", err)
			os.Exit(1)
		}
	}
}

func poll(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 75*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Prefer", "wait=55")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
