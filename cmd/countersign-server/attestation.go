package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"countersign/tokenserver/roots"
)

func (c *cli) attestationCommand() *cobra.Command {
	return group("attestation", "What counts as real hardware",
		group("root", "The chip vendors' CA certificates that attestations must lead to", c.rootAdd(), c.rootList(), c.rootRemove()))
}

type rootJSON struct {
	Fingerprint string    `json:"fingerprint"`
	Subject     string    `json:"subject"`
	NotAfter    time.Time `json:"not_after"`
}

func describeRoots(found []roots.Root) ([]rootJSON, [][]string) {
	out, rows := make([]rootJSON, len(found)), make([][]string, len(found))
	for i, r := range found {
		out[i] = rootJSON{r.Fingerprint, r.Certificate.Subject.String(), r.Certificate.NotAfter.UTC()}
		rows[i] = []string{r.Fingerprint, rfc3339(r.Certificate.NotAfter), out[i].Subject}
	}
	return out, rows
}

const rootHeading = "FINGERPRINT NOT-AFTER SUBJECT"

func (c *cli) rootAdd() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "add FILE|-", Short: "Trust the CA certificates in a file", Args: cobra.ExactArgs(1),
		Long: "Trust the CA certificates in a file, PEM or DER, from the next enrollment on.\n" +
			"Where a device does not send the CA certificates between its own and the vendor's root, as YubiKeys do not, add those too.",
		RunE: do(func(ctx context.Context, args []string) error {
			data, err := c.readFile(args[0])
			if err != nil {
				return err
			}
			return c.withState(ctx, func(s *state) error {
				added, err := s.office.AddRoots(ctx, s.roots, data)
				if err != nil {
					return err
				}
				out, rows := describeRoots(added)
				c.table(map[string]any{"roots": out}, rootHeading, rows)
				return nil
			})
		}),
	})
}

func (c *cli) rootList() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "list", Short: "List the roots in the server's directory", Args: cobra.NoArgs,
		Long: "List the roots in the server's directory. Those of the directory that the configuration names are not among them.",
		RunE: do(func(ctx context.Context, _ []string) error {
			return c.withState(ctx, func(s *state) error {
				found, err := s.roots.List()
				if err != nil {
					return err
				}
				out, rows := describeRoots(found)
				c.table(map[string]any{"roots": out}, rootHeading, rows)
				return nil
			})
		}),
	})
}

func (c *cli) rootRemove() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "remove FINGERPRINT", Short: "Trust a root no more; devices that enrolled under it stay", Args: cobra.ExactArgs(1),
		RunE: do(func(ctx context.Context, args []string) error {
			fingerprint := roots.Fingerprint(args[0])
			return c.withState(ctx, func(s *state) error {
				if err := s.office.RemoveRoot(ctx, s.roots, fingerprint); err != nil {
					return err
				}
				c.print(map[string]string{"fingerprint": fingerprint}, "Removed %s.", fingerprint)
				return nil
			})
		}),
	})
}
