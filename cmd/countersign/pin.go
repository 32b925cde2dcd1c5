package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"unicode/utf8"

	"countersign/internal/secret"
	"countersign/session/prompt"
)

// askPIN names the server, and has a person set the PIN of a TPM key, or type
// the one that a token has.
func (a *app) askPIN(ctx context.Context, server, key string) (secret.Value, error) {
	tty, err := a.ask("there is no terminal to ask for a PIN on: use --pin-stdin")
	if err != nil {
		return secret.Value{}, err
	}
	defer tty.Close()
	fmt.Fprintf(tty, "Enroll this computer at %s.\n", server)
	if onToken(key) {
		pin, err := prompt.ReadPIN(ctx, tty, "PIN of the token: ")
		return pin, noAnswer(err)
	}
	fmt.Fprintf(tty, "Choose a PIN of at least %d characters; the TPM ends the key at the fifth wrong one.\n", a.leastPIN(ctx))
	return a.chooseTwice(ctx, tty)
}

// chipPIN is the least length of a PIN that every chip asks for.
const chipPIN = 6

// leastPIN is the least length of a new PIN here, in characters. Where the service
// does not say, it will when it gets one.
func (a *app) leastPIN(ctx context.Context) int {
	s, err := a.service().Status(ctx)
	if err != nil || s.Policy == nil {
		return chipPIN
	}
	return max(chipPIN, s.Policy.PINMinLength)
}

// chooseTwice has a new PIN typed until it is long enough, and the same twice.
func (a *app) chooseTwice(ctx context.Context, tty *prompt.TTY) (secret.Value, error) {
	least := a.leastPIN(ctx)
	for {
		first, err := prompt.ReadPIN(ctx, tty, "New PIN: ")
		if err != nil {
			return secret.Value{}, noAnswer(err)
		}
		if n := utf8.RuneCount(first.Reveal()); n < least && least > chipPIN {
			first.Wipe()
			fmt.Fprintf(tty, "On this computer a PIN has at least %d characters.\n", least)
			continue
		}
		second, err := prompt.ReadPIN(ctx, tty, "Again: ")
		if err != nil {
			return secret.Value{}, noAnswer(err)
		}
		if bytes.Equal(first.Reveal(), second.Reveal()) {
			second.Wipe()
			return first, nil
		}
		first.Wipe()
		second.Wipe()
		fmt.Fprintln(tty, "The two are not the same.")
	}
}

// askAdmin has the management key of a token typed.
func (a *app) askAdmin(ctx context.Context) (secret.Value, error) {
	tty, err := a.ask("there is no terminal to ask for the management key on: it is the second line with --pin-stdin")
	if err != nil {
		return secret.Value{}, err
	}
	defer tty.Close()
	fmt.Fprintln(tty, "The token wants its management key, which it does not keep under its PIN.")
	line, err := prompt.ReadPIN(ctx, tty, "Management key in hex: ")
	if err != nil {
		return secret.Value{}, noAnswer(err)
	}
	return unhex(line)
}

// readTokenSecrets reads the PIN of a token and, where another line follows,
// its management key.
func (a *app) readTokenSecrets() (pin, admin secret.Value, err error) {
	if pin, err = a.readLine(); err != nil {
		return pin, admin, err
	}
	// Without the line the token keeps it under the PIN.
	if line, _ := a.readLine(); !line.Empty() {
		admin, err = unhex(line)
	}
	return pin, admin, err
}

// unhex decodes a secret and wipes its text.
func unhex(line secret.Value) (secret.Value, error) {
	defer line.Wipe()
	text := bytes.TrimSpace(line.Reveal())
	raw := make([]byte, hex.DecodedLen(len(text)))
	if _, err := hex.Decode(raw, text); err != nil {
		// The decoder's text would quote a byte of it.
		return secret.Value{}, usageError{errors.New("the management key is not hex")}
	}
	return secret.New(raw), nil
}
