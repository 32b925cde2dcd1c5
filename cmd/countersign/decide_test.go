package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countersign/ipc"
)

// TestLineToUnblockIsTheShells: a server names its clients as it likes, and the line that
// unblocks one is there to be typed.
func TestLineToUnblockIsTheShells(t *testing.T) {
	dir := t.TempDir()
	a := &app{socket: filepath.Join(dir, "s")}
	h, err := ipc.NewHandler(slog.New(slog.DiscardHandler), []ipc.Route{{
		Pattern: "POST /v1/requests/{id}/decision", Access: ipc.ActOwn,
		Handle: func(http.ResponseWriter, *http.Request, ipc.Scope) (any, error) {
			return ipc.Result{ID: "tx", Decision: "deny", Status: "denied", Reason: ipc.NotMe, Confirmed: true}, nil
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := ipc.Listen(a.socket, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error)
	go func() { over <- ipc.Serve(ctx, l, h) }()
	said, err := os.Create(filepath.Join(dir, "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	a.out = said
	d := ipc.Display{Request: ipc.Request{ID: "tx", Client: ipc.RelyingParty{ID: "shop; touch x", Name: "Shop"}}}
	if err := a.decide(t.Context(), d, ipc.Answer{Decision: "deny", Reason: ipc.NotMe}, "denied"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(said.Name())
	if err != nil || !strings.Contains(string(text), "countersign unblock 'shop; touch x'\n") {
		t.Errorf("it says %s%v", text, err)
	}
	stop()
	if err := <-over; err != nil {
		t.Error(err)
	}
}
