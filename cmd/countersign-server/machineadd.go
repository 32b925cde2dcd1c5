package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"countersign/protocol"
	"countersign/tokenserver/machines"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

func (c *cli) machineAdd() *cobra.Command {
	var ek, name, list string
	cmd := c.withData(&cobra.Command{
		Use: "add --ek sha256:HEX|FILE [--name N] | --list FILE|-", Short: "Register endorsement keys of computers that may enroll", Args: cobra.NoArgs,
		Long: "Register endorsement keys: whoever proves to have one enrolls without a token. A key is the SHA-256 of its\n" +
			"SubjectPublicKeyInfo, or a file with the key or its certificate, in PEM or DER. A list has a key in each line\n" +
			"and, behind a comma, a name; # begins a comment. All lines are taken, or none.\n\n" +
			"On the computer itself:\n\n" +
			"    tpm2_createek -G ecc -c ek.ctx -u ek.der -f der && sha256sum ek.der\n\n" +
			"and of a certificate of its maker's:\n\n" +
			"    openssl x509 -in ek.crt -noout -pubkey | openssl pkey -pubin -outform der | sha256sum",
		RunE: do(func(ctx context.Context, _ []string) error {
			keys, err := c.readEKs(ek, name, list)
			if err != nil {
				return err
			}
			return c.withState(ctx, func(s *state) error {
				if err := s.machines.Register(ctx, keys); err != nil {
					return err
				}
				out := make([]map[string]string, len(keys))
				for i, k := range keys {
					out[i] = map[string]string{"ek": k.EK, "name": k.Name}
				}
				c.print(map[string]any{"registered": out}, "Registered %d endorsement keys.", len(keys))
				return nil
			})
		}),
	})
	cmd.Flags().StringVar(&ek, "ek", "", "an endorsement key: sha256:`HEX`, or a file")
	cmd.Flags().StringVar(&name, "name", "", "whose it is, for people")
	cmd.Flags().StringVar(&list, "list", "", "a `file` with a key in each line, - for standard input")
	cmd.MarkFlagsOneRequired("ek", "list")
	cmd.MarkFlagsMutuallyExclusive("ek", "list")
	cmd.MarkFlagsMutuallyExclusive("name", "list")
	return cmd
}

func (c *cli) readEKs(ek, name, list string) ([]store.RegisteredEK, error) {
	if list == "" {
		found, err := readEK(ek)
		return []store.RegisteredEK{{EK: found, Name: name}}, err
	}
	in := c.in
	if list != "-" {
		f, err := os.Open(list)
		if err != nil {
			return nil, failure{exitRefused, problem.BadEK, err.Error(), ""}
		}
		defer f.Close()
		in = f
	}
	return parseEKList(in)
}

// maxEKFile is more than a certificate takes.
const maxEKFile = 64 << 10

// readEK is the name of an endorsement key, itself or in a file.
func readEK(text string) (string, error) {
	if strings.HasPrefix(strings.ToLower(text), "sha256:") {
		return protocol.ParseEKName(text)
	}
	f, err := os.Open(text)
	if err != nil {
		return "", failure{exitRefused, problem.BadEK, err.Error(), "Name a file, or write sha256: and 64 hexadecimal digits."}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxEKFile))
	if err != nil {
		return "", failure{exitRefused, problem.BadEK, err.Error(), ""}
	}
	return machines.ReadEK(data)
}

// parseEKList reads lines of KEY[,NAME]. A heading that names the columns, as
// spreadsheets write it, is passed over.
func parseEKList(in io.Reader) (keys []store.RegisteredEK, err error) {
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		key, name, _ := strings.Cut(line, ",")
		key, name = unquote(key), unquote(name)
		if line == "" || strings.HasPrefix(line, "#") || n == 1 && strings.EqualFold(key, "ek") {
			continue
		}
		ek, err := protocol.ParseEKName(key)
		if err != nil {
			return nil, failure{exitRefused, problem.BadEK, fmt.Sprintf("line %d: %s", n, strings.TrimPrefix(err.Error(), "protocol: ")), "Nothing was registered."}
		}
		keys = append(keys, store.RegisteredEK{EK: ek, Name: name})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the list: %w", err)
	}
	if len(keys) == 0 {
		return nil, failure{exitRefused, problem.BadEK, "the list has no endorsement keys", ""}
	}
	return keys, nil
}

// unquote takes the quotes off a field.
func unquote(s string) string {
	s = strings.TrimSpace(s)
	if inner, ok := strings.CutPrefix(s, `"`); ok {
		if inner, ok = strings.CutSuffix(inner, `"`); ok {
			return strings.ReplaceAll(inner, `""`, `"`)
		}
	}
	return s
}
