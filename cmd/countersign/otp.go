package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"countersign/internal/mend"
	"countersign/internal/secret"
	"countersign/ipc"
)

// Where a code came from, as the protocol says.
const (
	originTyped  = "typed"
	originLink   = "link"
	originImage  = "image"
	originScreen = "screen"
)

// codeFlags say where the code is, beside the argument.
type codeFlags struct {
	picture string
	screen  bool
}

func (a *app) otpCommand() *cobra.Command {
	var profile string
	var from codeFlags
	var queue bool
	cmd := &cobra.Command{
		Use: "otp [CODE | -]", Short: "Turn a one-time code into a request, and answer it", Args: usage(cobra.MaximumNArgs(1)),
		Long: "Otp takes the code that a page shows, or the whole link, from the argument, with \"-\" from\n" +
			"a line of standard input, with --qr from the QR code in a picture, or with --screen from\n" +
			"the QR code on the screen, of which the desktop takes a picture and may ask you first.\n\n" +
			"In a terminal it goes on as \"approve\" does; elsewhere, and with --queue, the request\n" +
			"waits as every other, to be prompted for.",
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := a.code(cmd.Context(), args, from)
			if err != nil {
				return err
			}
			in.Profile = profile
			return a.otp(cmd.Context(), in, queue)
		},
	}
	cmd.Flags().StringVar(&profile, "profile", "", "whose server is asked, where the code does not say: a `profile`")
	_ = cmd.RegisterFlagCompletionFunc("profile", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return a.completeProfile(cmd, nil, typed)
	})
	cmd.Flags().StringVar(&from.picture, "qr", "", "read the QR code in a PNG or JPEG `file`")
	_ = cmd.MarkFlagFilename("qr", "png", "jpg", "jpeg")
	cmd.Flags().BoolVar(&from.screen, "screen", false, "read the QR code on the screen")
	cmd.Flags().BoolVar(&queue, "queue", false, "let the request wait, and ask nothing here")
	return cmd
}

// code is the one that was given, in one way.
func (a *app) code(ctx context.Context, args []string, from codeFlags) (in ipc.Redemption, err error) {
	ways := len(args)
	for _, given := range []bool{from.picture != "", from.screen} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return in, usageError{errors.New("give the code, or - to read it from standard input, or --qr FILE, or --screen: one of them")}
	}
	in.Origin = originTyped
	switch {
	case from.picture != "":
		return pictured(originImage)(codeInFile(ctx, from.picture))
	case from.screen:
		return pictured(originScreen)(codeOnScreen(ctx))
	case args[0] == "-":
		in.Code, err = a.readLine()
	default:
		in.Code = secret.New([]byte(args[0]))
	}
	return in, err
}

// pictured makes a redemption of what a picture said.
func pictured(origin string) func(string, error) (ipc.Redemption, error) {
	return func(code string, err error) (ipc.Redemption, error) {
		return ipc.Redemption{Code: secret.New([]byte(code)), Origin: origin}, err
	}
}

func (a *app) otp(ctx context.Context, in ipc.Redemption, queue bool) error {
	r, err := a.service().Redeem(ctx, in)
	in.Code.Wipe()
	if err != nil {
		return err
	}
	if queue || a.json || !a.onTerminal() {
		return a.print(r, func() {
			a.say("Request %s of %s waits. Answer it with: %s", r.ID, r.Client.Name, mend.Words("countersign", "approve", r.ID))
		})
	}
	return a.approve(ctx, r.ID, "", false)
}
