package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"countersign/internal/version"
)

// cli is one run of the command.
type cli struct {
	in          io.Reader
	out, errOut io.Writer
	data        string
	json        bool
}

// run runs the command and returns its exit status.
func (c *cli) run(ctx context.Context, args []string) int {
	root := c.command()
	root.SetArgs(args)
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	return c.fail(err, c.json || slices.Contains(args, "--json"))
}

func (c *cli) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "countersign-server",
		Short:         "The Token Server of Countersign",
		Version:       version.Version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(
		c.serveCommand(), c.userCommand(), c.clientCommand(), c.enrollmentCommand(),
		c.typeCommand(), c.deviceCommand(), c.machineCommand(), c.attestationCommand(), c.eventsCommand(), c.evidenceCommand(),
		c.trustCommand(), c.tlsRootCommand(), c.issuerKeyCommand(), c.deviceCACommand(),
	)
	return root
}

// fail says what went wrong, once, where the caller looks for it.
func (c *cli) fail(err error, asJSON bool) int {
	f := explain(err)
	if asJSON {
		c.printJSON(map[string]any{"error": map[string]string{"code": f.code, "message": f.message, "cure": f.cure}})
		return f.exit
	}
	_, _ = fmt.Fprintln(c.errOut, "countersign-server: "+f.message)
	if f.cure != "" {
		_, _ = fmt.Fprintln(c.errOut, f.cure)
	}
	return f.exit
}

// ran marks an error of a command that was used rightly: whatever else comes
// out of cobra is wrong usage.
type ran struct{ error }

func (r ran) Unwrap() error { return r.error }

// do makes a command of a function.
func do(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := f(cmd.Context(), args); err != nil {
			return ran{err}
		}
		return nil
	}
}

// group is a command that only has others below it. Without one of them it
// shows them, and refuses what is none.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return errors.New("a command is missing after " + cmd.CommandPath())
	}}
	g.AddCommand(commands...)
	return g
}

// withData gives a command --data, which it needs, and --json.
func (c *cli) withData(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&c.data, "data", "", "the server's directory")
	_ = cmd.MarkFlagRequired("data")
	return c.withJSON(cmd)
}

func (c *cli) withJSON(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&c.json, "json", false, "print one JSON document")
	return cmd
}

func (c *cli) printJSON(v any) {
	enc := json.NewEncoder(c.out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
}

// print prints v as JSON if that was asked for, else the text.
func (c *cli) print(v any, format string, args ...any) {
	if c.json {
		c.printJSON(v)
		return
	}
	_, _ = fmt.Fprintf(c.out, format+"\n", args...)
}

// table prints v as JSON if that was asked for, else rows under a heading.
func (c *cli) table(v any, heading string, rows [][]string) {
	if c.json {
		c.printJSON(v)
		return
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, strings.ReplaceAll(heading, " ", "\t"))
	for _, row := range rows {
		_, _ = fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush()
}

// argument is an argument, or where it is "-" a line of standard input.
func (c *cli) argument(arg string) (string, error) {
	if arg != "-" {
		return arg, nil
	}
	line, err := bufio.NewReader(io.LimitReader(c.in, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	return strings.TrimSpace(line), nil
}
