package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"

	"golang.org/x/sys/unix"

	"countersign/agent"
	"countersign/agent/settings"
	"countersign/internal/secret"
	"countersign/systemd"
)

// tokenName is the systemd credential with the token that enrolls this computer.
const tokenName = "countersign.enrollment-token" //nolint:gosec // a name

// fleet is what this computer belongs to.
func (c config) fleet() agent.Fleet {
	f := c.Fleet
	return agent.Fleet{
		Server: f.Server, CA: f.Pin(), Enroll: f.Enroll, EnrollURL: f.EnrollURL, Report: f.Report, Name: f.Name,
		Spread: f.Within(), Policy: policyName(c.Policy), Token: func() (secret.Value, error) { return enrollmentToken(f) },
	}
}

// policyName names a policy by what it says, so that the server sees which computers
// have another; "" is the one that locks nothing.
func policyName(p settings.Policy) string {
	if reflect.DeepEqual(p, settings.Defaults().Policy) {
		return ""
	}
	data, err := json.Marshal(p)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// enrollmentToken reads the token when it is needed, so that it is not in memory all
// the time; it is empty where there is none.
func enrollmentToken(f settings.Fleet) (secret.Value, error) {
	read := func() ([]byte, error) { return systemd.Credential(tokenName) }
	if f.EnrollmentTokenFile != "" {
		read = func() ([]byte, error) { return readToken(f.EnrollmentTokenFile) }
	}
	data, err := read()
	if errors.Is(err, fs.ErrNotExist) {
		return secret.Value{}, nil
	}
	if err != nil {
		return secret.Value{}, fmt.Errorf("enrollment token: %w", err)
	}
	return secret.New(bytes.TrimSpace(data)), nil
}

// maxToken is more than a token has.
const maxToken = 256

// readToken reads a file that nobody else can read: a token enrolls more than this
// computer.
func readToken(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode&0o077 != 0 || st.Uid != 0 && st.Uid != uint32(os.Geteuid()) {
		return nil, fmt.Errorf("%s can be read or replaced by others: it must belong to root or to the service, with mode 0600", path)
	}
	return io.ReadAll(io.LimitReader(f, maxToken))
}
