package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"countersign/internal/testenv"
)

// The command under test is this one, run as a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"countersign-server": main})
}

func TestScripts(t *testing.T) {
	testenv.Need(t, "curl", "jq", "openssl")
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Setup: setup, Cmds: map[string]func(*testscript.TestScript, bool, []string){
		"await": await,
		"play":  playFor(t),
	}})
}
