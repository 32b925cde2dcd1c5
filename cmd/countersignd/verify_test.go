package main

import (
	"os"
	"path/filepath"
	"testing"

	"countersign/agent/settings"
	"countersign/protocol"
)

func TestVerifiersOfTheConfiguration(t *testing.T) {
	program := filepath.Join(t.TempDir(), "plugin")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	const finger, custom = protocol.MethodFingerprint, protocol.MethodCustom
	for name, c := range map[string]struct {
		in   settings.Verify
		want map[string]string // nil: refused
	}{
		"default":          {settings.Defaults().Verify, map[string]string{finger: protocol.UVFingerprint}},
		"none":             {settings.Verify{}, map[string]string{}},
		"polkit":           {settings.Verify{Custom: "polkit"}, map[string]string{custom: protocol.UVPolkit}},
		"plugin":           {settings.Verify{Custom: "plugin", Plugin: program, PluginTimeout: "2s"}, map[string]string{custom: protocol.UVPlugin}},
		"plugin not named": {settings.Verify{Custom: "plugin", PluginTimeout: "2s"}, nil},
		"plugin not there": {settings.Verify{Custom: "plugin", Plugin: program + "s", PluginTimeout: "2s"}, nil},
	} {
		cfg := of(settings.Settings{Verify: c.in})
		cfg.user = true
		got, err := cfg.verifiers()
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
