package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/pelletier/go-toml/v2"

	"countersign/tokenserver/enroll"
	"countersign/tokenserver/machines"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/roots"
)

// config is the configuration file.
type config struct {
	Serve      serveConfig `toml:"serve"`
	Enrollment struct {
		Mode enroll.Mode `toml:"mode"`
		Max  int         `toml:"max"`
		// ApprovalAlgorithm is "ES256", "RS256" or "" for both.
		ApprovalAlgorithm string `toml:"approval_algorithm"`
		// HighValueHold is a duration as Go writes it.
		HighValueHold string `toml:"high_value_hold"`
		// CertificateLifetime is a duration as Go writes it.
		CertificateLifetime string `toml:"certificate_lifetime"`
	} `toml:"enrollment"`
	Attestation struct {
		None    string   `toml:"none"`
		Require []string `toml:"require"`
		Roots   string   `toml:"roots"`
	} `toml:"attestation"`
	Machines struct {
		Enroll          bool `toml:"enroll"`
		RequireAttested bool `toml:"require_attested"`
	} `toml:"machines"`
}

// serveConfig is the table [serve]: where the server is and where it listens.
type serveConfig struct {
	// Data is the server's directory.
	Data string `toml:"data"`
	// Listen and DeviceListen are HOST:PORT.
	Listen       string `toml:"listen"`
	DeviceListen string `toml:"device_listen"`
	// Issuer and DeviceURL are https URLs; "" is that of the listener.
	Issuer    string `toml:"issuer"`
	DeviceURL string `toml:"device_url"`
	// TLSCert and TLSKey are files, or both "".
	TLSCert string `toml:"tls_cert"`
	TLSKey  string `toml:"tls_key"`
}

// over takes from the file what the flags leave open. Certificate and key belong
// together and come from one of the two.
func (c serveConfig) over(file serveConfig) serveConfig {
	if c.TLSCert == "" && c.TLSKey == "" {
		c.TLSCert, c.TLSKey = file.TLSCert, file.TLSKey
	}
	c.Data, c.Listen, c.DeviceListen = cmp.Or(c.Data, file.Data), cmp.Or(c.Listen, file.Listen), cmp.Or(c.DeviceListen, file.DeviceListen)
	c.Issuer, c.DeviceURL = cmp.Or(c.Issuer, file.Issuer), cmp.Or(c.DeviceURL, file.DeviceURL)
	return c
}

// readConfig reads the file, or has the defaults where there is none. What it
// does not know it refuses.
func readConfig(path string) (c config, err error) {
	def := enroll.DefaultPolicy()
	c.Enrollment.Mode, c.Enrollment.Max = def.Mode, def.Max
	c.Enrollment.HighValueHold = "12h"
	c.Enrollment.CertificateLifetime = enroll.DefaultLifetime.String()
	c.Attestation.None = noneAccept
	c.Machines.Enroll = true
	if path == "" {
		return c, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return c, failure{exitRefused, problem.BadConfig, "configuration: " + err.Error(), ""}
	}
	if err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&c); err != nil {
		return c, failure{exitRefused, problem.BadConfig, fmt.Sprintf("configuration %s: %s", path, tomlDetail(err)), "See countersign-server.toml(5) for what there is; a table's heading, such as [serve], goes before its settings."}
	}
	return c, c.validate()
}

// What to do with devices that prove nothing.
const (
	noneAccept = "accept"
	noneRefuse = "refuse"
)

func (c config) validate() error {
	if err := c.policy().Validate(); err != nil {
		return err
	}
	if _, err := c.hold(); err != nil {
		return err
	}
	if _, err := c.lifetime(); err != nil {
		return err
	}
	if (c.Serve.TLSCert == "") != (c.Serve.TLSKey == "") {
		return problem.New(problem.BadConfig, "serve: tls_cert and tls_key go together")
	}
	if none := c.Attestation.None; none != noneAccept && none != noneRefuse {
		return problem.New(problem.BadConfig, `attestation: none is "accept" or "refuse"`)
	}
	if err := c.attestation().Validate(); err != nil {
		return err
	}
	dir := c.Attestation.Roots
	if dir == "" {
		return nil
	}
	// One that is not there, as a mount that failed, must not pass for one
	// without roots.
	if info, err := os.Stat(dir); err != nil || !info.IsDir() || !filepath.IsAbs(dir) {
		return problem.New(problem.BadConfig, "attestation: roots is not the absolute path of a directory: %s", dir)
	}
	return nil
}

// tomlDetail shows the line that is wrong.
func tomlDetail(err error) string {
	if e, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		return "unknown setting\n" + e.String()
	}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		return err.Error() + "\n" + e.String()
	}
	return err.Error()
}

func (c config) policy() enroll.Policy {
	return enroll.Policy{Mode: c.Enrollment.Mode, Max: c.Enrollment.Max, Algorithm: c.Enrollment.ApprovalAlgorithm}
}

// maxHold is the longest that makes sense.
const maxHold = 30 * 24 * time.Hour

// hold is how long after its enrollment a device is not asked for what is of
// high value.
func (c config) hold() (time.Duration, error) {
	d, err := time.ParseDuration(c.Enrollment.HighValueHold)
	if err != nil || d < 0 || d > maxHold {
		return 0, problem.New(problem.BadConfig, `enrollment: high_value_hold is a time such as "12h", at most %v, or "0s" for none`, maxHold)
	}
	return d, nil
}

// The bounds of a certificate's lifetime.
const (
	minLifetime = time.Minute
	maxLifetime = 10 * 365 * 24 * time.Hour
)

// lifetime is how long the certificates of a device's keys are good for.
func (c config) lifetime() (time.Duration, error) {
	d, err := time.ParseDuration(c.Enrollment.CertificateLifetime)
	if err != nil || d < minLifetime || d > maxLifetime {
		return 0, problem.New(problem.BadConfig, `enrollment: certificate_lifetime is a time such as "8760h", from %v to %v`, minLifetime, maxLifetime)
	}
	return d, nil
}

func (c config) attestation() enroll.Attestation {
	return enroll.Attestation{RefuseNone: c.Attestation.None == noneRefuse, Require: c.Attestation.Require}
}

func (c config) machines() machines.Policy {
	return machines.Policy{Off: !c.Machines.Enroll, RequireAttested: c.Machines.RequireAttested}
}

// roots are the directories of trusted vendors, the server's own first.
func (c config) roots(own roots.Dir) []roots.Dir {
	if c.Attestation.Roots == "" {
		return []roots.Dir{own}
	}
	return []roots.Dir{own, roots.Dir(c.Attestation.Roots)}
}
