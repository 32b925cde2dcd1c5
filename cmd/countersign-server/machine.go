package main

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"countersign/protocol"
	"countersign/tokenserver/machines"
	"countersign/tokenserver/store"
)

func (c *cli) machineCommand() *cobra.Command {
	return group(
		"machine", "The computers that enroll by themselves",
		group("token", "What lets computers enroll", c.machineTokenCreate(), c.machineTokenList(), c.machineTokenRevoke()),
		c.machineAdd(), c.machineList(), c.machineShow(), c.machineRevoke(),
	)
}

// maxMachineTTL is a year and a day.
const maxMachineTTL = 366 * 24 * time.Hour

func (c *cli) machineTokenCreate() *cobra.Command {
	var uses int
	var ttl time.Duration
	var note string
	cmd := c.withData(&cobra.Command{
		Use: "create [--uses N] [--ttl 720h] [--note TEXT]", Short: "Make a token that enrolls so many computers", Args: cobra.NoArgs,
		Long: "Make a token that enrolls so many computers, and show it once. It goes into the systemd credential\n" +
			"countersign.enrollment-token of each of them.",
		PreRunE: func(*cobra.Command, []string) error {
			if uses < 1 || uses > maxUses || ttl <= 0 || ttl > maxMachineTTL {
				return errors.New("--uses is from 1 to 1000000, and --ttl more than 0 and at most 8784h")
			}
			return nil
		},
		RunE: do(func(ctx context.Context, _ []string) error {
			return c.withState(ctx, func(s *state) error { return c.createMachineToken(ctx, s, uses, ttl, note) })
		}),
	})
	cmd.Flags().IntVar(&uses, "uses", 1, "how many computers it enrolls")
	cmd.Flags().DurationVar(&ttl, "ttl", 30*24*time.Hour, "how long it works")
	cmd.Flags().StringVar(&note, "note", "", "what it is for")
	return cmd
}

const maxUses = 1_000_000

type machineTokenJSON struct {
	ID   string `json:"id"`
	Note string `json:"note,omitempty"`
	// Token, Server and CA are there when it is made.
	Token     string     `json:"token,omitempty"`
	Server    string     `json:"server,omitempty"`
	CA        string     `json:"ca"`
	Uses      int        `json:"uses"`
	Used      int        `json:"used"`
	ExpiresAt time.Time  `json:"expires_at"`
	CreatedAt time.Time  `json:"created_at"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

// listedTokenJSON is a token that was shown already.
type listedTokenJSON struct {
	ID        string     `json:"id"`
	Note      string     `json:"note,omitempty"`
	State     string     `json:"state"`
	Uses      int        `json:"uses"`
	Used      int        `json:"used"`
	ExpiresAt time.Time  `json:"expires_at"`
	CreatedAt time.Time  `json:"created_at"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

func (c *cli) createMachineToken(ctx context.Context, s *state, uses int, ttl time.Duration, note string) error {
	where, err := s.readServed()
	if err != nil {
		return err
	}
	text, t, err := s.machines.MakeToken(ctx, uses, ttl, note)
	if err != nil {
		return err
	}
	out := machineTokenJSON{
		ID: t.ID, Note: t.Note, Token: string(text.Reveal()), Server: where.DeviceURL, Uses: t.Uses,
		ExpiresAt: t.ExpiresAt.UTC().Truncate(time.Second), CreatedAt: t.CreatedAt.UTC().Truncate(time.Second),
	}
	if len(where.Pin) > 0 {
		out.CA = protocol.Pin(where.Pin)
	}
	c.print(out, "%s\nUses: %d. It works until %s. Give each computer\n\n    [fleet]\n    enroll = \"token\"\n    server = %q\n    ca = %q\n\n"+
		"in /etc/countersign/conf.d, and the token, which is not shown again, in /etc/credstore/countersign.enrollment-token.",
		out.Token, t.Uses, rfc3339(t.ExpiresAt), out.Server, out.CA)
	return nil
}

func (c *cli) machineTokenList() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "list", Short: "List the machine tokens", Args: cobra.NoArgs,
		RunE: do(func(ctx context.Context, _ []string) error {
			return c.withState(ctx, func(s *state) error {
				tokens, err := s.machines.Tokens(ctx)
				if err != nil {
					return err
				}
				out, rows := make([]listedTokenJSON, len(tokens)), make([][]string, len(tokens))
				for i, t := range tokens {
					out[i] = listedToken(t)
					rows[i] = []string{t.ID, out[i].State, strconv.Itoa(t.Used) + "/" + strconv.Itoa(t.Uses), rfc3339(t.ExpiresAt), t.Note}
				}
				c.table(map[string]any{"tokens": out}, "ID STATE USED EXPIRES NOTE", rows)
				return nil
			})
		}),
	})
}

func listedToken(t store.MachineToken) listedTokenJSON {
	out := listedTokenJSON{
		ID: t.ID, Note: t.Note, State: "good", Uses: t.Uses, Used: t.Used,
		ExpiresAt: t.ExpiresAt.UTC(), CreatedAt: t.CreatedAt.UTC(), RevokedAt: when(t.RevokedAt),
	}
	switch {
	case out.RevokedAt != nil:
		out.State = "revoked"
	case !time.Now().Before(t.ExpiresAt):
		out.State = "expired"
	case t.Used >= t.Uses:
		out.State = "used"
	}
	return out
}

// when is a time, nil where there is none.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (c *cli) machineTokenRevoke() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "revoke ID", Short: "End a machine token; what it enrolled stays", Args: cobra.ExactArgs(1),
		RunE: do(func(ctx context.Context, args []string) error {
			return c.withState(ctx, func(s *state) error {
				t, err := s.machines.RevokeToken(ctx, args[0])
				if err != nil {
					return err
				}
				c.print(listedToken(t), "Revoked %s, which has enrolled %d computers.", t.ID, t.Used)
				return nil
			})
		}),
	})
}

func (c *cli) machineRevoke() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "revoke ID|sha256:HEX", Short: "Put a computer out, until its endorsement key is added again", Args: cobra.ExactArgs(1),
		Long: "Put a computer out: its next call is refused, and no token lets it in again. An endorsement key\n" +
			"that no computer has come with is taken off the list. \"machine add --ek\" lets it in again.",
		RunE: do(func(ctx context.Context, args []string) error {
			return c.withState(ctx, func(s *state) error {
				m, err := s.machines.Revoke(ctx, args[0])
				if err != nil {
					return err
				}
				if m.ID == "" {
					c.print(map[string]string{"ek": args[0], "state": "unregistered"}, "Took %s off the list.", args[0])
					return nil
				}
				c.print(map[string]string{"id": m.ID, "state": string(m.State)}, "Revoked %s (%s).", m.ID, m.Facts.Name)
				return nil
			})
		}),
	})
}

type machineJSON struct {
	// ID is missing while a registered endorsement key is waited for.
	ID   string `json:"id,omitempty"`
	Name string `json:"name"`
	// State is "awaited", "active" or "revoked".
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Attested says that the maker of the TPM or the operator vouches for it, and
	// Endorsement which: "certificate", "registered" or "none".
	Attested    bool          `json:"attested"`
	Endorsement string        `json:"endorsement,omitempty"`
	EK          string        `json:"ek"`
	Registered  bool          `json:"registered"`
	Chip        protocol.Chip `json:"chip"`
	Platform    string        `json:"platform,omitempty"`
	Agent       string        `json:"agent,omitempty"`
	EnrolledAt  *time.Time    `json:"enrolled_at,omitempty"`
	LastSeen    *time.Time    `json:"last_seen,omitempty"`
	Users       int           `json:"users"`
	// Failing and Warning are the codes of the checks in its last report.
	Failing []string `json:"failing"`
	Warning []string `json:"warning"`
}

func machineLine(l machines.Line) machineJSON {
	out := machineJSON{
		ID: l.ID, Name: l.Facts.Name, State: string(l.State), Reason: l.Reason, EK: l.EK, Registered: l.Registered != nil,
		Endorsement: l.Endorsement, Attested: l.Came() && l.Endorsement != protocol.NotEndorsed,
		Chip: machineChip(l.Machine), Platform: l.Facts.Platform, Agent: l.Facts.Agent,
		EnrolledAt: when(l.EnrolledAt), LastSeen: when(l.SeenAt), Failing: []string{}, Warning: []string{},
	}
	if !l.Came() {
		out.State = "awaited"
	}
	if out.Name == "" && l.Registered != nil {
		out.Name = l.Registered.Name
	}
	if r := l.Report; r != nil {
		out.Agent, out.Users = r.Agent, r.Counts.Users
		for _, check := range r.Checks {
			switch check.Status {
			case protocol.CheckFail:
				out.Failing = append(out.Failing, check.Code)
			case protocol.CheckWarn:
				out.Warning = append(out.Warning, check.Code)
			}
		}
	}
	return out
}

// machineChip is the chip as it proved to be, where its maker vouches for it, else as
// the machine says.
func machineChip(m store.Machine) protocol.Chip {
	if m.Endorsement == protocol.EndorsedByMaker {
		return m.Chip
	}
	return m.Facts.Chip
}

func (c *cli) machineList() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "list", Short: "List the computers, and the endorsement keys that are waited for", Args: cobra.NoArgs,
		RunE: do(func(ctx context.Context, _ []string) error {
			return c.withState(ctx, func(s *state) error { return c.listMachines(ctx, s) })
		}),
	})
}

func (c *cli) listMachines(ctx context.Context, s *state) error {
	list, err := s.machines.Machines(ctx)
	if err != nil {
		return err
	}
	out, rows := make([]machineJSON, len(list)), make([][]string, len(list))
	for i, l := range list {
		m := machineLine(l)
		out[i] = m
		rows[i] = []string{
			orDash(m.ID), orDash(m.Name), m.State, orDash(m.Endorsement), orDash(chipName(m.Chip)), orDash(m.Agent),
			orDash(timeText(m.EnrolledAt)), orDash(timeText(m.LastSeen)), strconv.Itoa(m.Users), orDash(strings.Join(m.Failing, ",")),
		}
	}
	c.table(map[string]any{"machines": out}, "ID NAME STATE ENDORSED CHIP AGENT ENROLLED SEEN USERS FAILING", rows)
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func timeText(t *time.Time) string {
	if t == nil {
		return ""
	}
	return rfc3339(*t)
}

type shownMachineJSON struct {
	machineJSON
	CreatedAt  time.Time               `json:"created_at"`
	Token      string                  `json:"token,omitempty"`
	Key        string                  `json:"key"`
	ReportedAt *time.Time              `json:"reported_at,omitempty"`
	Report     *protocol.MachineReport `json:"report,omitempty"`
	// Attestation is what it proved, to be judged again by others.
	Attestation *machineAttestationJSON `json:"attestation,omitempty"`
}

type machineAttestationJSON struct {
	Challenge protocol.Blob               `json:"challenge"`
	Start     protocol.MachineStart       `json:"start"`
	Proof     *protocol.MachineActivation `json:"proof,omitempty"`
}

func (c *cli) machineShow() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "show ID|sha256:HEX", Short: "Show all that is known of a computer", Args: cobra.ExactArgs(1),
		Long: "Show all that is known of a computer: its last report and, with --json, what its TPM proved.",
		RunE: do(func(ctx context.Context, args []string) error {
			return c.withState(ctx, func(s *state) error {
				l, proved, err := s.machines.Machine(ctx, args[0])
				if err != nil {
					return err
				}
				out := shownMachineJSON{
					machineJSON: machineLine(l), CreatedAt: l.CreatedAt.UTC(), Token: l.Token, Key: l.Key,
					ReportedAt: when(l.ReportedAt), Report: l.Report,
					Attestation: &machineAttestationJSON{proved.Challenge, proved.Start, proved.Proof},
				}
				c.print(out, "%s", describe(out))
				return nil
			})
		}),
	})
}

// describe says for people what is known of a machine.
func describe(m shownMachineJSON) string {
	lines := []string{
		m.ID + " " + m.Name,
		"state      " + strings.TrimSpace(m.State+" "+m.Reason),
		"endorsed   " + m.Endorsement + ", " + m.EK,
		"chip       " + chipName(m.Chip),
		"platform   " + m.Platform + ", agent " + m.Agent,
		"enrolled   " + orDash(timeText(m.EnrolledAt)) + ", at first " + rfc3339(m.CreatedAt),
		"last seen  " + orDash(timeText(m.LastSeen)),
	}
	if r := m.Report; r != nil {
		lines = append(
			lines,
			"reported   "+orDash(timeText(m.ReportedAt)),
			"system     "+strings.Join(strings.Fields(r.OS+" "+r.OSVersion+" "+r.Kernel), " "),
			"users      "+strconv.Itoa(r.Counts.Users),
		)
		for _, check := range r.Checks {
			lines = append(lines, "check      "+check.Status+" "+check.Code)
		}
	}
	return strings.Join(lines, "\n")
}
