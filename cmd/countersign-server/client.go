package main

import (
	"context"

	"github.com/spf13/cobra"
)

func (c *cli) clientCommand() *cobra.Command {
	add := c.withData(&cobra.Command{
		Use: "add NAME", Short: "Add a relying party and show its secret, once", Args: cobra.ExactArgs(1),
		Long: "Add a relying party and show its secret, once. People read NAME in every request: \"NAME asks you to approve\".",
		RunE: do(func(ctx context.Context, args []string) error {
			return c.withState(ctx, func(s *state) error { return c.addClient(ctx, s, args[0]) })
		}),
	})
	return group("client", "The relying parties", add)
}

func (c *cli) addClient(ctx context.Context, s *state, name string) error {
	client, secret, err := s.office.AddClient(ctx, name)
	if err != nil {
		return err
	}
	text := string(secret.Reveal())
	c.print(map[string]string{"client_id": client.ID, "client_secret": text, "name": client.Name},
		"client_id      %s\nclient_secret  %s\nThe secret is not shown again.", client.ID, text)
	return nil
}
