package main

import (
	"context"
	"fmt"

	"golang.org/x/term"

	"countersign/ipc"
)

// relayTouch says "touch your token" on standard error when the service does,
// until it is stopped. Where nobody reads that, nothing is done.
func (a *app) relayTouch(ctx context.Context, about func(ipc.Event) bool) (stop func()) {
	if !term.IsTerminal(int(a.err.Fd())) {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	ready := make(chan struct{})
	go func() {
		defer close(ended)
		waiting := ready
		_ = a.service().Events(ctx, false, func(e ipc.Event) error {
			switch {
			case e.Kind == ipc.EventReady && waiting != nil:
				close(waiting)
				waiting = nil
			case e.Kind == ipc.EventTouch && about(e):
				fmt.Fprintln(a.err, "Touch your token.")
			}
			return nil
		})
	}()
	select {
	case <-ready: // from here on nothing is missed
	case <-ended: // no stream, and so no word; the touch counts all the same
	}
	return func() {
		cancel()
		<-ended
	}
}
