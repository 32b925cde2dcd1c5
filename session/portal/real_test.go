package portal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"
	"rsc.io/qr"

	"countersign/internal/testenv"
	"countersign/session/portal"
	qrread "countersign/session/qr"
)

const (
	frontend    = "/usr/libexec/xdg-desktop-portal"
	gtk         = "/usr/libexec/xdg-desktop-portal-gtk"
	permissions = "/usr/libexec/xdg-permission-store"
	link        = "countersign:otp?server=https%3A%2F%2Fsign.example.com&otp=MFRGGZDFMZTWQ2LKNNWG23TPOA"
)

// realPortal starts Debian's xdg-desktop-portal with GTK's dialogs. Debian has
// no back end that takes pictures without a compositor, so that one part, which
// the desktop brings, is shooter.
func realPortal(t *testing.T) *testenv.Desktop {
	t.Helper()
	testenv.Need(t, "/usr/libexec/xdg-desktop-portal", "/usr/libexec/xdg-desktop-portal-gtk", "/usr/libexec/xdg-permission-store", "xwd", "xwud")
	desk := testenv.StartDesktop(t)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"gtk.portal":     "[portal]\nDBusName=org.freedesktop.impl.portal.desktop.gtk\nInterfaces=org.freedesktop.impl.portal.Access\nUseIn=test\n",
		"shooter.portal": "[portal]\nDBusName=" + shooterName + "\nInterfaces=org.freedesktop.impl.portal.Screenshot\nUseIn=test\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	serve(t, desk)
	run(t, desk, permissions)
	waitName(t, desk, "org.freedesktop.impl.portal.PermissionStore")
	run(t, desk, gtk)
	waitName(t, desk, "org.freedesktop.impl.portal.desktop.gtk")
	run(t, desk, frontend, "XDG_DESKTOP_PORTAL_DIR="+dir, "XDG_CURRENT_DESKTOP=test")
	waitName(t, desk, "org.freedesktop.portal.Desktop")
	return desk
}

// run keeps a program of the session running until the test ends.
func run(t *testing.T, desk *testenv.Desktop, program string, env ...string) {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env = append(desk.Env(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

func connect(t *testing.T, desk *testenv.Desktop) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(desk.BusAddress)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func waitName(t *testing.T, desk *testenv.Desktop, name string) {
	t.Helper()
	conn := connect(t, desk)
	testenv.Eventually(t, name+" is there", func() bool {
		var has bool
		return conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, name).Store(&has) == nil && has
	})
}

const shooterName = "org.freedesktop.impl.portal.desktop.shooter"

// shooter is a desktop's own part: it takes a picture of the real screen.
type shooter struct {
	t    *testing.T
	desk *testenv.Desktop
	file string
}

func serve(t *testing.T, desk *testenv.Desktop) {
	t.Helper()
	s := &shooter{t: t, desk: desk, file: filepath.Join(t.TempDir(), "shot of the screen.png")}
	conn := connect(t, desk)
	if err := conn.Export(s, "/org/freedesktop/portal/desktop", "org.freedesktop.impl.portal.Screenshot"); err != nil {
		t.Fatal(err)
	}
	// From version 2 on the portal asks the person itself.
	version := map[string]*prop.Prop{"version": {Value: uint32(2)}}
	if _, err := prop.Export(conn, "/org/freedesktop/portal/desktop", prop.Map{"org.freedesktop.impl.portal.Screenshot": version}); err != nil {
		t.Fatal(err)
	}
	if reply, err := conn.RequestName(shooterName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(reply, err)
	}
}

// Screenshot implements org.freedesktop.impl.portal.Screenshot.
func (s *shooter) Screenshot(_ dbus.ObjectPath, _, _ string, _ map[string]dbus.Variant) (uint32, map[string]dbus.Variant, *dbus.Error) {
	cmd := exec.Command("xwd", "-root", "-silent")
	cmd.Env = s.desk.Env()
	dump, err := cmd.Output()
	var out bytes.Buffer
	if err == nil {
		err = png.Encode(&out, fromXWD(s.t, dump))
	}
	if err == nil {
		err = os.WriteFile(s.file, out.Bytes(), 0o600)
	}
	if err != nil {
		return 2, nil, dbus.MakeFailedError(err)
	}
	uri := "file://" + strings.ReplaceAll(s.file, " ", "%20")
	return 0, map[string]dbus.Variant{"uri": dbus.MakeVariant(uri)}, nil
}

// showCode puts a window with a code on the screen.
func showCode(t *testing.T, desk *testenv.Desktop, text string) {
	t.Helper()
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		t.Fatal(err)
	}
	code.Scale = 5
	img, err := png.Decode(bytes.NewReader(code.PNG()))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "code.xwd")
	if err := os.WriteFile(file, toXWD(t, img), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("xwud", "-in", file, "-geometry", "+500+300")
	cmd.Env = desk.Env()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	testenv.Eventually(t, "the window with the code", func() bool { return desk.HasWindow("xwud") || desk.HasWindow("X Window Dump") })
}

// press clicks on a part of the portal's dialog, in percent of its size, until
// it is gone: at first it takes no clicks.
func press(t *testing.T, desk *testenv.Desktop, x, y int) {
	t.Helper()
	xdotool := func(args ...string) (string, error) {
		cmd := exec.Command("xdotool", args...)
		cmd.Env = desk.Env()
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	asked := false
	testenv.Eventually(t, "the portal asks, and hears", func() bool {
		ids, err := xdotool("search", "--onlyvisible", "--class", "xdg-desktop-portal-gtk")
		if err != nil || ids == "" {
			return asked
		}
		asked = true
		id, _, _ := strings.Cut(ids, "\n")
		var width, height int
		size, _ := xdotool("getwindowgeometry", id)
		if _, err := fmt.Sscanf(size[strings.LastIndex(size, " ")+1:], "%dx%d", &width, &height); err == nil {
			_, _ = xdotool("mousemove", "--window", id, strconv.Itoa(width*x/100), strconv.Itoa(height*y/100), "click", "1")
		}
		return false
	})
}

type shot struct {
	file *os.File
	err  error
}

func takePicture(t *testing.T, desk *testenv.Desktop) <-chan shot {
	t.Helper()
	done := make(chan shot, 1)
	go func() {
		f, err := portal.Screenshot(t.Context(), desk.BusAddress)
		done <- shot{f, err}
	}()
	return done
}

// TestScreenshotThroughTheRealPortal has a person asked by the real dialog, who
// allows it.
func TestScreenshotThroughTheRealPortal(t *testing.T) {
	t.Parallel()
	desk := realPortal(t)
	showCode(t, desk, link)
	done := takePicture(t, desk)
	press(t, desk, 75, 90)
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	defer r.file.Close()
	data, err := io.ReadAll(r.file)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := qrread.Decode(data); err != nil || got != link {
		t.Errorf("the picture says %q, %v", got, err)
	}
	if _, err := os.Stat(r.file.Name()); !os.IsNotExist(err) {
		t.Error("the picture was left on the disk")
	}
}

// TestScreenshotDenied is the same person, who does not.
func TestScreenshotDenied(t *testing.T) {
	t.Parallel()
	desk := realPortal(t)
	done := takePicture(t, desk)
	press(t, desk, 25, 90)
	if r := <-done; !errors.Is(r.err, portal.ErrCancelled) || errors.Is(r.err, context.DeadlineExceeded) {
		t.Errorf("Screenshot = %v", r.err)
	}
}
