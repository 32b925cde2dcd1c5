// Package settings reads the configuration of countersignd: one file, and what
// lies over it, key by key.
//
// It is strict. A name that is not known, a value of another kind, a key that is
// there twice and a file that others can write are errors, each with its place
// and in words for people: a restriction that is misspelled must not be silently
// absent. No error repeats what could be a secret, so that all of them can be
// shown to every local user.
package settings

import (
	"os"
	"path/filepath"

	"countersign/ipc"
)

const (
	// SystemDir is where the administrator configures the system service, and the
	// policy of every service.
	SystemDir = "/etc/countersign"
	// SystemFile is its main file.
	SystemFile = SystemDir + "/" + mainName

	mainName = "countersignd.toml"
	overDir  = "conf.d"

	systemState = "/var/lib/countersign"
	defaultTPM  = "device:/dev/tpmrm0"
)

// Settings are the configuration as it is written. docs/countersignd.toml is its
// manual. A field with the tag secret is never shown.
type Settings struct {
	State  string `toml:"state"`
	Socket string `toml:"socket"`
	// TPM is what tpm.Open takes; "" is none.
	TPM string `toml:"tpm"`
	// PIV is whether tokens are used.
	PIV bool `toml:"piv"`
	// TPMOwnerPasswordFile holds the owner password of the TPM; "" is the
	// systemd credential of that name, where there is one.
	TPMOwnerPasswordFile string `toml:"tpm_owner_password_file"`
	// ForbidCLI and Floor are what policy.local_approvals and policy.class_floor
	// were before there was a policy.
	ForbidCLI bool   `toml:"forbid_cli"`
	Floor     string `toml:"floor"`
	// Verify is how the service verifies people by itself.
	Verify Verify `toml:"verify"`
	// Network is how servers are reached.
	Network Network `toml:"network"`
	// Policy is what users cannot change.
	Policy Policy `toml:"policy"`
	// Fleet is what this computer belongs to.
	Fleet Fleet `toml:"fleet"`
	// Metrics is what is counted for a monitoring system.
	Metrics Metrics `toml:"metrics"`
}

// Verify is the table [verify].
type Verify struct {
	// Fingerprint is whether fprintd is asked where it is there.
	Fingerprint bool `toml:"fingerprint"`
	// Custom is what a type with a custom authenticator means here: "",
	// "polkit" or "plugin".
	Custom string `toml:"custom"`
	// Plugin is the program, PluginTimeout how long it may take.
	Plugin        string `toml:"plugin"`
	PluginTimeout string `toml:"plugin_timeout"`
}

// Policy is the table [policy]. Loaded.Locks is what it means.
type Policy struct {
	ClassFloor          string   `toml:"class_floor"`
	Servers             []string `toml:"servers"`
	PINMinLength        int      `toml:"pin_min_length"`
	MuteMax             string   `toml:"mute_max"`
	LocalApprovals      string   `toml:"local_approvals"`
	Keys                []string `toml:"keys"`
	AttestationRequired bool     `toml:"attestation_required"`
}

// Metrics is the table [metrics].
type Metrics struct {
	// Textfile is where they are written for node_exporter; "" is nowhere.
	Textfile string `toml:"textfile"`
	// Interval is how often.
	Interval string `toml:"interval"`
}

// Defaults are the system service's.
func Defaults() Settings {
	return Settings{
		State: systemState, Socket: ipc.SystemSocket, TPM: defaultTPM,
		Verify:  Verify{Fingerprint: true, PluginTimeout: "30s"},
		Network: Network{NoProxy: []string{}},
		Policy:  Policy{Servers: []string{"*"}, PINMinLength: 6, MuteMax: "24h", LocalApprovals: "any", Keys: []string{"tpm", "piv"}},
		Fleet:   Fleet{Report: true, Spread: "30s"},
		Metrics: Metrics{Interval: "1m"},
	}
}

// userDefaults are those of the service of one user.
func userDefaults() Settings {
	s := Defaults()
	s.State, s.Socket = userState(), ipc.UserSocket()
	return s
}

// userState is where a user's service keeps its state, "" where there is no home.
func userState() string {
	base := os.Getenv("XDG_STATE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "countersign")
}
