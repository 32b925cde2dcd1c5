package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/pelletier/go-toml/v2"

	"countersign/tokenserver/enroll"
	"countersign/tokenserver/problem"
)

// config is the configuration file.
type config struct {
	Enrollment struct {
		Mode enroll.Mode `toml:"mode"`
		Max  int         `toml:"max"`
		// ApprovalAlgorithm is "ES256", "RS256" or "" for both.
		ApprovalAlgorithm string `toml:"approval_algorithm"`
	} `toml:"enrollment"`
}

// readConfig reads the file, or has the defaults where there is none. What it
// does not know it refuses.
func readConfig(path string) (c config, err error) {
	def := enroll.DefaultPolicy()
	c.Enrollment.Mode, c.Enrollment.Max = def.Mode, def.Max
	if path == "" {
		return c, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return c, failure{exitRefused, problem.BadConfig, "configuration: " + err.Error(), ""}
	}
	if err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&c); err != nil {
		return c, failure{exitRefused, problem.BadConfig, fmt.Sprintf("configuration %s: %s", path, tomlDetail(err)), "See docs/countersign-server.toml for what there is."}
	}
	return c, c.policy().Validate()
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
