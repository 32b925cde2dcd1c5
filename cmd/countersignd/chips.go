package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"countersign/hsm"
	"countersign/hsm/piv"
	"countersign/hsm/tpm"
	"countersign/internal/secret"
)

// ownerCredential is the name of the systemd credential with the TPM's owner
// password.
const ownerCredential = "tpm-owner-password" //nolint:gosec // the name of a file, not what is in it

// chips opens the back ends that the configuration names, the TPM first. None
// of them touches its hardware yet.
func (c config) chips() (list []hsm.Provider, closeAll func() error, err error) {
	var closers []io.Closer
	closeAll = func() error {
		var errs []error
		for _, c := range closers {
			errs = append(errs, c.Close())
		}
		return errors.Join(errs...)
	}
	if c.TPM != "" {
		p, err := tpm.Open(c.TPM, tpm.WithOwnerPassword(c.ownerPassword))
		if err != nil {
			return nil, nil, err
		}
		list, closers = append(list, p), append(closers, p)
	}
	if c.PIV {
		p := piv.Open()
		if err := built(p); err != nil {
			return nil, nil, errors.Join(err, closeAll())
		}
		list = append(list, p)
	}
	if len(list) == 0 {
		return nil, nil, errors.New("no security chip is configured: set tpm, or piv = true")
	}
	return list, closeAll, nil
}

// built refuses a back end that this program was built without. It asks no
// hardware: the context has ended before.
func built(p hsm.Provider) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := p.Status(ctx); errors.Is(err, hsm.ErrUnsupported) {
		return err
	}
	return nil
}

// ownerPassword reads the password when it is needed, so that it is not in
// memory all the time; it is empty where none is configured.
func (c config) ownerPassword() (secret.Value, error) {
	file := c.TPMOwnerPasswordFile
	if file == "" {
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return secret.Value{}, nil
		}
		file = filepath.Join(dir, ownerCredential)
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			return secret.Value{}, nil
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return secret.Value{}, fmt.Errorf("owner password of the TPM: %w", err)
	}
	return secret.New(bytes.TrimSuffix(data, []byte("\n"))), nil
}
