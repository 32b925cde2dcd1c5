package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"countersign/internal/secret"
	"countersign/ipc"
)

// Where a code came from, as the protocol says.
const originTyped = "typed"

func (a *app) otpCommand() *cobra.Command {
	var profile string
	var queue bool
	cmd := &cobra.Command{
		Use: "otp [CODE | -]", Short: "Turn a one-time code into a request, and answer it", Args: usage(cobra.MaximumNArgs(1)),
		Long: "Otp takes the code that a page shows, or the whole link, from the argument or with \"-\" from\n" +
			"a line of standard input. In a terminal it goes on as \"approve\" does; elsewhere, and with\n" +
			"--queue, the request waits as every other, to be prompted for.",
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := a.code(args)
			if err != nil {
				return err
			}
			in.Profile = profile
			return a.otp(cmd.Context(), in, queue)
		},
	}
	cmd.Flags().StringVar(&profile, "profile", "", "whose server is asked, where the code does not say: a `profile`")
	cmd.Flags().BoolVar(&queue, "queue", false, "let the request wait, and ask nothing here")
	return cmd
}

// code is the one that was given.
func (a *app) code(args []string) (in ipc.Redemption, err error) {
	switch {
	case len(args) == 0:
		return in, usageError{errors.New("give the code, or - to read it from standard input")}
	case args[0] != "-":
		in.Code = secret.New([]byte(args[0]))
	default:
		if in.Code, err = a.readLine(); err != nil {
			return in, err
		}
	}
	in.Origin = originTyped
	return in, nil
}

func (a *app) otp(ctx context.Context, in ipc.Redemption, queue bool) error {
	r, err := a.service().Redeem(ctx, in)
	in.Code.Wipe()
	if err != nil {
		return err
	}
	if queue || a.json || !a.onTerminal() {
		return a.print(r, func() {
			a.say("Request %s of %s waits. Answer it with: countersign approve %s", r.ID, r.Client.Name, r.ID)
		})
	}
	return a.approve(ctx, r.ID, "", false)
}
