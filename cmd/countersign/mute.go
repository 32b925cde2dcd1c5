package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"countersign/ipc"
)

// maxMute is the longest that the service mutes.
const maxMute = 24 * time.Hour

func (a *app) muteCommand() *cobra.Command {
	var d time.Duration
	cmd := &cobra.Command{
		Use: "mute", Short: "Prompt for nothing for a while", Args: usage(cobra.NoArgs),
		Long: "Mute keeps your sessions from prompting you. What is asked meanwhile is listed by\n" +
			"\"countersign requests\" and can be approved there. --for 0 prompts again.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if d < 0 || d > maxMute || d%time.Second != 0 {
				return usageError{errors.New("--for is whole seconds up to 24h, or 0 to prompt again")}
			}
			return a.mute(cmd.Context(), d)
		},
	}
	cmd.Flags().DurationVar(&d, "for", time.Hour, "for this `time`, such as 90m, up to 24h; 0 prompts again")
	return cmd
}

func (a *app) mute(ctx context.Context, d time.Duration) error {
	m, err := a.service().Mute(ctx, d)
	if err != nil {
		return err
	}
	return a.print(m, func() {
		switch {
		case m.Until == nil && m.Quiet != "":
			a.say("You have not muted prompts any more. Yet you are not prompted before %s: too many requests were denied or left unanswered.", m.QuietUntil.Local().Format(time.DateTime))
			return
		case m.Until == nil:
			a.say("You are prompted again.")
			return
		}
		a.say("You are not prompted before %s. See what waits with: countersign requests", m.Until.Local().Format(time.DateTime))
	})
}

func (a *app) blocksCommand() *cobra.Command {
	return &cobra.Command{
		Use: "blocks", Short: "List the relying parties that may not ask you", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.service().Blocks(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(map[string]any{"blocks": list}, func() {
				if len(list) == 0 {
					a.say("None. Deny a request with --not-me to block who asked.")
				}
				for _, b := range list {
					a.say("%s  %s  at profile %s, since %s", b.Client.ID, b.Client.Name, b.Profile, b.At.Local().Format(time.DateTime))
				}
			})
		},
	}
}

func (a *app) unblockCommand() *cobra.Command {
	var profile string
	cmd := &cobra.Command{
		Use: "unblock CLIENT", Short: "Let a relying party ask you again", Args: usage(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeBlock,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.unblock(cmd.Context(), profile, args[0]) },
	}
	cmd.Flags().StringVar(&profile, "profile", "", "the `profile` at which it is blocked, where there are several")
	return cmd
}

func (a *app) unblock(ctx context.Context, profile, client string) error {
	if profile == "" {
		var err error
		if profile, err = a.whereBlocked(ctx, client); err != nil {
			return err
		}
	}
	b, err := a.service().Unblock(ctx, profile, client)
	if err != nil {
		return err
	}
	return a.print(b, func() { a.say("%s may ask you again.", b.Client.Name) })
}

// whereBlocked is the only profile at which a relying party is blocked.
func (a *app) whereBlocked(ctx context.Context, client string) (profile string, err error) {
	list, err := a.service().Blocks(ctx)
	if err != nil {
		return "", err
	}
	for _, b := range list {
		switch {
		case b.Client.ID != client && b.Client.Name != client:
		case profile != "":
			return "", usageError{errors.New("it is blocked at several profiles: name one with --profile")}
		default:
			profile = b.Profile
		}
	}
	if profile == "" {
		return "", ipc.Errorf(ipc.CodeNotFound, "see: countersign blocks", "you have blocked no such relying party")
	}
	return profile, nil
}
