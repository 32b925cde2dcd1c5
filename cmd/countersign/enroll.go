package main

import (
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
	var pinStdin, noTouch bool
	cmd := &cobra.Command{
		Use:   "enroll URI|-",
		Short: "Enroll this computer with the link that the server's people gave you",
		Long: "Enroll makes two keys in the security chip and has the server certify them.\n" +
			"In a TPM you choose the PIN; a token has its own. The chip checks it at every\n" +
			"approval that needs it. With a token the key that receives requests is in the\n" +
			"TPM where there is one, else on the token too.\n\n" +
			"With - the link is the first line of standard input; with --pin-stdin the PIN is\n" +
			"the next, and for a token the management key in hex may follow it.",
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkKeyFlags(in); err != nil {
				return err
			}
			in.Touch = onToken(in.Key) && !noTouch
			return a.enroll(cmd.Context(), args[0], in, pinStdin)
		},
	}
	cmd.Flags().StringVar(&in.Key, "key", "tpm", "where the approval key shall live: `tpm`, piv, or piv:SERIAL")
	cmd.Flags().StringVar(&in.Algorithm, "algorithm", "ES256", "what the approval key signs with: `ES256` or RS256")
	cmd.Flags().BoolVar(&noTouch, "no-touch", false, "a token's key signs without being touched")
	cmd.Flags().BoolVar(&in.NoAttestation, "no-attestation", false, "keep the certificates that name the chip from the server, and prove nothing")
	cmd.Flags().BoolVar(&in.KeepAdmin, "keep-admin", false, "replace the token's management key by a random one that it keeps under its PIN")
	cmd.Flags().StringVar(&in.Name, "name", "", "what the server shall call this computer (default: its host name)")
	cmd.Flags().BoolVar(&pinStdin, "pin-stdin", false, "read the PIN from a line on standard input")
	_ = cmd.RegisterFlagCompletionFunc("key", cobra.FixedCompletions([]string{"tpm", "piv"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("algorithm", cobra.FixedCompletions([]string{"ES256", "RS256"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// onToken reports whether a --key names a token.
func onToken(key string) bool { return key == "piv" || strings.HasPrefix(key, "piv:") }

func checkKeyFlags(in ipc.Enrollment) error {
	switch {
	case in.Key != "tpm" && !onToken(in.Key):
		return usageError{fmt.Errorf("--key is tpm, piv or piv:SERIAL, not %q", in.Key)}
	case in.Algorithm != "ES256" && in.Algorithm != "RS256":
		return usageError{fmt.Errorf("--algorithm is ES256 or RS256, not %q", in.Algorithm)}
	}
	return nil
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
	defer func() { in.PIN.Wipe(); in.Admin.Wipe() }()
	switch {
	case pinStdin && onToken(in.Key):
		in.PIN, in.Admin, err = a.readTokenSecrets()
	case pinStdin:
		in.PIN, err = a.readLine()
	default:
		in.PIN, err = a.askPIN(ctx, server, in.Key)
	}
	if err != nil {
		return err
	}
	done, err := a.submit(ctx, &in)
	if err != nil {
		return err
	}
	return a.print(done, func() { a.sayEnrolled(server, done) })
}

// submit enrolls, and asks for the management key when, and only when, the
// token turns out to want it.
func (a *app) submit(ctx context.Context, in *ipc.Enrollment) (ipc.Enrolled, error) {
	stop := a.relayTouch(ctx, func(e ipc.Event) bool { return e.Request == nil })
	defer stop()
	done, err := a.service().Enroll(ctx, *in)
	if ipc.AsError(err).Code != ipc.CodeAdminRequired || !onToken(in.Key) || !in.Admin.Empty() || !a.onTerminal() {
		return done, err
	}
	if in.Admin, err = a.askAdmin(ctx); err != nil {
		return done, err
	}
	return a.service().Enroll(ctx, *in)
}

func (a *app) sayEnrolled(server string, done ipc.Enrolled) {
	a.say("Enrolled at %s.", server)
	a.say("  profile   %s\n  device    %s\n  keys      %s: %s", done.Profile, done.Device, done.Key.Provider, done.Key.Protection)
	if done.Key.DeviceProvider != done.Key.Provider {
		a.say("            the device key, which needs no PIN, is in: %s", done.Key.DeviceProvider)
	}
	if done.Key.Attested {
		a.say("  attested  the server has seen the chip prove it (%s)", done.Key.Chip)
	} else {
		a.say("  attested  no: %s", done.Key.Unattested)
	}
	if done.ConfirmCode != "" {
		a.say("Confirm this code where the link came from: %s", done.ConfirmCode)
	}
}

// linkServer is the server that a link names, for a person to look at. The
// service judges the link. A name that could look like another is refused.
func linkServer(link string) (string, error) {
	_, query, _ := strings.Cut(link, "?")
	q, err := url.ParseQuery(query)
	if err == nil && len(q["server"]) == 1 {
		u, err := url.Parse(q.Get("server"))
		if err == nil && u.Scheme == "https" && u.User == nil && u.Host != "" && strings.Trim(strings.ToLower(u.Host), "abcdefghijklmnopqrstuvwxyz0123456789-.:[]") == "" {
			return "https://" + u.Host, nil
		}
	}
	return "", ipc.Errorf(ipc.CodeBadRequest, "copy the whole link, in quotes", "this is not an enrollment link")
}

// noAnswer puts a prompt that was left into words.
func noAnswer(err error) error {
	if errors.Is(err, prompt.ErrNoAnswer) {
		return ipc.Errorf(codeNoAnswer, "", "nothing was answered, and so nothing was done")
	}
	return err
}
