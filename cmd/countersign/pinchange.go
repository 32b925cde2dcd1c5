package main

import (
	"context"

	"github.com/spf13/cobra"

	"countersign/ipc"
	"countersign/session/prompt"
)

func (a *app) pinCommand() *cobra.Command {
	pin := &cobra.Command{
		Use: "pin", Short: "Change the PIN of a profile", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var pinStdin bool
	change := &cobra.Command{
		Use: "change PROFILE", Short: "Choose another PIN", Args: usage(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeProfile,
		Long: "Change asks for the present PIN and for a new one. In a TPM a new PIN is a new key,\n" +
			"made and certified by the server before the old one is removed; a token changes its PIN in place.\n" +
			"With --pin-stdin the present PIN is the first line of standard input and the new one the second.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changePIN(cmd.Context(), args[0], pinStdin)
		},
	}
	change.Flags().BoolVar(&pinStdin, "pin-stdin", false, "read both PINs from lines on standard input")
	pin.AddCommand(change)
	return pin
}

func (a *app) changePIN(ctx context.Context, profile string, pinStdin bool) (err error) {
	var in ipc.PINChange
	if pinStdin {
		in, err = a.readPINChange()
	} else {
		in, err = a.askPINChange(ctx)
	}
	defer func() { in.Old.Wipe(); in.New.Wipe() }()
	if err != nil {
		return err
	}
	done, err := a.service().ChangePIN(ctx, profile, in)
	if err != nil {
		return err
	}
	return a.print(done, func() {
		a.say("The PIN is changed.")
		switch {
		case done.NewKey && done.Settled:
			a.say("It came with a new key, which the server has certified; the old one is gone.")
		case done.NewKey:
			a.say("It came with a new key, which the server has certified; the old one goes by itself\nas soon as the server has everything that it signed.")
		}
	})
}

func (a *app) readPINChange() (in ipc.PINChange, err error) {
	if in.Old, err = a.readLine(); err != nil {
		return in, err
	}
	in.New, err = a.readLine()
	return in, err
}

func (a *app) askPINChange(ctx context.Context) (in ipc.PINChange, err error) {
	tty, err := a.ask("there is no terminal to ask for the PINs on: use --pin-stdin")
	if err != nil {
		return in, err
	}
	defer tty.Close()
	if in.Old, err = prompt.ReadPIN(ctx, tty, "Present PIN: "); err != nil {
		return in, noAnswer(err)
	}
	in.New, err = a.chooseTwice(ctx, tty)
	return in, err
}
