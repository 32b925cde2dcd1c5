package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"countersign/ipc"
)

func (a *app) profilesCommand() *cobra.Command {
	return &cobra.Command{
		Use: "profiles", Short: "List the servers this computer is enrolled at", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.service().Profiles(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(map[string]any{"profiles": list}, func() {
				if len(list) == 0 {
					a.say("None. Ask for an enrollment link, and: countersign enroll LINK")
				}
				for _, p := range list {
					a.say("%s  %s at %s  (%s)", p.ID, p.User, p.Server, profileState(p))
				}
			})
		},
	}
}

func profileState(p ipc.Profile) string {
	switch {
	case p.State != "active":
		return strings.TrimSuffix(p.State+": "+p.Reason, ": ")
	case p.HeldOff != "":
		return "active, held off by this computer's policy: " + p.HeldOff
	case !p.Connected:
		return "active, not connected"
	}
	return "active"
}

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Say how the service is", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.service().Status(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(s, func() { a.sayStatus(s) })
		},
	}
}

func (a *app) sayStatus(s ipc.Status) {
	if s.Keys == "" {
		a.say("countersignd %s (%s service) cannot do its work, and knows nothing of your profiles until it can", s.Version, s.Mode)
	} else {
		a.say("countersignd %s (%s service), keys in: %s", s.Version, s.Mode, s.Keys)
		a.say("%s, %s waiting", count(s.Profiles, "profile"), count(s.Pending, "request"))
	}
	if s.MutedUntil != nil {
		a.say("prompts are muted until %s", s.MutedUntil.Local().Format(time.DateTime))
	}
	if s.Quiet == ipc.QuietTooMany {
		a.say("you are not prompted before %s: too many requests were denied or left unanswered; see: countersign requests", s.QuietUntil.Local().Format(time.DateTime))
	}
	for _, line := range policyLines(s.Policy) {
		a.say("policy: %s", line)
	}
	for _, why := range s.Degraded {
		a.say("degraded: %s", why)
	}
}

func (a *app) enrolledCommand() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use: "enrolled PROFILE", Short: "Tell whether a profile is enrolled: exit status 0 or 3", Args: usage(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeProfile,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.enrolled(cmd.Context(), args[0], check) },
	}
	cmd.Flags().BoolVar(&check, "check", false, "ask the server too")
	return cmd
}

func (a *app) enrolled(ctx context.Context, name string, check bool) error {
	p, err := a.service().Profile(ctx, name, check)
	if err == nil && p.HeldOff != "" {
		err = ipc.Errorf(ipc.CodeNotEnrolled, "ask your administrator, or see: countersign doctor", "%s at %s: %s", p.User, p.Server, profileState(p))
	}
	if err == nil && p.State != "active" {
		cure := "ask for a new enrollment link"
		if p.State == "unconfirmed" {
			cure = "have the code that enroll showed confirmed where the link came from"
		}
		err = ipc.Errorf(ipc.CodeNotEnrolled, cure, "%s at %s: %s", p.User, p.Server, profileState(p))
	}
	e := ipc.AsError(err)
	if err != nil && e.Code != ipc.CodeNotEnrolled {
		return err
	}
	answer := map[string]bool{"enrolled": err == nil}
	if err != nil && a.json {
		// The question was answered: no is an answer, with status 3.
		_ = a.print(answer, nil)
		return silent(err)
	}
	if err != nil {
		return err
	}
	return a.print(answer, func() { a.say("%s at %s is enrolled", p.User, p.Server) })
}

// count is a number of things in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}
