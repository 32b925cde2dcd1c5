package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"countersign/protocol"
)

func (c *cli) evidenceCommand() *cobra.Command {
	var ca string
	verify := c.withJSON(&cobra.Command{
		Use: "verify FILE|-", Short: "Verify the evidence of a decision, offline", Args: cobra.ExactArgs(1),
		Long: "Verify the evidence of a decision, offline. FILE is what GET /v1/transactions/{id} answered, or its evidence member.\n" +
			"Of what stands beside the evidence, the user and the devices are not proven by it.",
		RunE: do(func(_ context.Context, args []string) error { return c.verifyEvidence(args[0], ca) }),
	})
	verify.Flags().StringVar(&ca, "ca", "", "the server's ca.pem; without it the root inside the evidence is trusted")
	return group("evidence", "The proof of decisions", verify)
}

func (c *cli) verifyEvidence(file, ca string) error {
	data, err := c.readFile(file)
	if err != nil {
		return err
	}
	var roots *x509.CertPool
	if ca != "" {
		if roots, err = readRoots(ca); err != nil {
			return err
		}
	}
	a, v, err := verify(data, roots)
	if err != nil {
		return notVerified(err)
	}
	if c.json {
		c.printJSON(proofOf(a.evidence, v, roots))
		return nil
	}
	c.printProof(a.evidence, v, roots)
	return nil
}

func verify(data []byte, roots *x509.CertPool) (answer, *protocol.Verified, error) {
	a, err := parseAnswer(data)
	if err != nil {
		return a, nil, err
	}
	v, err := a.evidence.Verify(roots)
	if err != nil {
		return a, nil, err
	}
	return a, v, a.check(v)
}

func notVerified(err error) error {
	if errors.Is(err, errNoEvidence) {
		return failure{exitRefused, "no_evidence", "not verified: " + err.Error(), "Only a transaction that a device decided has evidence."}
	}
	f := explain(ran{err})
	return failure{exitRefused, f.code, "not verified: " + f.message, "Do not rely on this evidence."}
}

// readFile reads a file of at most the size of evidence and what stands beside
// it, or a little more to be refused; or standard input.
func (c *cli) readFile(file string) ([]byte, error) {
	in := c.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, failure{exitRefused, "unreadable", err.Error(), ""}
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, 2*protocol.MaxEvidence+1))
	switch {
	case err != nil:
		return nil, failure{exitRefused, "unreadable", err.Error(), ""}
	case len(data) > 2*protocol.MaxEvidence:
		return nil, failure{exitRefused, protocol.CodeTooLarge, "not verified: the file is too large for evidence", ""}
	}
	return data, nil
}

func readRoots(file string) (*x509.CertPool, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, failure{exitRefused, "unreadable", err.Error(), ""}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, failure{exitRefused, protocol.CodeBadCert, file + " holds no certificate", "Use the ca.pem of the server's directory."}
	}
	return pool, nil
}

// proof is what evidence proves, as JSON.
type proof struct {
	Verified    bool             `json:"verified"`
	Trust       string           `json:"trust"`
	Roots       []string         `json:"roots"`
	Transaction string           `json:"transaction"`
	Server      string           `json:"server"`
	Client      protocol.Client  `json:"client"`
	Decision    string           `json:"decision"`
	Reason      string           `json:"reason,omitempty"`
	Status      protocol.State   `json:"status"`
	Device      string           `json:"device"`
	Profile     string           `json:"profile"`
	DecidedAt   time.Time        `json:"decided_at"`
	ReceivedAt  time.Time        `json:"received_at"`
	UV          protocol.UV      `json:"uv"`
	Key         protocol.Role    `json:"key"`
	Attestation protocol.Verdict `json:"attestation"`
	Display     []string         `json:"display"`
}

func proofOf(e *protocol.Evidence, v *protocol.Verified, roots *x509.CertPool) proof {
	trust := "ca"
	if roots == nil {
		trust = "evidence"
	}
	d := v.Decision
	return proof{
		Verified: true, Trust: trust, Roots: rootPins(e), Transaction: d.ID, Server: d.Audience, Client: v.Request.Client,
		Decision: d.Decision, Reason: d.Reason, Status: v.Receipt.State, Device: d.Issuer, Profile: d.Subject,
		DecidedAt: time.Unix(d.IssuedAt, 0).UTC(), ReceivedAt: time.Unix(v.Receipt.IssuedAt, 0).UTC(),
		UV: d.UV, Key: v.Key.Role, Attestation: v.Receipt.Attestation, Display: v.Display,
	}
}

// rootPins are the pins of the roots that the evidence brings, the issuer's
// first.
func rootPins(e *protocol.Evidence) []string {
	var pins []string
	for _, chain := range [][]string{e.IssuerCertificates, e.Certificates} {
		if len(chain) == 0 {
			continue
		}
		block, _ := pem.Decode([]byte(chain[len(chain)-1]))
		if block == nil {
			continue
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			pins = append(pins, protocol.Pin(protocol.SPKI(cert)))
		}
	}
	return pins
}

func (c *cli) printProof(e *protocol.Evidence, v *protocol.Verified, roots *x509.CertPool) {
	p := proofOf(e, v, roots)
	decision := p.Decision
	if p.Reason != "" {
		decision += " (" + p.Reason + ")"
	}
	for _, line := range [][2]string{
		{"Decision", decision},
		{"Transaction", p.Transaction},
		{"Device", p.Device},
		{"Profile", p.Profile},
		{"Verification", fmt.Sprintf("%s, class %s, %s key", p.UV.Method, p.UV.Class, p.Key)},
		{"Attestation", attestedAs(p.Attestation)},
		{"Chip", chipOf(p.Attestation)},
		{"Decided", rfc3339(p.DecidedAt) + ", by the device's clock"},
		{"Received", rfc3339(p.ReceivedAt)},
	} {
		_, _ = fmt.Fprintf(c.out, "%-13s %s\n", line[0]+":", line[1])
	}
	_, _ = fmt.Fprintf(c.out, "\nThe person saw:\n  %s\n\n", strings.Join(p.Display, "\n  "))
	if roots == nil {
		_, _ = fmt.Fprintf(c.out, "Trust rests on the roots inside the evidence:\n  %s\nGive the server's ca.pem with --ca to rely on more than that.\n\n",
			strings.Join(p.Roots, "\n  "))
	}
	_, _ = fmt.Fprintln(c.out, "Verified")
}

// attestedAs says what the server found of the key which signed.
func attestedAs(v protocol.Verdict) string {
	if !v.Attested {
		return v.Format + ": where the key is, is the device's word"
	}
	out := v.Format + ", attested"
	switch {
	case v.PINBound:
		out += ", PIN-bound (tries counted by the " + v.PINCounter + ")"
	case v.PINCounter != "":
		out += ", not PIN-bound (tries counted by the " + v.PINCounter + ")"
	default:
		out += ", not PIN-bound"
	}
	if v.TouchBound {
		out += ", touch-bound"
	}
	return out
}

func chipOf(v protocol.Verdict) string {
	name := chipName(v.Chip)
	switch {
	case name == "":
		name = "unknown"
	case !v.Attested:
		name += ", as the device said"
	}
	if v.Advisory != "" {
		name += ", " + v.Advisory
	}
	return name
}
