package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"
)

const (
	portalPath  = dbus.ObjectPath("/org/freedesktop/portal/desktop")
	shooterName = "org.freedesktop.impl.portal.desktop.shooter"
	shooterFace = "org.freedesktop.impl.portal.Screenshot"
)

// StartPortal starts Debian's xdg-desktop-portal in the session, with the
// dialogs of GTK. Debian has no back end that takes a picture of a plain X
// screen, so that one part, which a desktop brings, is ours.
func (d *Desktop) StartPortal() {
	d.tb.Helper()
	Need(d.tb, "/usr/libexec/xdg-desktop-portal", "/usr/libexec/xdg-desktop-portal-gtk", "/usr/libexec/xdg-permission-store", "xwd", "xwud")
	dir := tempDir(d.tb)
	for name, text := range map[string]string{
		"gtk.portal":     "[portal]\nDBusName=org.freedesktop.impl.portal.desktop.gtk\nInterfaces=org.freedesktop.impl.portal.Access\nUseIn=test\n",
		"shooter.portal": "[portal]\nDBusName=" + shooterName + "\nInterfaces=" + shooterFace + "\nUseIn=test\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			d.tb.Fatal(err)
		}
	}
	d.startShooter(filepath.Join(dir, "shot of the screen.png"))
	d.start(nil, "/usr/libexec/xdg-permission-store")
	d.WaitName("org.freedesktop.impl.portal.PermissionStore")
	d.start(nil, "/usr/libexec/xdg-desktop-portal-gtk")
	d.WaitName("org.freedesktop.impl.portal.desktop.gtk")
	d.start(nil, "env", "XDG_DESKTOP_PORTAL_DIR="+dir, "XDG_CURRENT_DESKTOP=test", "/usr/libexec/xdg-desktop-portal")
	d.WaitName("org.freedesktop.portal.Desktop")
}

// Bus connects to the session bus until the test ends.
func (d *Desktop) Bus() *dbus.Conn {
	d.tb.Helper()
	conn, err := dbus.Connect(d.BusAddress)
	if err != nil {
		d.tb.Fatal(err)
	}
	d.tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// WaitName waits until a name on the session bus has an owner.
func (d *Desktop) WaitName(name string) {
	d.tb.Helper()
	conn := d.Bus()
	Eventually(d.tb, name+" is there", func() bool {
		var has bool
		return conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, name).Store(&has) == nil && has
	})
}

// shooter takes a picture of the real screen.
type shooter struct {
	d    *Desktop
	file string
}

func (d *Desktop) startShooter(file string) {
	d.tb.Helper()
	conn := d.Bus()
	// From version 2 on the portal asks the person itself.
	version := map[string]*prop.Prop{"version": {Value: uint32(2)}}
	_, err := prop.Export(conn, portalPath, prop.Map{shooterFace: version})
	err = errors.Join(err, conn.Export(&shooter{d, file}, portalPath, shooterFace))
	if err != nil {
		d.tb.Fatal(err)
	}
	if reply, err := conn.RequestName(shooterName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		d.tb.Fatal(reply, err)
	}
}

// Screenshot implements org.freedesktop.impl.portal.Screenshot.
func (s *shooter) Screenshot(_ dbus.ObjectPath, _, _ string, _ map[string]dbus.Variant) (uint32, map[string]dbus.Variant, *dbus.Error) {
	cmd := exec.Command("xwd", "-root", "-silent")
	cmd.Env = s.d.Env()
	var out bytes.Buffer
	dump, err := cmd.Output()
	if err == nil {
		err = png.Encode(&out, fromXWD(s.d.tb, dump))
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

// ShowPicture puts a window with a PNG picture on the screen.
func (d *Desktop) ShowPicture(picture []byte) {
	d.tb.Helper()
	img, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		d.tb.Fatal(err)
	}
	file := filepath.Join(tempDir(d.tb), "picture.xwd")
	if err := os.WriteFile(file, toXWD(d.tb, img), 0o600); err != nil {
		d.tb.Fatal(err)
	}
	d.start(nil, "xwud", "-in", file, "-geometry", "+500+300")
	Eventually(d.tb, "the window with the picture", func() bool { return d.HasWindow("xwud") })
}

// AnswerPortal clicks on a button of the portal's question until it is gone: at
// first it takes no clicks.
func (d *Desktop) AnswerPortal(allow bool) {
	d.tb.Helper()
	x := 25
	if allow {
		x = 75
	}
	asked := false
	Eventually(d.tb, "the portal asks, and hears", func() bool {
		ids, err := d.run("xdotool", "search", "--onlyvisible", "--class", "xdg-desktop-portal-gtk")
		if err != nil || ids == "" {
			return asked
		}
		asked = true
		id, _, _ := strings.Cut(ids, "\n")
		var width, height int
		size, _ := d.run("xdotool", "getwindowgeometry", id)
		if _, err := fmt.Sscanf(size[strings.LastIndex(size, " ")+1:], "%dx%d", &width, &height); err == nil {
			_, _ = d.run("xdotool", "mousemove", "--window", id, fmt.Sprint(width*x/100), fmt.Sprint(height*9/10), "click", "1")
		}
		return false
	})
}
