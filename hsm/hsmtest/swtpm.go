package hsmtest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"syscall"
	"testing"

	"countersign/hsm"
	"countersign/internal/testenv"

	"github.com/google/go-tpm/tpm2"
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
		Attesting: func(tb testing.TB) *Chip {
			tb.Helper()
			tpm, _ := testenv.StartManufacturedTPM(tb)
			return softChip(tpm, open(tb, tpm.Spec()))
		},
		Challenge: challengeTPM,
		PIN:       "493817", WrongPIN: "000000",
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

// challengeTPM seals a secret to the endorsement key of a claim's certificate,
// for a chip that also holds the claim's attestation key. It checks neither,
// which a server must.
func challengeTPM(tb testing.TB, claim hsm.Claim, nonce []byte) (hsm.Challenge, []byte) {
	tb.Helper()
	certificate, err := x509.ParseCertificate(claim.Endorsement[0])
	if err != nil {
		tb.Fatal(err)
	}
	area := tpm2.RSAEKTemplate
	area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{
		Buffer: certificate.PublicKey.(*rsa.PublicKey).N.Bytes(),
	})
	seal, err := tpm2.ImportEncapsulationKey(&area)
	if err != nil {
		tb.Fatal(err)
	}
	ak, err := tpm2.Unmarshal[tpm2.TPMTPublic](claim.AK)
	if err != nil {
		tb.Fatal(err)
	}
	name, err := tpm2.ObjectName(ak)
	if err != nil {
		tb.Fatal(err)
	}
	secret := digest("a secret")
	credential, seed, err := tpm2.CreateCredential(rand.Reader, seal, name.Buffer, secret)
	if err != nil {
		tb.Fatal(err)
	}
	return hsm.Challenge{Nonce: nonce, Credential: credential, Secret: seed}, secret
}
