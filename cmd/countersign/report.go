package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"countersign/installer"
	"countersign/ipc"
)

// Exit statuses, as scripts rely on them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitUnreachable = 4
)

// usageError says that the program was called wrongly.
type usageError struct{ error }

// outcomeError is a decision that did not become what was asked. The result
// goes to standard output with it.
type outcomeError struct {
	result ipc.Result
	err    *ipc.Error
}

func (e *outcomeError) Error() string { return e.err.Error() }
func (e *outcomeError) Unwrap() error { return e.err }

// silentError has its exit status and nothing more to say: the answer is out.
type silentError struct{ error }

func (e silentError) Unwrap() error { return e.error }

func silent(err error) error { return silentError{err} }

// report tells the user of err, and returns the exit status.
func (a *app) report(err error) int {
	if err == nil {
		return exitDone
	}
	e, status := classify(err)
	if _, ok := errors.AsType[silentError](err); ok {
		return status
	}
	if a.json {
		doc := map[string]any{"error": e}
		if o, ok := errors.AsType[*outcomeError](err); ok {
			doc["id"], doc["decision"], doc["status"] = o.result.ID, o.result.Decision, o.result.Status
			doc["reason"], doc["confirmed"] = o.result.Reason, o.result.Confirmed
		}
		_ = json.NewEncoder(a.out).Encode(doc)
	}
	fmt.Fprintln(a.err, "countersign:", e.Message)
	if e.TriesLeft != nil {
		fmt.Fprintln(a.err, "  tries left:", *e.TriesLeft)
	}
	if e.Cure != "" {
		fmt.Fprintln(a.err, "  what to do:", e.Cure)
	}
	return status
}

func classify(err error) (*ipc.Error, int) {
	if u, ok := errors.AsType[usageError](err); ok {
		return ipc.Errorf("usage", "see countersign --help", "%v", u.error), exitUsage
	}
	if errors.Is(err, context.Canceled) {
		return ipc.Errorf("interrupted", "", "interrupted"), exitFailed
	}
	e, ok := errors.AsType[*ipc.Error](err)
	if !ok {
		return ipc.Errorf(ipc.CodeInternal, "", "%v", err), exitFailed
	}
	switch {
	case slices.Contains([]string{ipc.CodeNotFound, ipc.CodeNotEnrolled, installer.CodeNotInstalled}, e.Code):
		return e, exitNotFound
	case ipc.NotReached(e.Code), slices.Contains([]string{ipc.CodeUnreachable, ipc.CodeUndelivered, codeUnconfirmed}, e.Code):
		return e, exitUnreachable
	}
	return e, exitFailed
}

// print writes v as JSON where that was asked for, else calls text.
func (a *app) print(v any, text func()) error {
	if a.json {
		return json.NewEncoder(a.out).Encode(v)
	}
	text()
	return nil
}

func (a *app) say(format string, args ...any) { fmt.Fprintf(a.out, format+"\n", args...) }
