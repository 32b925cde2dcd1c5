package main

import (
	"context"
	"fmt"

	"golang.org/x/term"

	"countersign/ipc"
	"countersign/session"
	"countersign/session/text"
)

// relayTouch says on standard error what the service waits for, such as a touch
// of the token or a finger, until it is stopped. Where nobody reads that,
// nothing is done.
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
			case !about(e):
			case e.Kind == ipc.EventTouch:
				fmt.Fprintln(a.err, "Touch your token.")
			case e.Kind == ipc.EventVerify:
				fmt.Fprintln(a.err, session.VerifyHint(text.In(session.Here().Language), e.Hint))
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
