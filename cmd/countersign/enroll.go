package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"countersign/internal/secret"
	"countersign/ipc"
	"countersign/session/prompt"
)

func (a *app) enrollCommand() *cobra.Command {
	var in ipc.Enrollment
	var pinStdin bool
	cmd := &cobra.Command{
		Use:   "enroll URI|-",
		Short: "Enroll this computer with the link that the server's people gave you",
		Long: "Enroll makes two keys in the security chip and has the server certify them.\n" +
			"The PIN you choose is checked by the chip at every approval that needs it.\n" +
			"With - the link is the first line of standard input; with --pin-stdin the PIN is the next.",
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.enroll(cmd.Context(), args[0], in, pinStdin)
		},
	}
	cmd.Flags().StringVar(&in.Key, "key", "tpm", "where the keys shall live: `tpm`")
	cmd.Flags().StringVar(&in.Name, "name", "", "what the server shall call this computer (default: its host name)")
	cmd.Flags().BoolVar(&pinStdin, "pin-stdin", false, "read the PIN from a line on standard input")
	return cmd
}

func (a *app) enroll(ctx context.Context, link string, in ipc.Enrollment, pinStdin bool) (err error) {
	in.URI = secret.New([]byte(link))
	if link == "-" {
		if in.URI, err = a.readLine(); err != nil {
			return err
		}
	}
	server, err := linkServer(string(in.URI.Reveal()))
	if err != nil {
		return err
	}
	if pinStdin {
		in.PIN, err = a.readLine()
	} else {
		in.PIN, err = a.choosePIN(ctx, server)
	}
	if err != nil {
		return err
	}
	done, err := a.service().Enroll(ctx, in)
	if err != nil {
		return err
	}
	return a.print(done, func() {
		a.say("Enrolled at %s.", server)
		a.say("  profile  %s\n  device   %s\n  keys     %s (%s)", done.Profile, done.Device, done.Key.Provider, done.Key.Protection)
		if done.ConfirmCode != "" {
			a.say("Confirm this code where the link came from: %s", done.ConfirmCode)
		}
	})
}

// linkServer is the server that a link names, for a person to look at. The
// service judges the link.
func linkServer(link string) (string, error) {
	_, query, _ := strings.Cut(link, "?")
	q, err := url.ParseQuery(query)
	if server, ok := strings.CutPrefix(q.Get("server"), "https://"); ok && err == nil {
		return "https://" + server, nil
	}
	return "", ipc.Errorf(ipc.CodeBadRequest, "copy the whole link, in quotes", "this is not an enrollment link")
}

// choosePIN names the server, and has a person set the PIN.
func (a *app) choosePIN(ctx context.Context, server string) (secret.Value, error) {
	tty, err := a.ask("there is no terminal to choose a PIN on: use --pin-stdin")
	if err != nil {
		return secret.Value{}, err
	}
	defer tty.Close()
	fmt.Fprintf(tty, "Enroll this computer at %s.\nChoose a PIN of at least 6 characters; the security chip locks after five wrong ones.\n", server)
	for {
		first, err := prompt.ReadPIN(ctx, tty, "New PIN: ")
		if err != nil {
			return secret.Value{}, noAnswer(err)
		}
		second, err := prompt.ReadPIN(ctx, tty, "Again: ")
		if err != nil {
			return secret.Value{}, noAnswer(err)
		}
		if bytes.Equal(first.Reveal(), second.Reveal()) {
			second.Wipe()
			return first, nil
		}
		first.Wipe()
		second.Wipe()
		fmt.Fprintln(tty, "The two are not the same.")
	}
}

// noAnswer puts a prompt that was left into words.
func noAnswer(err error) error {
	if errors.Is(err, prompt.ErrNoAnswer) {
		return ipc.Errorf("no_answer", "", "nothing was answered, and so nothing was done")
	}
	return err
}
