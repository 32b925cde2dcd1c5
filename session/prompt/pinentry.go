package prompt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Pinentry draws prompts with one of the pinentry programs of GnuPG. Its
// fields are set before use and not changed after.
type Pinentry struct {
	// Program is the path of the pinentry program.
	Program string
	// Display is the X11 display to draw on, "" for what the environment says.
	Display string
	// TTYName, TTYType and Locale are for the flavors that draw in a
	// terminal: its device, $TERM and the character type locale.
	TTYName, TTYType, Locale string
	// LeastPIN is the least length of a new PIN in characters, where this computer's
	// policy asks for more than a chip does.
	LeastPIN int
	// Now is the clock that decides what came too early; nil is time.Now.
	Now func() time.Time
}

// FindPinentry returns the pinentry program to draw windows with: what the
// system's owner made "pinentry", unless that draws in terminals only, else
// the first flavor in PATH that draws windows. The one of GNOME comes last,
// since it has no third button: with it one denies by "countersign deny".
func FindPinentry() (string, error) {
	for _, flavor := range []string{"", "-gtk-2", "-qt", "-qt5", "-fltk", "-x11", "-gnome3"} {
		path, err := exec.LookPath("pinentry" + flavor)
		if err == nil && !textOnly(path) && (flavor == "-gnome3" || !is(path, "-gnome3")) {
			return path, nil
		}
	}
	return "", errors.New("no pinentry program for windows is in PATH: install pinentry-gtk2, pinentry-qt or pinentry-gnome3")
}

// textOnly reports whether a program draws in terminals alone.
func textOnly(path string) bool { return is(path, "-curses", "-tty") }

// is goes by the name that the alternatives system points to.
func is(path string, flavors ...string) bool {
	target, err := filepath.EvalSymlinks(path)
	return err == nil && slices.ContainsFunc(flavors, func(f string) bool { return strings.HasSuffix(target, f) })
}

// window is one page: one run of the pinentry program, so that no setting and
// no byte typed leaks from one page into the next.
type window struct {
	cmd    *exec.Cmd
	talk   *assuan
	flavor string
}

// openWindow starts the program, which ctx's end kills.
func (p *Pinentry) openWindow(ctx context.Context) (*window, error) {
	cmd := exec.CommandContext(ctx, p.Program)
	cmd.Env = os.Environ()
	if p.Display != "" {
		cmd.Args = append(cmd.Args, "--display", p.Display)
		cmd.Env = append(cmd.Env, "DISPLAY="+p.Display)
	}
	// Should it leave children behind that hold the pipe, we do not wait.
	cmd.WaitDelay = time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("pinentry: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("pinentry: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("pinentry: %w", err)
	}
	w := &window{cmd: cmd}
	if w.talk, err = newAssuan(in, out); err == nil {
		err = w.configure(p)
	}
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// configure passes on where to draw. Options are wishes: a flavor that does
// not know one draws all the same, so refusals are ignored.
func (w *window) configure(p *Pinentry) error {
	options := []struct{ name, value string }{
		{"display", p.Display},
		{"ttyname", p.TTYName},
		{"ttytype", p.TTYType},
		{"lc-ctype", p.Locale},
	}
	lines := []string{"no-grab"}
	for _, o := range options {
		if o.value != "" {
			lines = append(lines, o.name+"="+o.value)
		}
	}
	for _, l := range lines {
		if _, err := w.talk.do("OPTION", l); err != nil && !isRefusal(err) {
			return err
		}
	}
	flavor, err := w.talk.do("GETINFO", "flavor")
	if err != nil && !isRefusal(err) {
		return err
	}
	w.flavor = string(flavor.Reveal())
	return nil
}

func isRefusal(err error) bool {
	_, ok := errors.AsType[*gpgError](err)
	return ok
}

// page is what one window shows.
type page struct {
	title, text, mistake string
	// ok, notOK and cancel label the buttons.
	ok, notOK, cancel string
	// label stands before the input field.
	label string
}

func (w *window) show(pg page) error {
	for _, s := range []struct{ command, arg string }{
		{"SETTITLE", pg.title},
		{"SETDESC", pg.text},
		{"SETERROR", short(pg.mistake, mistakeMax)},
		{"SETPROMPT", pg.label},
		{"SETOK", pg.ok},
		{"SETNOTOK", pg.notOK},
		{"SETCANCEL", pg.cancel},
	} {
		if s.arg == "" {
			continue
		}
		if _, err := w.talk.do(s.command, s.arg); err != nil {
			return err
		}
	}
	return nil
}

// close ends the program, politely or not: nothing of it is needed any more.
func (w *window) close() {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}
