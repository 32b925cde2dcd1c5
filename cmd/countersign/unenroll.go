package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"countersign/ipc"
)

func (a *app) unenrollCommand() *cobra.Command {
	var pinStdin, force bool
	cmd := &cobra.Command{
		Use: "unenroll PROFILE", Short: "End an enrollment, and remove its keys", Args: usage(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeProfile,
		Long: "Unenroll tells the server that this device leaves, removes the keys from their chips, and forgets\n" +
			"the profile. Decisions that have not reached the server are delivered first. Where the server\n" +
			"cannot be reached nothing is changed; --force ends the enrollment on this device all the same,\n" +
			"and the server lists it until somebody revokes it there. A token may want its PIN to remove a key.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.unenroll(cmd.Context(), args[0], pinStdin, force)
		},
	}
	cmd.Flags().BoolVar(&pinStdin, "pin-stdin", false, "read the token's PIN from a line on standard input, and its management key in hex from the next")
	cmd.Flags().BoolVar(&force, "force", false, "end it on this device though the server cannot be told")
	return cmd
}

func (a *app) unenroll(ctx context.Context, profile string, pinStdin, force bool) (err error) {
	in := ipc.End{Force: force}
	defer func() { in.PIN.Wipe(); in.Admin.Wipe() }()
	if pinStdin {
		if in.PIN, in.Admin, err = a.readTokenSecrets(); err != nil {
			return err
		}
	}
	if err := a.sure(ctx, profile); err != nil {
		return err
	}
	done, err := a.service().Unenroll(ctx, profile, in)
	for err != nil && a.onTerminal() {
		d := ipc.KeyDeletion{PIN: in.PIN, Admin: in.Admin}
		if a.completeDeletion(ctx, &d, ipc.AsError(err).Code) != nil {
			break
		}
		in.PIN, in.Admin = d.PIN, d.Admin
		done, err = a.service().Unenroll(ctx, profile, in)
	}
	if err != nil {
		return err
	}
	return a.print(done, func() {
		a.say("%s is enrolled here no more, and its keys are gone.", done.Account)
		if !done.ServerTold {
			a.say("The server has not been told and still lists this device: have it revoked there.")
		}
	})
}

// sure asks a person at a terminal whether they mean it. A script means it.
func (a *app) sure(ctx context.Context, profile string) error {
	if !a.onTerminal() || a.json {
		return nil
	}
	p, err := a.service().Profile(ctx, profile, false)
	if err != nil {
		return err
	}
	tty, err := a.ask("")
	if err != nil {
		return err
	}
	defer tty.Close()
	line, err := tty.ReadLine(ctx, fmt.Sprintf("End the enrollment of %s at %s? [y/N] ", p.User, p.Server))
	if err != nil {
		return noAnswer(err)
	}
	if strings.ToLower(strings.TrimSpace(line)) != "y" {
		return ipc.Errorf("no_answer", "", "nothing was changed")
	}
	return nil
}
