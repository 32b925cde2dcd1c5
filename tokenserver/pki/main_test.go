package pki_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/tokenserver/pki"
)

func TestMain(m *testing.M) { os.Exit(testenv.RunOrLive(m, live)) }

// step is a change of names or keys, and the word that is printed when it is made.
type step struct {
	word string
	do   func(*pki.Authority) error
}

// steps are all there are, in an order in which each can be made.
func steps() []step {
	return []step{
		{"presented", func(a *pki.Authority) error { return a.Present("https://a.example", "https://a.example:8443", false) }},
		{"prepared", (*pki.Authority).PrepareTLSRoot},
		{"rotated", (*pki.Authority).RotateIssuer},
		{"switched", func(a *pki.Authority) error { return a.SwitchTLSRoot(true) }},
		{"moved", func(a *pki.Authority) error { return a.Move("https://b.example", "https://b.example:8443") }},
		{"root", (*pki.Authority).RetireTLSRoot},
		{"key", (*pki.Authority).RetireIssuer},
		{"devices", (*pki.Authority).RotateDeviceCA},
		{"retired", (*pki.Authority).RetireDeviceCAs},
		{"dropped", func(a *pki.Authority) error { return a.Drop("https://a.example") }},
		{"served", func(a *pki.Authority) error { _, err := a.TLSLeaf(time.Now); return err }},
	}
}

// live makes one change after the other. What is printed has returned.
func live(dir string) error {
	a, err := pki.Open(dir)
	if err != nil {
		return err
	}
	for _, s := range steps() {
		if err := s.do(a); err != nil {
			return fmt.Errorf("%s: %w", s.word, err)
		}
		fmt.Println(s.word)
	}
	return nil
}
