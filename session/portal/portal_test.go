package portal_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"countersign/internal/testenv"
	"countersign/session/portal"
)

const (
	portalName = "org.freedesktop.portal.Desktop"
	portalPath = "/org/freedesktop/portal/desktop"
	response   = "org.freedesktop.portal.Request.Response"
)

// fake owns the portal's name and does as a test likes, where the real one
// could not be made to.
type fake struct {
	conn *dbus.Conn
	// asked gets the handle of each question, closed of each withdrawn one.
	asked  chan dbus.ObjectPath
	closed chan dbus.ObjectPath
	sender dbus.Sender
}

func startFake(t *testing.T, desk *testenv.Desktop) *fake {
	t.Helper()
	f := &fake{conn: desk.Bus(), asked: make(chan dbus.ObjectPath, 1), closed: make(chan dbus.ObjectPath, 1)}
	if err := f.conn.Export(f, portalPath, "org.freedesktop.portal.Screenshot"); err != nil {
		t.Fatal(err)
	}
	if reply, err := f.conn.RequestName(portalName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(reply, err)
	}
	return f
}

// Screenshot implements org.freedesktop.portal.Screenshot.
func (f *fake) Screenshot(sender dbus.Sender, _ string, options map[string]dbus.Variant) (dbus.ObjectPath, *dbus.Error) {
	name := []byte(sender[1:])
	for i, b := range name {
		if b == '.' {
			name[i] = '_'
		}
	}
	handle := dbus.ObjectPath(portalPath + "/request/" + string(name) + "/" + options["handle_token"].Value().(string))
	if err := f.conn.Export(closer{f, handle}, handle, "org.freedesktop.portal.Request"); err != nil {
		return "", dbus.MakeFailedError(err)
	}
	f.sender = sender
	f.asked <- handle
	return handle, nil
}

type closer struct {
	f      *fake
	handle dbus.ObjectPath
}

// Close implements org.freedesktop.portal.Request.
func (c closer) Close() *dbus.Error {
	c.f.closed <- c.handle
	return nil
}

func answerOf(file string) []any {
	return []any{uint32(0), map[string]dbus.Variant{"uri": dbus.MakeVariant("file://" + file)}}
}

func emit(t *testing.T, from *dbus.Conn, to string, handle dbus.ObjectPath, body ...any) {
	t.Helper()
	msg := &dbus.Message{
		Type: dbus.TypeSignal,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath: dbus.MakeVariant(handle), dbus.FieldInterface: dbus.MakeVariant("org.freedesktop.portal.Request"),
			dbus.FieldMember: dbus.MakeVariant("Response"), dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(body...)),
		},
		Body: body,
	}
	if to != "" {
		msg.Headers[dbus.FieldDestination] = dbus.MakeVariant(to)
	}
	if call := from.Send(msg, nil); call != nil && call.Err != nil {
		t.Fatal(call.Err)
	}
}

// desktop is a session in which only the bus matters.
func desktop(t *testing.T) *testenv.Desktop {
	t.Helper()
	return testenv.StartDesktop(t)
}

func pictureFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "shot.png")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestForgedAnswers: another program answers first, by broadcast and to us
// alone, and the portal answers about another question. None is believed.
func TestForgedAnswers(t *testing.T) {
	t.Parallel()
	desk := desktop(t)
	f, forger := startFake(t, desk), desk.Bus()
	forged, true1 := pictureFile(t, "forged"), pictureFile(t, "true")
	done := takePicture(t, desk)
	handle := <-f.asked
	for range 100 {
		emit(t, forger, "", handle, answerOf(forged)...)
		emit(t, forger, string(f.sender), handle, answerOf(forged)...)
		emit(t, f.conn, string(f.sender), handle+"x", answerOf(forged)...)
	}
	// The bus keeps the order of one sender: when this comes back, all forged
	// ones are delivered.
	if err := forger.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err; err != nil {
		t.Fatal(err)
	}
	emit(t, f.conn, string(f.sender), handle, answerOf(true1)...)
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	defer r.file.Close()
	if r.file.Name() != true1 {
		t.Errorf("the picture is %s", r.file.Name())
	}
	if _, err := os.Stat(forged); err != nil {
		t.Errorf("a forged answer had a file removed: %v", err)
	}
}

// TestSilenceAndStrangeAnswers: each is an error, and no file is touched.
func TestSilenceAndStrangeAnswers(t *testing.T) {
	t.Parallel()
	desk := desktop(t)
	if r := <-takePicture(t, desk); !errors.Is(r.err, portal.ErrNone) {
		t.Errorf("without a portal: %v", r.err)
	}
	f := startFake(t, desk)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := portal.Screenshot(ctx, desk.BusAddress); !errors.Is(err, portal.ErrCancelled) {
		t.Errorf("silence: %v", err)
	}
	if handle := <-f.asked; handle != <-f.closed {
		t.Error("the question was left on the screen")
	}
	for name, body := range map[string][]any{
		"cancelled":  {uint32(1), map[string]dbus.Variant{}},
		"failed":     {uint32(2), map[string]dbus.Variant{}},
		"no picture": {uint32(0), map[string]dbus.Variant{}},
		"a number":   {uint32(0), map[string]dbus.Variant{"uri": dbus.MakeVariant(7)}},
		"other form": {"0"},
		"no file":    answerOf("/nonexistent/shot.png"),
	} {
		done := takePicture(t, desk)
		emit(t, f.conn, string(f.sender), <-f.asked, body...)
		if r := <-done; r.err == nil {
			t.Errorf("%s: a picture", name)
		}
	}
	if _, err := portal.Screenshot(t.Context(), "unix:path=/nonexistent"); err == nil {
		t.Error("without a bus: a picture")
	}
}

func TestFileOf(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]string{
		"file:///home/a/shot%20of.png":  "/home/a/shot of.png",
		"file://localhost/tmp/x.png":    "/tmp/x.png",
		"file://elsewhere/tmp/x.png":    "",
		"https://example.com/x.png":     "",
		"/tmp/x.png":                    "",
		"file:///tmp/x.png?y":           "",
		"file:///tmp/x.png#y":           "",
		"file://":                       "",
		"file:///tmp/%zz":               "",
		"file:///tmp/x\x00.png\nsecond": "",
	} {
		if got, err := portal.FileOf(uri); got != want || (err == nil) != (want != "") {
			t.Errorf("fileOf(%q) = %q, %v", uri, got, err)
		}
	}
}

// TestTakeLeavesAloneWhatIsNoPictureFile: links, directories and pipes stay.
func TestTakeLeavesAloneWhatIsNoPictureFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target := pictureFile(t, "x")
	link, pipe := filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	if err := errors.Join(os.Symlink(target, link), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{link, pipe, dir, filepath.Join(dir, "absent")} {
		if _, err := portal.Take(name); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	for _, name := range []string{link, pipe, dir, target} {
		if _, err := os.Lstat(name); err != nil {
			t.Errorf("%s is gone: %v", name, err)
		}
	}
}
