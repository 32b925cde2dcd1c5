package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pelletier/go-toml/v2"

	"countersign/ipc"
	"countersign/protocol"
)

const (
	systemConfig = "/etc/countersign/countersignd.toml"
	systemState  = "/var/lib/countersign"
	defaultTPM   = "device:/dev/tpmrm0"
)

// config is the configuration file. docs/countersignd.toml is its manual.
type config struct {
	State  string `toml:"state"`
	Socket string `toml:"socket"`
	// TPM is what tpm.Open takes; "" is none.
	TPM string `toml:"tpm"`
	// PIV is whether tokens are used.
	PIV bool `toml:"piv"`
	// TPMOwnerPasswordFile holds the owner password of the TPM; "" is the
	// systemd credential of that name, where there is one.
	TPMOwnerPasswordFile string `toml:"tpm_owner_password_file"`
	// ForbidCLI refuses approvals from outside a prompt or a terminal.
	ForbidCLI bool `toml:"forbid_cli"`
	// Floor is the least class that approving takes here: "" or "C1" to "C3".
	Floor string `toml:"floor"`
	// Verify is how the service verifies people by itself.
	Verify verifyConfig `toml:"verify"`

	user bool
}

type flags struct {
	file, state, socket, tpm string
	user, piv                bool
}

// socketPath is where the service listens while its configuration cannot be read.
func (f flags) socketPath() string {
	switch {
	case f.socket != "":
		return f.socket
	case f.user:
		return ipc.UserSocket()
	}
	return ipc.SystemSocket
}

// defaults are the system service's.
func defaults() config {
	return config{State: systemState, Socket: ipc.SystemSocket, TPM: defaultTPM, Verify: defaultVerify()}
}

// config merges, in rising order, the defaults, the file and the flags.
func (f flags) config() (config, error) {
	cfg := defaults()
	if f.user {
		if err := cfg.forUser(); err != nil {
			return config{}, err
		}
	}
	if err := cfg.read(f.file); err != nil {
		return config{}, err
	}
	for _, o := range []struct {
		value string
		field *string
	}{{f.state, &cfg.State}, {f.socket, &cfg.Socket}, {f.tpm, &cfg.TPM}} {
		if o.value != "" {
			*o.field = o.value
		}
	}
	cfg.PIV = cfg.PIV || f.piv
	if _, err := cfg.floor(); err != nil {
		return config{}, err
	}
	return cfg, nil
}

// floor is the least class that approving takes here, 0 where the server alone
// says.
func (c config) floor() (class protocol.Class, err error) {
	if c.Floor == "" {
		return 0, nil
	}
	if err := class.UnmarshalText([]byte(c.Floor)); err != nil {
		return 0, usageError{fmt.Errorf("configuration: floor is a consent class, C0 to C3, and not %q", c.Floor)}
	}
	return class, nil
}

func (c *config) forUser() error {
	c.user, c.Socket = true, ipc.UserSocket()
	base := os.Getenv("XDG_STATE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return usageError{fmt.Errorf("no state directory, name one with --state: %w", err)}
		}
		base = filepath.Join(home, ".local", "state")
	}
	c.State = filepath.Join(base, "countersign")
	return nil
}

// read overlays a file. The system's own file may be absent, a named one may
// not; the service of a user does not read the system's.
func (c *config) read(file string) error {
	if file == "" {
		if c.user {
			return nil
		}
		file = systemConfig
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(c); err != nil {
		if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
			return fmt.Errorf("configuration %s:\n%s", file, strict.String())
		}
		if bad, ok := errors.AsType[*toml.DecodeError](err); ok {
			return fmt.Errorf("configuration %s:\n%s", file, bad.String())
		}
		return fmt.Errorf("configuration %s: %w", file, err)
	}
	return nil
}
