package main

import (
	"errors"
	"fmt"
	"time"

	"countersign/agent"
	"countersign/agent/verify"
	"countersign/ipc"
	"countersign/protocol"
)

// maxPluginTimeout is how long a plug-in may have: requests live for minutes.
const maxPluginTimeout = 5 * time.Minute

// verifyConfig is the table [verify].
type verifyConfig struct {
	// Fingerprint is whether fprintd is asked where it is there.
	Fingerprint bool `toml:"fingerprint"`
	// Custom is what a type with a custom authenticator means here: "",
	// "polkit" or "plugin".
	Custom string `toml:"custom"`
	// Plugin is the program, PluginTimeout how long it may take.
	Plugin        string `toml:"plugin"`
	PluginTimeout string `toml:"plugin_timeout"`
}

func defaultVerify() verifyConfig { return verifyConfig{Fingerprint: true, PluginTimeout: "30s"} }

// verifiers are the ways of verifying people that are configured, by the method
// that asks for them.
func (c config) verifiers() (map[string]agent.Means, error) {
	list := map[string]agent.Means{}
	if c.Verify.Fingerprint {
		list[protocol.MethodFingerprint] = agent.Means{Name: ipc.VerifyFingerprint, UV: protocol.UVFingerprint, Verifier: verify.NewFingerprint(verify.Bus{})}
	}
	if c.Verify.Plugin != "" && c.Verify.Custom != ipc.VerifyPlugin {
		return nil, errors.New(`configuration: verify.plugin is set and not used: set verify.custom = "plugin"`)
	}
	switch c.Verify.Custom {
	case "":
	case ipc.VerifyPolkit:
		list[protocol.MethodCustom] = agent.Means{Name: ipc.VerifyPolkit, UV: protocol.UVPolkit, Verifier: verify.NewPolkit(verify.Bus{}, !c.user)}
	case ipc.VerifyPlugin:
		p, err := c.plugin()
		if err != nil {
			return nil, fmt.Errorf("configuration: verify.plugin: %w", err)
		}
		list[protocol.MethodCustom] = agent.Means{Name: ipc.VerifyPlugin, UV: protocol.UVPlugin, Verifier: p}
	default:
		return nil, fmt.Errorf(`configuration: verify.custom is "", "polkit" or "plugin", and not %q`, c.Verify.Custom)
	}
	return list, nil
}

// plugin is the plug-in, which a service of one user may own.
func (c config) plugin() (*verify.Plugin, error) {
	limit, err := time.ParseDuration(c.Verify.PluginTimeout)
	if err != nil || limit < time.Second || limit > maxPluginTimeout {
		return nil, fmt.Errorf("plugin_timeout is a time from 1s to %v, and not %q", maxPluginTimeout, c.Verify.PluginTimeout)
	}
	return verify.NewPlugin(c.Verify.Plugin, limit, c.user)
}
