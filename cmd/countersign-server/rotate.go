package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"countersign/protocol"
	"countersign/tokenserver/pki"
)

func noGuard(*state) error { return nil }

func (c *cli) tlsRootCommand() *cobra.Command {
	return group("tls-root", "Replace the root of the server's TLS certificate", c.tlsRootPrepare(), c.tlsRootSwitch(), c.tlsRootRetire())
}

func (c *cli) tlsRootPrepare() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "prepare", Short: "1. Make the next root, and publish it beside the present one", Args: cobra.NoArgs,
		Long: "1. Make the next root, and publish it beside the present one. Devices learn it at their next call; DIR/ca.pem holds\n" +
			"both from now on: give it to the relying parties again.",
		RunE: do(func(ctx context.Context, _ []string) error {
			return c.changeTrust(ctx, "tls_root.prepared", "", noGuard, (*pki.Authority).PrepareTLSRoot)
		}),
	})
}

func (c *cli) tlsRootSwitch() *cobra.Command {
	var back bool
	cmd := c.withData(&cobra.Command{
		Use: "switch", Short: "2. Serve by the next root whoever knows it", Args: cobra.NoArgs,
		Long: "2. Serve by the next root whoever knows it. All others, which are devices of before version 0.5 and relying parties,\n" +
			"are served by the present one until it is retired. --back undoes it.",
		RunE: do(func(ctx context.Context, _ []string) error {
			kind := "tls_root.switched"
			if back {
				kind = "tls_root.switched_back"
			}
			return c.changeTrust(ctx, kind, "", noGuard, func(a *pki.Authority) error { return a.SwitchTLSRoot(!back) })
		}),
	})
	cmd.Flags().BoolVar(&back, "back", false, "serve everybody by the present root again")
	return cmd
}

func (c *cli) tlsRootRetire() *cobra.Command {
	var force bool
	cmd := c.withData(&cobra.Command{
		Use: "retire", Short: "3. Put the next root in the place of the present one, whose key is removed", Args: cobra.NoArgs,
		Long: "3. Put the next root in the place of the present one, whose key is removed. Its certificate stays in DIR/ca.pem, for\n" +
			"evidence. Refused while devices do not know the next root. Relying parties need the ca.pem of step 1 by now, and\n" +
			"enrollment links that name the old root are of no use any more.",
		RunE: do(func(ctx context.Context, _ []string) error {
			guard := func(s *state) error { return s.refuseBehind(ctx, s.pki.Needs().TLSRoot, force) }
			return c.changeTrust(ctx, "tls_root.retired", byForce("", force), guard, (*pki.Authority).RetireTLSRoot)
		}),
	})
	c.withForce(cmd, &force)
	return cmd
}

func (c *cli) issuerKeyCommand() *cobra.Command {
	return group("issuer-key", "Replace the key that signs requests and receipts", c.issuerKeyRotate(), c.issuerKeyRetire())
}

func (c *cli) issuerKeyRotate() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "rotate", Short: "1. Make the next key, on the present one's word", Args: cobra.NoArgs,
		Long: "1. Make the next key, on the present one's word. It signs what is asked of each device that knows it; the present one\n" +
			"signs for all others, until it is retired.",
		RunE: do(func(ctx context.Context, _ []string) error {
			return c.changeTrust(ctx, "issuer_key.rotated", "", noGuard, (*pki.Authority).RotateIssuer)
		}),
	})
}

// longestRequest is how long a request may live, as the protocol has it.
const longestRequest = 24 * time.Hour

func (c *cli) issuerKeyRetire() *cobra.Command {
	var force bool
	cmd := c.withData(&cobra.Command{
		Use: "retire", Short: "2. Remove the old key", Args: cobra.NoArgs,
		Long: "2. Remove the old key; its certificate stays, for evidence. Refused while devices do not know the next one, and for a\n" +
			"day after the last one learned it: what the old key asked until then is answered with the old key. With --force\n" +
			"such requests end with their time.",
		RunE: do(func(ctx context.Context, _ []string) error {
			guard := func(s *state) error {
				if err := s.refuseBehind(ctx, s.pki.Needs().IssuerKey, force); err != nil || force {
					return err
				}
				return s.refuseEarly(ctx)
			}
			return c.changeTrust(ctx, "issuer_key.retired", byForce("", force), guard, (*pki.Authority).RetireIssuer)
		}),
	})
	c.withForce(cmd, &force)
	return cmd
}

// refuseEarly refuses to retire an issuer key that may have asked something which
// is not answered yet.
func (s *state) refuseEarly(ctx context.Context) error {
	last, err := s.office.LastLearned(ctx, s.pki.Needs().IssuerKey)
	if err != nil {
		return err
	}
	if until := last.Add(longestRequest); time.Now().Before(until) {
		return failure{exitRefused, "requests_under_way", "requests that the old key signed may be under way until " + rfc3339(until), "Wait until then, or use --force: such requests end with their time."}
	}
	return nil
}

func (c *cli) deviceCACommand() *cobra.Command {
	return group("device-ca", "Replace the CA that certifies devices", c.deviceCARotate(), c.deviceCARetire())
}

func (c *cli) deviceCARotate() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "rotate", Short: "1. Make the next CA, which certifies from now on", Args: cobra.NoArgs,
		Long: "1. Make the next CA, which certifies from now on. Certificates of the one before stay good, and each device's next\n" +
			"renewal moves it over: its device key by itself, its approval key with countersign renew.",
		RunE: do(func(ctx context.Context, _ []string) error {
			return c.changeTrust(ctx, "device_ca.rotated", "", noGuard, (*pki.Authority).RotateDeviceCA)
		}),
	})
}

func (c *cli) deviceCARetire() *cobra.Command {
	var force bool
	cmd := c.withData(&cobra.Command{
		Use: "retire", Short: "2. Refuse certificates of the CAs before", Args: cobra.NoArgs,
		Long: "2. Refuse certificates of the CAs before. Refused while devices have such certificates.",
		RunE: do(func(ctx context.Context, _ []string) error {
			guard := func(s *state) error {
				found, all, err := s.office.Certified(ctx, s.pki.FormerlyCertified)
				if err != nil || force || len(found) == 0 {
					return err
				}
				return devicesBehind(fmt.Sprintf("%d of %d devices have certificates of a former CA:", len(found), all), found,
					"Wait until they have renewed their keys, or use --force: they then enroll again.")
			}
			return c.changeTrust(ctx, "device_ca.retired", byForce("", force), guard, (*pki.Authority).RetireDeviceCAs)
		}),
	})
	c.withForce(cmd, &force)
	return cmd
}

// adopt publishes under which name and URL a server of a version before 0.5 ran, so
// that its devices are known to know those.
func (s *state) adopt() error {
	old, err := s.readServed()
	if err != nil || s.pki.Seq() != 0 || !protocol.ValidIssuer(old.Issuer) {
		return nil //nolint:nilerr // it never ran, or is known already
	}
	return s.pki.Present(old.Issuer, old.DeviceURL, len(old.Pin) == 0)
}
