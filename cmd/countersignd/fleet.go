package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"

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
		read = func() ([]byte, error) { return readSecret(f.EnrollmentTokenFile, uint32(os.Geteuid())) }
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
