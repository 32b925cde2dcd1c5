package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"countersign/protocol"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/store"
)

func (c *cli) deviceCommand() *cobra.Command {
	return group("device", "The devices that are enrolled", c.deviceList(), c.deviceAttestation(), c.deviceSuspend(), c.deviceResume(), c.deviceRevoke())
}

type deviceJSON struct {
	ID       string            `json:"id"`
	User     string            `json:"user"`
	Profile  string            `json:"profile"`
	Name     string            `json:"name"`
	Platform string            `json:"platform"`
	Agent    string            `json:"agent"`
	Provider string            `json:"provider"`
	State    store.DeviceState `json:"state"`
	Reason   string            `json:"reason,omitempty"`
	// Succeeds is the device that this one was before, by its own key's word;
	// Successor the one that replaced it.
	Succeeds  string `json:"succeeds,omitempty"`
	Successor string `json:"successor,omitempty"`
	// Suspended is why the device is held off for now, and QuietUntil how long
	// it asked to be left in peace.
	Suspended  string     `json:"suspended,omitempty"`
	QuietUntil *time.Time `json:"quiet_until,omitempty"`
	// Attestation is the verdict on the approval key.
	Attestation          protocol.Verdict `json:"attestation"`
	DeviceKeyAttestation protocol.Verdict `json:"device_key_attestation"`
	CreatedAt            time.Time        `json:"created_at"`
	ChangedAt            time.Time        `json:"changed_at"`
}

func (c *cli) deviceList() *cobra.Command {
	var user string
	cmd := c.withData(&cobra.Command{
		Use: "list [--user NAME]", Short: "List the devices", Args: cobra.NoArgs,
		RunE: do(func(ctx context.Context, _ []string) error {
			return c.withState(ctx, func(s *state) error { return c.listDevices(ctx, s, user) })
		}),
	})
	cmd.Flags().StringVar(&user, "user", "", "only this user's")
	return cmd
}

func (c *cli) listDevices(ctx context.Context, s *state, user string) error {
	devices, err := s.desk.Devices(ctx, user)
	if err != nil {
		return err
	}
	out, rows := make([]deviceJSON, len(devices)), make([][]string, len(devices))
	for i, d := range devices {
		out[i] = deviceJSON{
			d.ID, d.User, d.Profile, d.Facts.Name, d.Facts.Platform, d.Facts.Agent, d.Facts.Provider,
			d.State, d.Reason, d.Succeeds, d.Successor, d.Suspended, d.QuietAt(time.Now()), d.Verdict, d.DeviceVerdict, d.CreatedAt.UTC(), d.ChangedAt.UTC(),
		}
		rows[i] = []string{d.ID, d.User, d.Facts.Name, d.Facts.Provider, standing(d), rfc3339(d.CreatedAt), protection(d.Verdict), protection(d.DeviceVerdict)}
	}
	c.table(map[string]any{"devices": out}, "ID USER NAME PROVIDER STATE ENROLLED APPROVAL-KEY DEVICE-KEY", rows)
	return nil
}

// standing is a device's state in one cell.
func standing(d store.Device) string {
	out := string(d.State)
	if d.Reason != "" {
		out += " (" + d.Reason + ")"
	}
	if d.Succeeds != "" {
		out += ", succeeds " + d.Succeeds
	}
	if d.Suspended != "" {
		out += ", suspended (" + d.Suspended + ")"
	}
	if until := d.QuietAt(time.Now()); until != nil {
		out += ", quiet until " + rfc3339(*until)
	}
	return out
}

// protection says in a line what is known of a key.
func protection(v protocol.Verdict) string {
	if !v.Attested {
		return "not attested"
	}
	out := []string{"attested " + v.Format}
	if v.PINCounter != "" {
		counter := "PIN counted by " + v.PINCounter
		if !v.PINBound {
			counter += ", not bound"
		}
		out = append(out, counter)
	}
	if v.TouchBound {
		out = append(out, "touch")
	}
	out = append(out, chipName(v.Chip))
	if v.Advisory != "" {
		out = append(out, v.Advisory)
	}
	return strings.Join(out, ", ")
}

func chipName(chip protocol.Chip) string {
	return strings.Join(strings.Fields(strings.Join([]string{chip.Vendor, chip.Model, chip.Firmware}, " ")), " ")
}

type attestationJSON struct {
	Device    string                     `json:"device"`
	Challenge protocol.Blob              `json:"challenge"`
	Start     protocol.StartAttestation  `json:"start"`
	Proof     *protocol.ProofAttestation `json:"proof,omitempty"`
	// Renewals are the approval keys since the first, oldest first.
	Renewals []renewalJSON `json:"renewals,omitempty"`
}

type renewalJSON struct {
	State     store.RenewalState         `json:"state"`
	Key       string                     `json:"key"`
	OldKey    string                     `json:"old_key"`
	Challenge protocol.Blob              `json:"challenge"`
	Start     protocol.RenewalStart      `json:"start"`
	Proof     *protocol.ProofAttestation `json:"proof,omitempty"`
}

func (c *cli) deviceAttestation() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "attestation ID", Short: "Print what a device proved its keys with, as JSON", Args: cobra.ExactArgs(1),
		Long: "Print what a device proved its keys with, as JSON, to be judged again by others.\nIt names the chip: treat it as personal data.",
		RunE: do(func(ctx context.Context, args []string) error {
			return c.withState(ctx, func(s *state) error {
				d, a, err := s.desk.Attestation(ctx, args[0])
				if err != nil {
					return err
				}
				renewals, err := s.desk.Renewals(ctx, d.ID)
				if err != nil {
					return err
				}
				out := attestationJSON{Device: d.ID, Challenge: d.Challenge, Start: a.Start, Proof: a.Proof}
				for _, r := range renewals {
					out.Renewals = append(out.Renewals, renewalJSON{r.State, r.Key, r.OldKey, r.Challenge, r.Request, r.Proof})
				}
				c.printJSON(out)
				return nil
			})
		}),
	})
}

func (c *cli) deviceSuspend() *cobra.Command {
	return c.deviceHold("suspend ID", "Hold a device off until it is resumed", (*enroll.Desk).Suspend)
}

func (c *cli) deviceResume() *cobra.Command {
	return c.deviceHold("resume ID", "Let a suspended device go on", (*enroll.Desk).Resume)
}

func (c *cli) deviceHold(use, short string, act func(*enroll.Desk, context.Context, string) (store.Device, error)) *cobra.Command {
	return c.withData(&cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		Long: short + ". A device that showed two different decisions in one place of its chain\n" +
			"was suspended by itself: there is a copy of it, or it was set back. Enroll it again, unless you know why.",
		RunE: do(func(ctx context.Context, args []string) error {
			return c.withState(ctx, func(s *state) error {
				d, err := act(s.desk, ctx, args[0])
				if err != nil {
					return err
				}
				c.print(map[string]string{"device": d.ID, "user": d.User, "state": string(d.State), "suspended": d.Suspended}, "%s of %s: %s.", d.ID, d.User, standing(d))
				return nil
			})
		}),
	})
}

func (c *cli) deviceRevoke() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "revoke ID", Short: "Put a device out, for good", Args: cobra.ExactArgs(1),
		RunE: do(func(ctx context.Context, args []string) error {
			return c.withState(ctx, func(s *state) error {
				d, err := s.desk.Revoke(ctx, enroll.Revocation{Device: args[0], Reason: enroll.ReasonRevoked})
				if err != nil {
					return err
				}
				c.print(map[string]string{"device": d.ID, "user": d.User, "state": string(store.DeviceRevoked)}, "Revoked %s of %s.", d.ID, d.User)
				return nil
			})
		}),
	})
}
