package main

import (
	"fmt"
	"log/slog"
	"slices"

	"github.com/spf13/cobra"

	"countersign/ipc"
	"countersign/session"
)

const sessionLong = `Show a notification for each request that waits, and the prompt that answers it. One runs in
each login session: the desktop starts it (countersign-session.service, or its autostart). It
waits for the service where that is not there, and prints "ready" once it knows what is pending.

On a machine without a desktop, in a terminal: countersign session --prompt terminal`

func (a *app) sessionCommand() *cobra.Command {
	cfg := session.Config{}
	cmd := &cobra.Command{
		Use: "session", Short: "Show prompts in this login session", Long: sessionLong, Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			modes := []string{session.Auto, session.Desktop, session.TerminalOnly}
			if !slices.Contains(modes, cfg.Prompt) {
				return usageError{fmt.Errorf("--prompt is one of %v", modes)}
			}
			service := a.service()
			cfg.Service, cfg.Incidents, cfg.OpenPage = service, service, openPage
			cfg.Log = slog.New(slog.NewTextHandler(a.err, nil))
			cfg.Ready = func() { fmt.Fprintln(a.err, "ready") }
			s, err := session.New(cfg)
			if err != nil {
				return ipc.Errorf("no_prompt", "log in to a desktop, or start it in a terminal with --prompt terminal", "there is no way to ask anybody: %v", err)
			}
			return s.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&cfg.Prompt, "prompt", session.Auto, "where to ask: `auto`, desktop or terminal")
	cmd.Flags().StringVar(&cfg.Pinentry, "pinentry", "", "pinentry `program` (default: the first found)")
	return cmd
}
