package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"countersign/ipc"
)

// codeLogBroken is said of a log that is not as it was written.
const codeLogBroken = "log_broken"

func (a *app) logCommand() *cobra.Command {
	var verify bool
	var since time.Duration
	cmd := &cobra.Command{
		Use: "log", Short: "Show what happened, or verify that the record of it is whole", Args: usage(cobra.NoArgs),
		Long: "Log shows the service's own record of what happened to your profiles: each decision,\n" +
			"refusal, lockout and enrollment. With --verify the service checks the whole log, and\n" +
			"the exit status is 1 where a record was changed, removed or put in between. Note the\n" +
			"head elsewhere now and then: who owns the state directory could write all of it anew.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if verify {
				return a.verifyLog(cmd.Context())
			}
			return a.showLog(cmd.Context(), since)
		},
	}
	cmd.Flags().BoolVar(&verify, "verify", false, "check that the whole log is as it was written")
	cmd.Flags().DurationVar(&since, "since", 0, "only what happened in this `time`, such as 24h")
	return cmd
}

func (a *app) verifyLog(ctx context.Context) error {
	r, err := a.service().VerifyLog(ctx)
	if err != nil {
		return err
	}
	if !r.OK {
		err = ipc.Errorf(codeLogBroken, "compare with a head that was noted elsewhere, and find out who wrote to the state directory", "record %d: %s", r.BadSeq, r.Problem)
		if a.json {
			_ = a.print(r, nil)
			return silent(err)
		}
		return err
	}
	return a.print(r, func() {
		a.say("The log is whole: %d records, %d to %d.", r.Records, r.First, r.Last)
		a.say("Head: %s", r.Head)
	})
}

func (a *app) showLog(ctx context.Context, since time.Duration) error {
	if since < 0 {
		return usageError{errors.New("--since is a time that has passed, such as 24h")}
	}
	var from time.Time
	if since > 0 {
		from = time.Now().Add(-since)
	}
	records, err := a.service().Log(ctx, from)
	if err != nil {
		return err
	}
	return a.print(map[string]any{"records": records}, func() {
		for _, r := range records {
			a.say("%s  %s", r.At.Local().Format(time.DateTime), logLine(r))
		}
	})
}

// logLine is a record in one line.
func logLine(r ipc.LogRecord) string {
	parts := []string{r.Kind}
	for _, p := range []string{r.Profile, r.Request, r.Client} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Detail)) {
		parts = append(parts, fmt.Sprintf("%s=%s", name, r.Detail[name]))
	}
	return strings.Join(parts, "  ")
}
