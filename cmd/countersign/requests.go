package main

import (
	"time"

	"github.com/spf13/cobra"

	"countersign/ipc"
	"countersign/session"
	"countersign/session/prompt"
)

func (a *app) requestsCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "requests", Short: "List what waits for a decision", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.service().Requests(cmd.Context(), all)
			if err != nil {
				return err
			}
			status, err := a.service().Status(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(map[string]any{"requests": list, "prompting": status.Prompting}, func() { a.sayRequests(list, status) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also those that are over")
	return cmd
}

func (a *app) sayRequests(list []ipc.Request, status ipc.Status) {
	if len(list) == 0 {
		a.say("Nothing waits.")
	}
	for _, r := range list {
		a.sayRequest(r)
	}
	if status.Pending > 0 && !status.Prompting {
		a.say("No session of yours can prompt you now: none runs, or it is locked, remote or not the active one. Answer with: countersign approve ID")
	}
}

func (a *app) sayRequest(r ipc.Request) {
	state := r.Status
	if left := time.Until(r.ExpiresAt).Round(time.Second); r.Status == "pending" && left > 0 {
		state += ", " + left.String() + " left"
	}
	switch r.Quiet {
	case ipc.QuietMuted:
		state += ", muted"
	case ipc.QuietTooMany:
		state += ", not prompted for: too many were denied or left unanswered"
	}
	if r.Status != "pending" {
		state += ", received " + r.ReceivedAt.Local().Format(time.DateTime)
	}
	a.say("%s  %s: %s  (%s, %s, %s)", r.ID, r.Client.Name, r.Message, r.Type, r.Class, state)
}

func (a *app) showCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show the display record of a request", Args: usage(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeRequest,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.service().Show(cmd.Context(), args[0], session.Here())
			if err != nil {
				return err
			}
			if a.json {
				return a.print(d, nil)
			}
			return prompt.Lines(a.out, d, 0)
		},
	}
}
