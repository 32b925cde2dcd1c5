package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"countersign/hsm"
	"countersign/hsm/piv"
	"countersign/hsm/tpm"
	"countersign/internal/secret"
	"countersign/systemd"
)

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

// The credential that holds the owner password of the TPM; the second name is
// what it was called before there was a unit.
const (
	ownerName    = "countersign.tpm-owner-password"
	oldOwnerName = "tpm-owner-password"
)

// ownerPassword reads the password when it is needed, so that it is not in
// memory all the time; it is empty where none is configured.
func (c config) ownerPassword() (secret.Value, error) {
	data, err := c.readOwnerPassword()
	switch {
	case err == nil:
		return secret.New(bytes.TrimSuffix(data, []byte("\n"))), nil
	case c.TPMOwnerPasswordFile == "" && errors.Is(err, fs.ErrNotExist):
		return secret.Value{}, nil // the unit has no such credential
	}
	return secret.Value{}, fmt.Errorf("owner password of the TPM: %w", err)
}

func (c config) readOwnerPassword() ([]byte, error) {
	if c.TPMOwnerPasswordFile != "" {
		return os.ReadFile(c.TPMOwnerPasswordFile)
	}
	data, err := systemd.Credential(ownerName)
	if errors.Is(err, fs.ErrNotExist) {
		return systemd.Credential(oldOwnerName)
	}
	return data, err
}
