//go:build cgo

package piv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"

	"countersign/hsm"
)

// Status implements hsm.Provider. It describes the first token; others are in
// the notes.
func (p *Provider) Status(ctx context.Context) (hsm.Status, error) {
	status := hsm.Status{Where: "pcscd"}
	var seen hsm.Status
	err := p.link.do(ctx, func(v *visit) (err error) {
		seen, err = v.describe()
		return err
	})
	if err != nil {
		return status, fmt.Errorf("piv status: %w", err)
	}
	return seen, nil
}

func (v *visit) describe() (hsm.Status, error) {
	view, err := v.look()
	if err != nil {
		return hsm.Status{}, explain(err)
	}
	if len(view.tokens) == 0 {
		_, err := v.find(0)
		return hsm.Status{}, err
	}
	first := view.tokens[0]
	status := hsm.Status{Vendor: vendor, Firmware: first.firmware.String(), Where: first.String()}
	for _, other := range view.tokens[1:] {
		status.Notes = append(status.Notes, moreTokensNote(other))
	}
	notes, err := v.notes(first)
	status.Notes = append(status.Notes, notes...)
	return status, err
}

// vendor is who makes tokens that answer with a version and a serial number of
// their own; other PIV cards do not.
const vendor = "Yubico"

func (v *visit) notes(where found) ([]hsm.Note, error) {
	var notes []hsm.Note
	if where.firmware.leaks() {
		notes = append(notes, leakNote(where))
	}
	if !where.firmware.hasMetadata() {
		return append(notes, unknownPUKNote(where.serial)), nil
	}
	err := v.withSharedToken(where.serial, leaveCard, func(a *applet) error {
		factory, err := a.factoryNotes()
		notes = append(notes, factory...)
		return err
	})
	return notes, err
}

// Identify implements hsm.Identifier, for the only token. The text is a hash of
// the serial number and this computer's identity, so that it means nothing
// anywhere else.
func (p *Provider) Identify(ctx context.Context) (string, error) {
	var serial uint32
	err := p.link.do(ctx, func(v *visit) error {
		token, err := v.find(0)
		serial = token.serial
		return err
	})
	if err != nil {
		return "", fmt.Errorf("piv: identify: %w", err)
	}
	machine, err := os.ReadFile("/etc/machine-id")
	if err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("piv: identify: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "countersign piv token\x00%d\x00%s", serial, machine))
	return hex.EncodeToString(sum[:16]), nil
}
