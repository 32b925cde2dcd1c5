package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"countersign/ipc"
	"countersign/session/prompt"
)

func (a *app) keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "keys", Short: "List your keys in the security chips", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.service().Keys(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(map[string]any{"keys": list}, func() {
				if len(list) == 0 {
					a.say("None. Ask for an enrollment link, and: countersign enroll LINK")
				}
				a.sayKeys(list)
			})
		},
	}
	cmd.AddCommand(a.keysDeleteCommand())
	return cmd
}

func (a *app) sayKeys(list []ipc.StoredKey) {
	for _, k := range list {
		a.say("%s  %-8s  %s  %s", k.Owner, k.Role, strings.TrimSpace(k.Provider+" "+k.Place), keyState(k))
		if k.Account != "" {
			a.say("    %s; %s", k.Account, k.Protection)
		}
		if k.Detail != "" {
			a.say("    %s", k.Detail)
		}
	}
}

func keyState(k ipc.StoredKey) string {
	switch {
	case k.LockedUntil != nil:
		return fmt.Sprintf("%s until about %s", k.State, k.LockedUntil.Local().Format("2006-01-02 15:04:05"))
	case k.TriesLeft != nil:
		return fmt.Sprintf("%s, %d PIN tries left", k.State, *k.TriesLeft)
	}
	return k.State
}

func (a *app) keysDeleteCommand() *cobra.Command {
	var pinStdin bool
	cmd := &cobra.Command{
		Use: "delete PROFILE", Short: "Remove the keys of a profile that is over, and forget it", Args: usage(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeProfile,
		Long: "Delete removes the keys of a profile that the server has revoked from their chips,\n" +
			"and forgets the profile. It takes the id of a leftover from the list, too. A token\n" +
			"may want its PIN for that, and its management key.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.deleteKeys(cmd.Context(), args[0], pinStdin)
		},
	}
	cmd.Flags().BoolVar(&pinStdin, "pin-stdin", false, "read the token's PIN from a line on standard input, and its management key in hex from the next")
	return cmd
}

func (a *app) deleteKeys(ctx context.Context, owner string, pinStdin bool) (err error) {
	var d ipc.KeyDeletion
	defer func() { d.PIN.Wipe(); d.Admin.Wipe() }()
	if pinStdin {
		if d.PIN, d.Admin, err = a.readTokenSecrets(); err != nil {
			return err
		}
	}
	gone, err := a.service().DeleteKeys(ctx, owner, d)
	for err != nil && a.onTerminal() {
		if again := a.completeDeletion(ctx, &d, ipc.AsError(err).Code); again != nil {
			break
		}
		gone, err = a.service().DeleteKeys(ctx, owner, d)
	}
	if err != nil {
		return err
	}
	return a.print(map[string]any{"deleted": gone}, func() {
		a.say("Removed:")
		a.sayKeys(gone)
	})
}

var errNothingToAsk = errors.New("no secret that could be asked for helps")

// completeDeletion asks for the secret that the token wants and did not get.
func (a *app) completeDeletion(ctx context.Context, d *ipc.KeyDeletion, code string) (err error) {
	switch {
	case code == ipc.CodePINRequired && d.PIN.Empty():
		tty, err := a.ask("")
		if err != nil {
			return err
		}
		defer tty.Close()
		d.PIN, err = prompt.ReadPIN(ctx, tty, "PIN of the token: ")
		return err
	case code == ipc.CodeAdminRequired && d.Admin.Empty():
		d.Admin, err = a.askAdmin(ctx)
		return err
	}
	return errNothingToAsk
}
