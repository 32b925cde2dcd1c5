package main

import (
	"fmt"

	"countersign/agent"
	"countersign/agent/verify"
	"countersign/ipc"
	"countersign/protocol"
)

// verifiers are the ways of verifying people that are configured, by the method
// that asks for them.
func (c config) verifiers() (map[string]agent.Means, error) {
	list := map[string]agent.Means{}
	if c.Verify.Fingerprint {
		list[protocol.MethodFingerprint] = agent.Means{Name: ipc.VerifyFingerprint, UV: protocol.UVFingerprint, Verifier: verify.NewFingerprint(verify.Bus{})}
	}
	switch c.Verify.Custom {
	case ipc.VerifyPolkit:
		list[protocol.MethodCustom] = agent.Means{Name: ipc.VerifyPolkit, UV: protocol.UVPolkit, Verifier: verify.NewPolkit(verify.Bus{}, !c.user)}
	case ipc.VerifyPlugin:
		// The service of one user may own its plug-in.
		p, err := verify.NewPlugin(c.Verify.Plugin, c.Verify.Timeout(), c.user)
		if err != nil {
			return nil, fmt.Errorf("configuration: verify.plugin (%v): %w", c.Origins["verify.plugin"], err)
		}
		list[protocol.MethodCustom] = agent.Means{Name: ipc.VerifyPlugin, UV: protocol.UVPlugin, Verifier: p}
	}
	return list, nil
}
