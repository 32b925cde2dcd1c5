// Command countersign is the user's side: it enrolls, lists, shows, approves,
// denies, and prompts. It talks to countersignd over the unix socket and to
// nothing else; it cannot open a key.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"countersign/internal/version"
	"countersign/ipc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	status := a.report(a.command().ExecuteContext(ctx))
	stop()
	os.Exit(status)
}

// app is one run of the program.
type app struct {
	in       *os.File
	out, err *os.File
	socket   string
	json     bool
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:               "countersign",
		Short:             "Approve logins and payments with a key in this computer's security chip",
		Version:           version.Version(),
		SilenceUsage:      true,
		SilenceErrors:     true,
		Args:              usage(cobra.NoArgs),
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringVar(&a.socket, "socket", "", "unix `socket` of the service")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "answer with one JSON document")
	root.AddCommand(
		a.enrollCommand(), a.profilesCommand(), a.statusCommand(), a.enrolledCommand(),
		a.requestsCommand(), a.showCommand(), a.approveCommand(), a.denyCommand(),
		a.otpCommand(), a.openCommand(), a.linkCommand(), a.qrDecodeCommand(),
		a.keysCommand(), a.pinCommand(), a.renewCommand(), a.unenrollCommand(),
		a.sessionCommand(), a.serviceCommand(), a.muteCommand(), a.blocksCommand(), a.unblockCommand(), a.logCommand(), a.doctorCommand(),
	)
	return root
}

// service is the socket's client.
func (a *app) service() *ipc.Caller { return ipc.Dial(a.socketPath()) }

func (a *app) socketPath() string {
	if a.socket != "" {
		return a.socket
	}
	return ipc.DefaultSocket()
}

// usage makes a wrong number of arguments a usage error.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}
