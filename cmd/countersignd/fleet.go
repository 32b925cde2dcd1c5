package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"countersign/agent"
	"countersign/internal/secret"
	"countersign/ipc"
	"countersign/protocol"
	"countersign/systemd"
)

// tokenName is the systemd credential with the token that enrolls this computer.
const tokenName = "countersign.enrollment-token" //nolint:gosec // a name

// maxSpread is the longest time over which computers spread their first call.
const maxSpread = time.Hour

// fleetConfig is the table [fleet].
type fleetConfig struct {
	// Server is the device URL, CA the pin of its TLS root as enrollment links have
	// it, "" for the system's roots.
	Server string `toml:"server"`
	CA     string `toml:"ca"`
	// Enroll is how this computer enrolls by itself: "", "token" or "ek".
	Enroll string `toml:"enroll"`
	// EnrollmentTokenFile holds the token; "" is the systemd credential.
	EnrollmentTokenFile string `toml:"enrollment_token_file"`
	// EnrollURL is the page where users get their links.
	EnrollURL string `toml:"enroll_url"`
	Report    bool   `toml:"report"`
	Name      string `toml:"name"`
	// Spread is how long the first call may wait.
	Spread string `toml:"spread"`
}

func defaultFleet() fleetConfig { return fleetConfig{Report: true, Spread: "30s"} }

// fleet is what this computer belongs to.
func (c config) fleet() (f agent.Fleet, err error) {
	t := c.Fleet
	f = agent.Fleet{Server: t.Server, Enroll: t.Enroll, EnrollURL: t.EnrollURL, Report: t.Report, Name: t.Name, Token: t.token}
	if t.Server == "" && (t.Enroll != "" || t.EnrollURL != "") {
		return f, errors.New("configuration: fleet.server is missing")
	}
	if t.Server != "" && !protocol.ValidIssuer(t.Server) {
		return f, errors.New("configuration: fleet.server is the device URL of a server, which is https")
	}
	if t.CA != "" {
		if f.CA, err = protocol.ParsePin(t.CA); err != nil {
			return f, errors.New("configuration: fleet.ca is the pin that the server prints: sha256: and 43 letters")
		}
	}
	switch t.Enroll {
	case "", agent.EnrollByToken, agent.EnrollByEK:
	default:
		return f, fmt.Errorf(`configuration: fleet.enroll is "", "token" or "ek", and not %q`, t.Enroll)
	}
	if t.EnrollURL != "" && !ipc.ValidPage(t.EnrollURL) {
		return f, errors.New("configuration: fleet.enroll_url is an https URL")
	}
	if t.EnrollmentTokenFile != "" && !filepath.IsAbs(t.EnrollmentTokenFile) {
		return f, errors.New("configuration: fleet.enrollment_token_file is an absolute path")
	}
	if t.Name != "" && protocol.CheckText("name", t.Name, maxMachineName) != nil {
		return f, errors.New("configuration: fleet.name is a text of at most 128 bytes")
	}
	if f.Spread, err = time.ParseDuration(t.Spread); err != nil || f.Spread < 0 || f.Spread > maxSpread {
		return f, fmt.Errorf("configuration: fleet.spread is a time from 0s to %v, and not %q", maxSpread, t.Spread)
	}
	return f, nil
}

const maxMachineName = 128

// token reads the token when it is needed, so that it is not in memory all the
// time; it is empty where there is none.
func (t fleetConfig) token() (secret.Value, error) {
	data, err := t.readToken()
	if errors.Is(err, fs.ErrNotExist) {
		return secret.Value{}, nil
	}
	if err != nil {
		return secret.Value{}, fmt.Errorf("enrollment token: %w", err)
	}
	return secret.New(bytes.TrimSpace(data)), nil
}

func (t fleetConfig) readToken() ([]byte, error) {
	if t.EnrollmentTokenFile == "" {
		return systemd.Credential(tokenName)
	}
	f, err := os.Open(t.EnrollmentTokenFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	// A token enrolls more than this computer.
	if st.Mode&0o077 != 0 || st.Uid != 0 && st.Uid != uint32(os.Geteuid()) {
		return nil, fmt.Errorf("%s can be read or replaced by others: it must belong to root or to the service, with mode 0600", t.EnrollmentTokenFile)
	}
	return io.ReadAll(io.LimitReader(f, maxToken))
}

// maxToken is more than a token has.
const maxToken = 256
