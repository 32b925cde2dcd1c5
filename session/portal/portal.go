// Package portal takes a picture of the screen through xdg-desktop-portal,
// which every desktop has its own way to do, and which asks the person where
// the desktop wants that.
//
// An answer is believed only when it comes from the owner of the portal's name
// and is about this very question. The picture is on nobody's disk any more
// when the caller gets it. A person who says no, and silence, are ErrCancelled.
package portal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	service    = "org.freedesktop.portal.Desktop"
	object     = dbus.ObjectPath("/org/freedesktop/portal/desktop")
	screenshot = "org.freedesktop.portal.Screenshot.Screenshot"
	request    = "org.freedesktop.portal.Request"

	// patience is how long a person may look at the question whether this
	// program may see the screen.
	patience = 2 * time.Minute
	// callLimit bounds the calls that nobody looks at.
	callLimit = 5 * time.Second
)

var (
	// ErrNone says that this desktop has no portal that takes pictures.
	ErrNone = errors.New("the desktop takes no pictures of the screen for programs")
	// ErrCancelled says that the person did not let the picture be taken.
	ErrCancelled = errors.New("no picture of the screen was allowed")
)

// question is one request to the portal.
type question struct {
	conn    *dbus.Conn
	signals chan *dbus.Signal
	// handle is the object that answers.
	handle dbus.ObjectPath
}

// ask has a picture taken, and returns the URI of its file.
func ask(ctx context.Context, address string) (uri string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := dbus.Connect(address, dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		return "", fmt.Errorf("session bus: %w", err)
	}
	defer conn.Close()
	q := &question{conn: conn, signals: make(chan *dbus.Signal, 16)}
	conn.Signal(q.signals)
	owner, err := q.put(ctx)
	if err != nil {
		return "", err
	}
	return q.answer(ctx, owner)
}

// put asks the question. The answer's object is known before, so that not even
// an answer that overtakes the call is missed.
func (q *question) put(ctx context.Context) (owner string, err error) {
	token := "countersign_" + rand.Text()
	name := strings.ReplaceAll(strings.TrimPrefix(q.conn.Names()[0], ":"), ".", "_")
	q.handle = object + "/request/" + dbus.ObjectPath(name+"/"+token)
	err = q.conn.AddMatchSignalContext(ctx, dbus.WithMatchObjectPath(q.handle), dbus.WithMatchInterface(request), dbus.WithMatchSender(service))
	if err != nil {
		return "", fmt.Errorf("session bus: %w", err)
	}
	options := map[string]dbus.Variant{
		"handle_token": dbus.MakeVariant(token),
		"interactive":  dbus.MakeVariant(false),
	}
	var handle dbus.ObjectPath
	err = q.conn.Object(service, object).CallWithContext(ctx, screenshot, 0, "", options).Store(&handle)
	switch {
	case missing(err):
		return "", fmt.Errorf("%w: %w", ErrNone, err)
	case err != nil:
		return "", fmt.Errorf("portal: %w", err)
	case handle != q.handle:
		return "", fmt.Errorf("%w: it is older than 0.9 and answers elsewhere", ErrNone)
	}
	short, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if err := q.conn.BusObject().CallWithContext(short, "org.freedesktop.DBus.GetNameOwner", 0, service).Store(&owner); err != nil {
		return "", fmt.Errorf("portal: %w", err)
	}
	return owner, nil
}

// missing reports whether there is no portal, or one without screenshots.
func missing(err error) bool {
	e, ok := errors.AsType[dbus.Error](err)
	return ok && (strings.HasSuffix(e.Name, ".ServiceUnknown") || strings.HasSuffix(e.Name, ".UnknownMethod") || strings.HasSuffix(e.Name, ".UnknownInterface"))
}

// answer waits for the portal's.
func (q *question) answer(ctx context.Context, owner string) (string, error) {
	for {
		select {
		case <-ctx.Done():
			q.withdraw(ctx)
			return "", fmt.Errorf("%w: %w", ErrCancelled, ctx.Err())
		case s, ok := <-q.signals:
			if !ok {
				return "", errors.New("the session bus closed the connection")
			}
			// A match rule does not keep out what somebody sends to us alone.
			if s.Sender == owner && s.Path == q.handle && s.Name == request+".Response" {
				return read(s.Body)
			}
		}
	}
}

// withdraw takes the question off the screen.
func (q *question) withdraw(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
	defer cancel()
	_ = q.conn.Object(service, q.handle).CallWithContext(ctx, request+".Close", 0).Err
}

// read takes the file's URI out of an answer.
func read(body []any) (string, error) {
	var code uint32
	var results map[string]dbus.Variant
	if err := dbus.Store(body, &code, &results); err != nil {
		return "", fmt.Errorf("portal: %w", err)
	}
	// A desktop that was told no says 1, or 2 as for a failure of its own.
	if code != 0 {
		return "", ErrCancelled
	}
	uri, ok := results["uri"].Value().(string)
	if !ok {
		return "", errors.New("portal: an answer without a picture")
	}
	return uri, nil
}
