package hsmtest

import (
	"syscall"
	"testing"

	"countersign/hsm"
	"countersign/internal/testenv"
)

// SWTPM is the fixture of a TPM 2.0 made of software. open opens the TPM of a
// specification as the service's configuration has it, and closes it with tb;
// an idle connection must be let go after a moment, since swtpm serves one.
func SWTPM(open func(tb testing.TB, spec string) hsm.Provider) Fixture {
	return Fixture{
		Open: func(tb testing.TB) *Chip {
			tb.Helper()
			tpm := testenv.StartSWTPM(tb)
			return softChip(tpm, open(tb, tpm.Spec()))
		},
		PIN: "493817", WrongPIN: "000000",
		MinPIN: hsm.MinPIN, MaxPIN: hsm.MaxPIN, AnyPIN: true,
		Tries: 5, Counter: hsm.CounterIndex,
		Algorithms: []hsm.Algorithm{hsm.ES256, hsm.RS256},
	}
}

func softChip(tpm *testenv.SWTPM, p hsm.Provider) *Chip {
	return &Chip{
		Provider: p,
		Restart:  tpm.Restart, Detach: tpm.Kill, Attach: tpm.Start,
		Stall: func() func() {
			pid := tpm.Pid()
			_ = syscall.Kill(pid, syscall.SIGSTOP)
			return func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
		},
		Held: func() int {
			raw := tpm.Dial()
			defer raw.Close()
			return len(raw.Indices())
		},
	}
}
