package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"countersign/ipc"
	"countersign/session/prompt"
)

func (a *app) renewCommand() *cobra.Command {
	var pinStdin, device bool
	cmd := &cobra.Command{
		Use: "renew PROFILE", Short: "Renew the keys of a profile and their certificates", Args: usage(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeProfile,
		Long: "Renew makes new keys with the PIN that there is, has the server certify them on the old keys' word,\n" +
			"and removes the old ones. The service renews the device key by itself in time, and says when the\n" +
			"approval key is due, which takes the PIN. A device key on a token stays as it is.\n" +
			"With --pin-stdin the PIN is the first line of standard input; a token's management key in hex,\n" +
			"where it is not kept under the PIN, is the second.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.renew(cmd.Context(), args[0], pinStdin, device)
		},
	}
	cmd.Flags().BoolVar(&pinStdin, "pin-stdin", false, "read the PIN from a line on standard input")
	cmd.Flags().BoolVar(&device, "device", false, "renew the device key alone, which takes no PIN")
	return cmd
}

func (a *app) renew(ctx context.Context, profile string, pinStdin, device bool) (err error) {
	in := ipc.Renewal{DeviceOnly: device}
	defer func() { in.PIN.Wipe(); in.Admin.Wipe() }()
	switch {
	case device && pinStdin:
		return usageError{errors.New("--device takes no PIN")}
	case device:
	case pinStdin:
		in.PIN, in.Admin, err = a.readTokenSecrets()
	default:
		in, err = a.askRenewal(ctx)
	}
	if err != nil {
		return err
	}
	done, err := a.service().Renew(ctx, profile, in)
	if err != nil {
		return err
	}
	return a.print(done, func() {
		for _, k := range []struct {
			name string
			key  ipc.RenewedKey
		}{{"approval key", done.Approval}, {"device key", done.Device}} {
			switch {
			case k.key.Settled:
				a.say("The %s is renewed, and the old one is gone.", k.name)
			case k.key.Renewed:
				a.say("The %s is renewed; the old one goes by itself as soon as the server has acknowledged.", k.name)
			}
		}
	})
}

func (a *app) askRenewal(ctx context.Context) (in ipc.Renewal, err error) {
	tty, err := a.ask("there is no terminal to ask for the PIN on: use --pin-stdin, or --device")
	if err != nil {
		return in, err
	}
	defer tty.Close()
	in.PIN, err = prompt.ReadPIN(ctx, tty, "PIN: ")
	return in, noAnswer(err)
}
