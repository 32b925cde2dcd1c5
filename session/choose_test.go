package session_test

import (
	"log/slog"
	"strings"
	"testing"

	"countersign/session"
)

func TestNewSaysWhatIsMissing(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, tt := range []struct{ display, bus, path, want string }{
		{"", "unix:path=/x", "/usr/bin", "no display"},
		{":99", "", "/usr/bin", "no session bus"},
		{":99", "unix:path=/x", "/nonexistent", "no pinentry program"},
	} {
		t.Setenv("DISPLAY", tt.display)
		t.Setenv("WAYLAND_DISPLAY", "")
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", tt.bus)
		t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
		t.Setenv("PATH", tt.path)
		if _, err := session.New(session.Config{Prompt: session.Desktop, Log: log}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
	if _, err := session.New(session.Config{Prompt: "window", Log: log}); err == nil {
		t.Error("an unknown way to prompt is accepted")
	}
}
