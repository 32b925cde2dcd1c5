package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"countersign/protocol"
	"countersign/tokenserver/admin"
	"countersign/tokenserver/store"
)

func (c *cli) typeCommand() *cobra.Command {
	return group("type", "The transaction types", c.typeSet(), c.typeList())
}

const methodHelp = `Add or replace a transaction type: what relying parties start by its name.

The method says how the person is asked, the class how much approving takes:

  push                            C0, C1  confirms; from C1 on types the number
  push_with_pin                   C2, C3  also gives the PIN, which the chip checks;
                                          C3 takes a touch of the token besides
  push_with_fingerprint           C0, C1  also shows a finger, or gives the PIN
  push_with_custom_authenticator  C0, C1  also satisfies what the computer is set
                                          up for (polkit, a plug-in), or gives the PIN
  otp                             C2, C3  nobody is named: whoever brings the code
                                          from the page is asked, and gives the PIN

Transactions that were started before stay as they are.`

func (c *cli) typeSet() *cobra.Command {
	var t store.Type
	var class string
	var minFirmware []string
	cmd := c.withData(&cobra.Command{
		Use: "set NAME --method METHOD --class CLASS", Short: "Add or replace a transaction type", Args: cobra.ExactArgs(1),
		Long: methodHelp,
		PreRunE: func(cmd *cobra.Command, args []string) error {
			t.Name = args[0]
			if err := t.Class.UnmarshalText([]byte(class)); err != nil {
				return errors.New("--class is C0, C1, C2 or C3")
			}
			if t.Class == protocol.C0 && !cmd.Flags().Changed("digits") {
				t.Digits = 0
			}
			if t.Method == protocol.MethodOTP && !cmd.Flags().Changed("ttl") {
				t.TTL = admin.MaxOTP
			}
			var err error
			t.MinFirmware, err = parseMinFirmware(minFirmware)
			return err
		},
		RunE: do(func(ctx context.Context, _ []string) error {
			return c.withState(ctx, func(s *state) error {
				if err := s.office.SetType(ctx, t); err != nil {
					return err
				}
				c.print(describeType(t), "Set %s.", t.Name)
				return nil
			})
		}),
	})
	flags := cmd.Flags()
	flags.StringVar(&t.Method, "method", "", "how the person is asked: "+strings.Join(protocol.Methods(), ", "))
	flags.StringVar(&class, "class", "", "the least that approving takes: C0 to C3")
	flags.DurationVar(&t.TTL, "ttl", 5*time.Minute, "how long a transaction lives, at most 24h; 2m for otp")
	flags.IntVar(&t.Digits, "digits", admin.DefaultDigits, "digits of the number to type, 4 to 9")
	flags.BoolVar(&t.HighValue, "high-value", false, "mark the request as high value")
	flags.StringSliceVar(&t.Require, "require", nil, "what the key that approves must be: attested, pin-bound, touch-bound")
	flags.StringArrayVar(&minFirmware, "min-firmware", nil, "VENDOR=VERSION: the least firmware of that vendor's chips; repeatable")
	flags.StringArrayVar(&t.DenyVendors, "deny-vendor", nil, "a vendor whose chips may not be used; repeatable")
	_ = cmd.MarkFlagRequired("method")
	_ = cmd.MarkFlagRequired("class")
	completeFlag(cmd, "method", protocol.Methods())
	completeFlag(cmd, "class", []string{"C0", "C1", "C2", "C3"})
	completeFlag(cmd, "require", []string{store.RequireAttested, store.RequirePINBound, store.RequireTouchBound})
	return cmd
}

func completeFlag(cmd *cobra.Command, name string, values []string) {
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

func parseMinFirmware(args []string) (map[string]string, error) {
	if len(args) == 0 {
		return nil, nil //nolint:nilnil // no rule
	}
	out := map[string]string{}
	for _, arg := range args {
		i := strings.LastIndexByte(arg, '=')
		if i < 1 {
			return nil, errors.New("--min-firmware is VENDOR=VERSION, such as Yubico=5.7")
		}
		if _, twice := out[arg[:i]]; twice {
			return nil, errors.New("--min-firmware is given twice for one vendor")
		}
		out[arg[:i]] = arg[i+1:]
	}
	return out, nil
}

type typeJSON struct {
	Name        string            `json:"name"`
	Method      string            `json:"method"`
	Class       protocol.Class    `json:"class"`
	TTL         int64             `json:"ttl_seconds"`
	Digits      int               `json:"digits"`
	HighValue   bool              `json:"high_value"`
	Require     []string          `json:"require"`
	MinFirmware map[string]string `json:"min_firmware"`
	DenyVendors []string          `json:"deny_vendors"`
}

func describeType(t store.Type) typeJSON {
	firmware := map[string]string{}
	maps.Copy(firmware, t.MinFirmware)
	return typeJSON{
		t.Name, t.Method, t.Class, int64(t.TTL / time.Second), t.Digits, t.HighValue,
		append([]string{}, t.Require...), firmware, append([]string{}, t.DenyVendors...),
	}
}

// demands is all that a type demands of hardware, in the words of the flags.
func demands(t store.Type) string {
	out := slices.Clone(t.Require)
	for _, vendor := range slices.Sorted(maps.Keys(t.MinFirmware)) {
		out = append(out, "min-firmware "+vendor+"="+t.MinFirmware[vendor])
	}
	for _, vendor := range t.DenyVendors {
		out = append(out, "deny-vendor "+vendor)
	}
	return strings.Join(out, ",")
}

func (c *cli) typeList() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "list", Short: "List the transaction types", Args: cobra.NoArgs,
		RunE: do(func(ctx context.Context, _ []string) error {
			return c.withState(ctx, func(s *state) error { return c.listTypes(ctx, s) })
		}),
	})
}

func (c *cli) listTypes(ctx context.Context, s *state) error {
	types, err := s.office.Types(ctx)
	if err != nil {
		return err
	}
	out, rows := make([]typeJSON, len(types)), make([][]string, len(types))
	for i, t := range types {
		out[i] = describeType(t)
		rows[i] = []string{t.Name, t.Method, t.Class.String(), t.TTL.String(), strconv.Itoa(t.Digits), strconv.FormatBool(t.HighValue), demands(t)}
	}
	c.table(map[string]any{"types": out}, "NAME METHOD CLASS TTL DIGITS HIGH-VALUE REQUIRE", rows)
	return nil
}
