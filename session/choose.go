package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"countersign/internal/zone"
	"countersign/ipc"
	"countersign/session/logind"
	"countersign/session/notify"
	"countersign/session/prompt"
	"countersign/session/text"
)

// Ways to prompt, as Config names them.
const (
	// Auto is Desktop where there is a display, a session bus and a pinentry
	// program, else Terminal.
	Auto = "auto"
	// Desktop shows notifications on the session bus and asks in pinentry
	// windows.
	Desktop = "desktop"
	// TerminalOnly asks on the terminal the program was started on.
	TerminalOnly = "terminal"
)

// Config is what New makes a session of.
type Config struct {
	Service Service
	// Incidents, unless nil, is told of forged signals.
	Incidents Incidents
	// Prompt is Auto, Desktop or TerminalOnly; empty is Auto.
	Prompt string
	// Pinentry is the pinentry program for Desktop; empty searches PATH.
	Pinentry string
	Log      *slog.Logger
	// OpenPage shows a page in the person's browser.
	OpenPage func(ctx context.Context, page string) error
	// Ready is as in Session.
	Ready func()
}

// New makes a session out of what this login session offers: it reads DISPLAY,
// WAYLAND_DISPLAY, DBUS_SESSION_BUS_ADDRESS, XDG_RUNTIME_DIR, the locale and
// PATH. It fails when there is no way to ask, and says what is missing.
func New(c Config) (*Session, error) {
	s := &Session{
		Service: c.Service, Log: c.Log, Ready: c.Ready, View: Here(), Text: text.In(text.Preferred()),
		strangers: newStrangers(c.Log, c.Incidents),
	}
	seat := logind.New(c.Log)
	seat.Stranger = s.strangers.saw
	s.Seat = seat
	var err error
	switch c.Prompt {
	case Desktop:
		err = s.useDesktop(c)
	case TerminalOnly:
		err = s.useTerminal()
	case Auto, "":
		if err = s.useDesktop(c); err != nil {
			if err2 := s.useTerminal(); err2 != nil {
				err = errors.Join(err, err2)
			} else {
				c.Log.Info("asking on the terminal", "reason", err)
				err = nil
			}
		}
	default:
		err = fmt.Errorf("prompt %q is none of auto, desktop and terminal", c.Prompt)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Here is how records are rendered for the user of this process: in their
// language and time zone, as the environment says.
func Here() ipc.View {
	return ipc.View{Language: text.Preferred(), TimeZone: zone.Local()}
}

func (s *Session) useDesktop(c Config) error {
	display := os.Getenv("DISPLAY")
	if display == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return errors.New("there is no display: DISPLAY and WAYLAND_DISPLAY are unset")
	}
	address := notify.Address()
	if address == "" {
		return errors.New("there is no session bus: DBUS_SESSION_BUS_ADDRESS is unset")
	}
	program := c.Pinentry
	if program == "" {
		found, err := prompt.FindPinentry()
		if err != nil {
			return err
		}
		program = found
	}
	n := notify.New(address, c.Log)
	n.Stranger = s.strangers.saw
	n.Words = notify.Words{
		Open:    s.Text.T("Open"),
		Middle:  s.Text.T("Middle-click to open."),
		Command: s.Text.T("To answer, run: countersign requests"),
	}
	s.Notifier = n
	s.useGuide(c, address)
	s.Prompter = &prompt.Pinentry{Program: program, Display: display, Locale: locale()}
	return nil
}

// useGuide leads the person to their enrollment, where that can be remembered: else
// it would come at every start.
func (s *Session) useGuide(c Config, address string) {
	memory, err := HomeMemory()
	if err != nil {
		c.Log.Info("nobody is led to an enrollment", "reason", err)
		return
	}
	n := notify.New(address, c.Log)
	n.Stranger, n.Calm = s.strangers.saw, true
	n.Words = notify.Words{
		Open: s.Text.T("Set up"), Decline: s.Text.T("Later"),
		Middle:  s.Text.T("Middle-click to set it up, left-click for later."),
		Command: s.Text.T("Your administrator has the link."),
	}
	s.Guide = &Guide{Inviter: n, Open: c.OpenPage, Memory: memory, Text: s.Text, Log: c.Log, Now: time.Now}
}

func (s *Session) useTerminal() error {
	tty, err := prompt.OpenTTY()
	if err != nil {
		return err
	}
	t := NewTerminal(tty)
	t.Text = s.Text
	s.Notifier, s.Prompter = ownTTY{t}, t
	s.Remote = true // whoever started it there is there
	return nil
}

// ownTTY closes the terminal that New opened.
type ownTTY struct{ *Terminal }

func (o ownTTY) Run(ctx context.Context) error {
	defer func() {
		o.turn.Lock() // a prompt must first leave the terminal as it was
		defer o.turn.Unlock()
		_ = o.tty.Close()
	}()
	return o.Terminal.Run(ctx)
}

// locale is the character type locale, as setlocale(3) finds it.
func locale() string {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := os.Getenv(name); v != "" {
			return v
		}
	}
	return ""
}
