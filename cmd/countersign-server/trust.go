package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"countersign/protocol"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/store"
)

func (c *cli) trustCommand() *cobra.Command {
	return group("trust", "What devices are told of this server's names and keys", c.trustShow(), c.trustMove(), c.trustDrop())
}

type keyJSON struct {
	ID       string    `json:"id"`
	State    string    `json:"state"`
	Since    int64     `json:"since"`
	NotAfter time.Time `json:"not_after"`
}

func keysJSON(list []pki.Key) []keyJSON {
	out := make([]keyJSON, len(list))
	for i, k := range list {
		out[i] = keyJSON{k.ID, k.State, k.Since, time.Unix(k.NotAfter, 0).UTC()}
	}
	return out
}

type behindJSON struct {
	ID    string     `json:"id"`
	User  string     `json:"user"`
	Name  string     `json:"name"`
	Agent string     `json:"agent"`
	Seq   int64      `json:"seq"`
	At    *time.Time `json:"at,omitempty"`
}

type trustJSON struct {
	Seq        int64        `json:"seq"`
	Issuer     string       `json:"issuer"`
	Former     []string     `json:"former"`
	DeviceURLs []string     `json:"device_urls"`
	TLSRoots   []keyJSON    `json:"tls_roots"`
	IssuerKeys []keyJSON    `json:"issuer_keys"`
	DeviceCAs  []keyJSON    `json:"device_cas"`
	Devices    int          `json:"devices"`
	Behind     []behindJSON `json:"behind"`
}

func (c *cli) trustShow() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "show", Short: "Show what is published, and the devices that do not know it yet", Args: cobra.NoArgs,
		RunE: do(func(ctx context.Context, _ []string) error {
			return c.withState(ctx, func(s *state) error {
				out, err := s.trust(ctx)
				if err != nil {
					return err
				}
				if c.json {
					c.printJSON(out)
					return nil
				}
				c.printTrust(out)
				return nil
			})
		}),
	})
}

func (s *state) trust(ctx context.Context) (*trustJSON, error) {
	t, err := s.pki.Statement()
	if err != nil {
		return nil, err
	}
	behind, all, err := s.office.Behind(ctx, t.Seq)
	if err != nil {
		return nil, err
	}
	return &trustJSON{
		Seq: t.Seq, Issuer: t.Issuer, Former: append([]string{}, t.Former...), DeviceURLs: append([]string{}, t.DeviceURLs...),
		TLSRoots: keysJSON(s.pki.TLSRoots()), IssuerKeys: keysJSON(s.pki.IssuerKeysNow()), DeviceCAs: keysJSON(s.pki.DeviceCAs()),
		Devices: all, Behind: behindOf(behind),
	}, nil
}

func behindOf(devices []store.Device) []behindJSON {
	out := make([]behindJSON, len(devices))
	for i, d := range devices {
		out[i] = behindJSON{ID: d.ID, User: d.User, Name: d.Facts.Name, Agent: d.Facts.Agent, Seq: d.TrustSeq}
		if !d.TrustAt.IsZero() {
			at := d.TrustAt.UTC()
			out[i].At = &at
		}
	}
	return out
}

func (c *cli) printTrust(t *trustJSON) {
	line := func(name, value string) { _, _ = fmt.Fprintf(c.out, "%-12s %s\n", name, value) }
	line("Statement", strconv.FormatInt(t.Seq, 10))
	line("Issuer", t.Issuer)
	for _, f := range t.Former {
		line("", f+" (former)")
	}
	for i, u := range t.DeviceURLs {
		line([]string{"Devices at", ""}[min(i, 1)], u)
	}
	for _, l := range []struct {
		name string
		keys []keyJSON
	}{{"TLS root", t.TLSRoots}, {"Issuer key", t.IssuerKeys}, {"Device CA", t.DeviceCAs}} {
		for i, k := range l.keys {
			line([]string{l.name, ""}[min(i, 1)], fmt.Sprintf("%s (%s, until %s)", k.ID, k.State, k.NotAfter.Format(time.DateOnly)))
		}
	}
	line("Behind", fmt.Sprintf("%d of %d devices", len(t.Behind), t.Devices))
	for _, d := range t.Behind {
		line("", d.text())
	}
}

func (d behindJSON) text() string {
	text := d.ID + ": " + d.Name
	if d.User != "" {
		text += " of " + d.User
	}
	if d.Agent != "" {
		text += ", agent " + d.Agent
	}
	return fmt.Sprintf("%s, knows %d", text, d.Seq)
}

func (c *cli) trustMove() *cobra.Command {
	var issuer, deviceURL string
	cmd := c.withData(&cobra.Command{
		Use: "move [--issuer URL] [--device-url URL]", Short: "Publish a new name or device URL, in front of the present one", Args: cobra.NoArgs,
		Long: "Publish a new name or device URL, in front of the present one. Devices learn it at their next call, and use the old\n" +
			"ones where the new ones do not answer. The TLS certificate holds all of them. The server itself listens where\n" +
			"serve says: start it with the new addresses when they work.",
		PreRunE: func(*cobra.Command, []string) error {
			if issuer == "" && deviceURL == "" {
				return errors.New("--issuer, --device-url or both are needed")
			}
			return nil
		},
		RunE: do(func(ctx context.Context, _ []string) error {
			deviceURL = strings.TrimRight(deviceURL, "/")
			for _, u := range []string{issuer, deviceURL} {
				if u != "" && (!protocol.ValidIssuer(u) || len(u) > maxURL) {
					return failure{exitRefused, "bad_url", fmt.Sprintf("%q is not an https URL in ASCII of at most %d bytes", u, maxURL), "Give it as https://HOST or https://HOST:PORT."}
				}
			}
			return c.changeTrust(ctx, "trust.moved", strings.TrimSpace(issuer+" "+deviceURL), func(*state) error { return nil },
				func(a *pki.Authority) error { return a.Move(issuer, deviceURL) })
		}),
	})
	cmd.Flags().StringVar(&issuer, "issuer", "", "the server's new name")
	cmd.Flags().StringVar(&deviceURL, "device-url", "", "where devices reach the device API from now on")
	return cmd
}

// maxURL is the limit of a URL in bytes, as the protocol has it.
const maxURL = 512

func (c *cli) trustDrop() *cobra.Command {
	var force bool
	cmd := c.withData(&cobra.Command{
		Use: "drop URL", Short: "Publish an old name or device URL no more", Args: cobra.ExactArgs(1),
		Long: "Publish an old name or device URL no more. Refused while devices know no other one.",
		RunE: do(func(ctx context.Context, args []string) error {
			guard := func(s *state) error { return s.refuseBehind(ctx, s.pki.NeedsWithout(args[0]), force) }
			return c.changeTrust(ctx, "trust.dropped", byForce(args[0], force), guard, func(a *pki.Authority) error { return a.Drop(args[0]) })
		}),
	})
	c.withForce(cmd, &force)
	return cmd
}

func (c *cli) withForce(cmd *cobra.Command, force *bool) {
	cmd.Flags().BoolVar(force, "force", false, "cut off the devices that it would be refused for: they enroll again")
}

// byForce is what the audit trail says of a change that may cut devices off.
func byForce(detail string, force bool) string {
	if force {
		return strings.TrimSpace(detail + " forced")
	}
	return detail
}

// changeTrust makes a change that the running server takes up within a second, and
// says what is published now. The guard is asked first.
func (c *cli) changeTrust(ctx context.Context, kind, detail string, guard func(*state) error, change func(*pki.Authority) error) error {
	return c.withState(ctx, func(s *state) error {
		if err := guard(s); err != nil {
			return err
		}
		if err := s.office.ChangeTrust(ctx, kind, detail, func() error { return change(s.pki) }); err != nil {
			return trustFailure(err)
		}
		if err := s.servePin(); err != nil {
			return err
		}
		out, err := s.trust(ctx)
		if err != nil {
			return err
		}
		c.print(out, "Statement %d is published; %d of %d devices do not know it yet.", out.Seq, len(out.Behind), out.Devices)
		return nil
	})
}

// servePin has new enrollment links name the TLS root that the server shows now.
func (s *state) servePin() error {
	v, err := s.readServed()
	if err != nil || len(v.Pin) == 0 {
		return nil //nolint:nilerr // without a server there is no link to make
	}
	v.Pin = s.pki.Pin()
	return s.writeServed(v)
}

// maxListed is how many devices a refusal names.
const maxListed = 20

// refuseBehind refuses what would cut devices off.
func (s *state) refuseBehind(ctx context.Context, seq int64, force bool) error {
	behind, all, err := s.office.Behind(ctx, seq)
	if err != nil || force || len(behind) == 0 {
		return err
	}
	return devicesBehind(fmt.Sprintf("%d of %d devices do not know yet what takes its place:", len(behind), all), behind,
		"Wait until they have been online (see trust show), or use --force: they then enroll again.")
}

func devicesBehind(text string, devices []store.Device, cure string) error {
	list := behindOf(devices)
	for i, d := range list {
		if i == maxListed {
			text += fmt.Sprintf("\n  and %d more", len(list)-i)
			break
		}
		text += "\n  " + d.text()
	}
	return failure{exitRefused, "devices_behind", text, cure}
}

func trustFailure(err error) error {
	for _, f := range []struct {
		err  error
		fail failure
	}{
		{pki.ErrUnderWay, failure{exitRefused, "rotation_under_way", "one is under way already", "See trust show; retire the old one first."}},
		{pki.ErrNotBegun, failure{exitRefused, "rotation_not_begun", "the step before has not been done", "See trust show."}},
		{pki.ErrNotPublished, failure{exitRefused, "not_served", "no server has run with this directory yet", "Start countersign-server serve with this directory once."}},
		{pki.ErrTooMany, failure{exitRefused, "too_many_names", fmt.Sprintf("%d names are published already", protocol.MaxTrustNames), "Drop an old one first: trust drop URL."}},
		{pki.ErrUnknownName, failure{exitNotFound, "name_unknown", "this URL is not published, or is the only one", "See trust show."}},
	} {
		if errors.Is(err, f.err) {
			return f.fail
		}
	}
	return err
}
