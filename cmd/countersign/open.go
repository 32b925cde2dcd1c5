package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"countersign/internal/secret"
	"countersign/ipc"
	"countersign/session/prompt"
	"countersign/session/text"
)

// openCommand is what a desktop starts for a link. Anybody can have one opened:
// a page, a mail, another program. So nothing is decided, and no server is
// spoken to that the person has not agreed to.
func (a *app) openCommand() *cobra.Command {
	return &cobra.Command{
		Use: "open LINK", Short: "Open a countersign: link", Args: usage(cobra.ExactArgs(1)),
		Long: "Open is what the desktop starts for a link. A link with a one-time code makes a request\n" +
			"that waits; answer it where you are prompted, or with \"approve\". A link to enroll names\n" +
			"its server and asks you first.",
		RunE: func(cmd *cobra.Command, args []string) error { return a.open(cmd.Context(), args[0]) },
	}
}

func (a *app) open(ctx context.Context, link string) error {
	var err error
	switch {
	case strings.HasPrefix(link, "countersign:otp?"):
		err = a.otp(ctx, ipc.Redemption{Code: secret.New([]byte(link)), Origin: originLink}, true)
	case strings.HasPrefix(link, "countersign:enroll?"):
		err = a.openEnrollment(ctx, link)
	default:
		err = ipc.Errorf(ipc.CodeBadRequest, "copy the whole link, in quotes", "this is no link of Countersign's")
	}
	a.tellFailure(ctx, err)
	return err
}

// openEnrollment asks before anybody hears of the link, and enrolls with a key
// in the TPM; other keys take a terminal and "enroll".
func (a *app) openEnrollment(ctx context.Context, link string) error {
	server, err := linkServer(link)
	if err != nil {
		return err
	}
	in := ipc.Enrollment{URI: secret.New([]byte(link)), Key: "tpm", Algorithm: "ES256"}
	if a.onTerminal() {
		in.PIN, err = a.agreeOnTerminal(ctx, server)
	} else {
		in.PIN, err = a.agreeInWindow(ctx, server)
	}
	defer func() { in.PIN.Wipe() }()
	if err != nil {
		return noAnswer(err)
	}
	done, err := a.submit(ctx, &in)
	if err != nil {
		return err
	}
	a.tellEnrolled(ctx, server, done)
	return a.print(done, func() { a.sayEnrolled(server, done) })
}

func (a *app) agreeOnTerminal(ctx context.Context, server string) (secret.Value, error) {
	tty, err := a.ask("there is no terminal to ask on")
	if err != nil {
		return secret.Value{}, err
	}
	defer tty.Close()
	say := text.In(text.Preferred()).T
	fmt.Fprintf(tty, "%s\n\n    %s\n\n%s\n%s\n", say("A link asks to enroll this computer at"), server,
		say("Whoever runs that server can then ask you to approve things."), say("Go on only if you have just asked for this link."))
	if err := tty.Flush(); err != nil {
		return secret.Value{}, err
	}
	switch line, err := tty.ReadLine(ctx, say("Enroll there? [y/N]")+" "); {
	case err != nil:
		return secret.Value{}, err
	case strings.ToLower(strings.TrimSpace(line)) != "y" && strings.ToLower(strings.TrimSpace(line)) != "yes":
		return secret.Value{}, prompt.ErrNoAnswer
	}
	return a.chooseTwice(ctx, tty)
}

func (a *app) agreeInWindow(ctx context.Context, server string) (secret.Value, error) {
	w, err := windows()
	if err != nil {
		return secret.Value{}, ipc.Errorf("no_prompt", "run it in a terminal", "there is no way to ask anybody: %v", err)
	}
	w.LeastPIN = a.leastPIN(ctx)
	return w.ChoosePIN(ctx, text.In(text.Preferred()), server)
}

// windows are where there is no terminal.
func windows() (*prompt.Pinentry, error) {
	if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return nil, errors.New("there is neither a terminal nor a display")
	}
	program, err := prompt.FindPinentry()
	return &prompt.Pinentry{Program: program, Display: os.Getenv("DISPLAY"), Locale: os.Getenv("LANG")}, err
}

// tellFailure shows why a link came to nothing, where standard error is shown
// to nobody. A question that was left is its own answer.
func (a *app) tellFailure(ctx context.Context, err error) {
	if err == nil || a.json || a.onTerminal() || ipc.AsError(err).Code == codeNoAnswer {
		return
	}
	e := ipc.AsError(err)
	a.tell(ctx, text.In(text.Preferred()).T("Countersign did not open the link"), e.Message, "", e.Cure)
}

func (a *app) tellEnrolled(ctx context.Context, server string, done ipc.Enrolled) {
	if a.json || a.onTerminal() {
		return
	}
	say := text.In(text.Preferred()).T
	lines := []string{say("This computer is enrolled at %s", server)}
	if done.ConfirmCode != "" {
		lines = append(lines, "", say("Confirm this code where the link came from: %s", done.ConfirmCode))
	}
	a.tell(ctx, say("Countersign enrollment"), lines...)
}

func (a *app) tell(ctx context.Context, title string, lines ...string) {
	w, err := windows()
	if err == nil {
		err = w.Tell(ctx, text.In(text.Preferred()), title, lines...)
	}
	if err != nil {
		fmt.Fprintln(a.err, "countersign: nothing could be shown:", err)
	}
}
