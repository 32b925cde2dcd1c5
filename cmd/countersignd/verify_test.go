package main

import (
	"os"
	"path/filepath"
	"testing"

	"countersign/protocol"
)

func TestVerifiersOfTheConfiguration(t *testing.T) {
	program := filepath.Join(t.TempDir(), "plugin")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	const finger, custom = protocol.MethodFingerprint, protocol.MethodCustom
	for name, c := range map[string]struct {
		in   verifyConfig
		want map[string]string // nil: refused
	}{
		"default":             {defaultVerify(), map[string]string{finger: protocol.UVFingerprint}},
		"none":                {verifyConfig{}, map[string]string{}},
		"polkit":              {verifyConfig{Custom: "polkit"}, map[string]string{custom: protocol.UVPolkit}},
		"plugin":              {verifyConfig{Custom: "plugin", Plugin: program, PluginTimeout: "2s"}, map[string]string{custom: protocol.UVPlugin}},
		"unknown":             {verifyConfig{Custom: "password"}, nil},
		"plugin not used":     {verifyConfig{Custom: "polkit", Plugin: program, PluginTimeout: "2s"}, nil},
		"plugin not named":    {verifyConfig{Custom: "plugin", PluginTimeout: "2s"}, nil},
		"plugin not there":    {verifyConfig{Custom: "plugin", Plugin: program + "s", PluginTimeout: "2s"}, nil},
		"plugin without time": {verifyConfig{Custom: "plugin", Plugin: program, PluginTimeout: "0s"}, nil},
		"plugin for ever":     {verifyConfig{Custom: "plugin", Plugin: program, PluginTimeout: "24h"}, nil},
		"plugin time unknown": {verifyConfig{Custom: "plugin", Plugin: program, PluginTimeout: "soon"}, nil},
	} {
		got, err := config{Verify: c.in, user: true}.verifiers()
		if (err == nil) != (c.want != nil) || len(got) != len(c.want) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
		for method, uv := range c.want {
			if got[method].UV != uv || got[method].Verifier == nil {
				t.Errorf("%s: %s is %+v", name, method, got[method])
			}
		}
	}
}
