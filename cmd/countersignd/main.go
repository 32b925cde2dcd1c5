// Command countersignd is the service that keeps the keys: it receives
// approval requests, has the TPM sign what a person decided, and serves the
// user's programs on a unix socket. It opens no network listener.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
	_ "time/tzdata" // display records name zones; the system may not know them

	"github.com/spf13/cobra"

	"countersign/agent/settings"
	"countersign/internal/version"
	"countersign/systemd"
)

// usageError is answered with exit status 2.
type usageError struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := report(ctx, command().ExecuteContext(ctx))
	stop()
	os.Exit(status)
}

// report says what failed, and returns the exit status.
func report(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errBroken):
		return 1
	}
	fmt.Fprintln(os.Stderr, "countersignd:", err)
	if _, ok := errors.AsType[usageError](err); !ok {
		return 1
	}
	if !systemd.Managed() {
		return 2
	}
	// systemd does not start this again, but whoever waits at its socket has it started
	// at once, and again, as fast as it ends.
	select {
	case <-time.After(lingering):
	case <-ctx.Done():
	}
	return systemd.ExitConfig
}

// lingering is how long a program that was started wrongly under systemd stays.
const lingering = 10 * time.Second

const long = `Keep the keys and answer for them: receive approval requests from Token Servers, have the
security chip sign what a person decided, and serve the programs of local users at a unix
socket. It opens no network port.

systemd starts it; where it cannot do its work it stays, and countersign status says why. Flags
win over the configuration files.`

func command() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:           "countersignd",
		Short:         "Keep the keys and answer for them",
		Long:          long,
		Version:       version.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.check {
				return f.checked().write(cmd.OutOrStdout(), cmd.ErrOrStderr(), f.json)
			}
			return run(cmd.Context(), f, cmd.OutOrStdout())
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	cmd.PersistentFlags().StringVar(&f.file, "config", "", "configuration `file` (default "+settings.SystemFile+" and what is in conf.d beside it)")
	cmd.Flags().BoolVar(&f.check, "check-config", false, "say what configuration is in effect and where from, and what is wrong with it; start nothing")
	cmd.Flags().BoolVar(&f.json, "json", false, "with --check-config, answer in JSON")
	cmd.PersistentFlags().BoolVar(&f.user, "user", false, "serve the current user only")
	cmd.PersistentFlags().StringVar(&f.state, "state", "", "state `directory`")
	cmd.PersistentFlags().StringVar(&f.socket, "socket", "", "unix `socket` to serve")
	cmd.PersistentFlags().StringVar(&f.tpm, "tpm", "", "TPM: device:/dev/tpmrm0 or swtpm:/path/to/socket")
	cmd.PersistentFlags().BoolVar(&f.piv, "piv", false, "use PIV tokens too, through pcscd")
	cmd.AddCommand(purgeCommand(&f))
	return cmd
}

// noArgs makes an argument where none belongs a usage error.
func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return usageError{err}
	}
	return nil
}
