package portal

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"
)

const openURI = "org.freedesktop.portal.OpenURI.OpenURI"

// ErrNoBrowser says that this desktop's portal opens no pages.
var ErrNoBrowser = errors.New("the desktop opens no pages for programs")

// OpenPage has the desktop show a page, over the session bus at a D-Bus address.
// The desktop may ask with which program. Whether the page is shown, nobody tells.
func OpenPage(ctx context.Context, address, page string) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	conn, err := dbus.Connect(address, dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("session bus: %w", err)
	}
	defer conn.Close()
	var handle dbus.ObjectPath
	err = conn.Object(service, object).CallWithContext(ctx, openURI, 0, "", page, map[string]dbus.Variant{}).Store(&handle)
	switch {
	case missing(err):
		return fmt.Errorf("%w: %w", ErrNoBrowser, err)
	case err != nil:
		return fmt.Errorf("portal: %w", err)
	}
	return nil
}
