package testenv

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// TPMMaker is the certificate authority of whoever made a TPM.
type TPMMaker struct {
	// Root signed Issuer, and Issuer signed the certificate of the TPM's
	// endorsement key. The TPM holds that one alone, so a verifier takes Issuer
	// for its root.
	Root, Issuer *x509.Certificate
}

// StartManufacturedTPM starts a TPM as it comes from a factory: with an RSA
// endorsement key at its persistent handle and its certificate in NV. The work
// is done once per test process and the state copied, seeds included: to a
// verifier all these TPMs are one and the same chip, before anybody used it.
func StartManufacturedTPM(tb testing.TB) (*SWTPM, *TPMMaker) {
	tb.Helper()
	Need(tb, "swtpm", "swtpm_setup", "certtool")
	made, err := manufactured()
	if err != nil {
		tb.Fatalf("manufacture a TPM: %v", err)
	}
	dir := tempDir(tb)
	state := filepath.Join(dir, "state")
	if err := os.MkdirAll(state, 0o700); err != nil {
		tb.Fatal(err)
	}
	for name, content := range made.state {
		if err := os.WriteFile(filepath.Join(state, name), content, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return startSWTPM(tb, dir), &TPMMaker{Root: made.root, Issuer: made.issuer}
}

// factoryTPM is a manufactured TPM while it is off. It is in memory, so that no
// directory has to outlive the test that was first.
type factoryTPM struct {
	state        map[string][]byte
	root, issuer *x509.Certificate
}

var manufactured = sync.OnceValues(func() (*factoryTPM, error) {
	dir, err := os.MkdirTemp("", "cs-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := manufacture(dir); err != nil {
		return nil, err
	}
	made := &factoryTPM{state: map[string][]byte{}}
	files, err := os.ReadDir(filepath.Join(dir, "state"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(dir, "state", f.Name()))
		if err != nil {
			return nil, err
		}
		if len(content) > 0 { // not the lock
			made.state[f.Name()] = content
		}
	}
	if made.root, err = readCertificate(filepath.Join(dir, "ca", "swtpm-localca-rootca-cert.pem")); err != nil {
		return nil, err
	}
	made.issuer, err = readCertificate(filepath.Join(dir, "ca", "issuercert.pem"))
	return made, err
})

func manufacture(dir string) error {
	tool, err := exec.LookPath("swtpm_localca") // swtpm_setup wants its whole path
	if err != nil {
		return err
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	files := map[string]string{
		"setup.conf": "create_certs_tool = " + tool + "\n" +
			"create_certs_tool_config = " + at("ca.conf") + "\n" +
			"create_certs_tool_options = " + at("ca.options") + "\n",
		"ca.conf": "statedir = " + at("ca") + "\nsigningkey = " + at("ca/signkey.pem") + "\n" +
			"issuercert = " + at("ca/issuercert.pem") + "\ncertserial = " + at("ca/certserial") + "\n",
		"ca.options": "",
	}
	for name, content := range files {
		if err := os.WriteFile(at(name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	for _, sub := range []string{"state", "ca"} {
		if err := os.Mkdir(at(sub), 0o700); err != nil {
			return err
		}
	}
	out, err := exec.Command("swtpm_setup", "--tpm2", "--tpmstate", "dir://"+at("state"),
		"--create-ek-cert", "--config", at("setup.conf")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("swtpm_setup: %w: %s", err, out)
	}
	return nil
}

func readCertificate(path string) (*x509.Certificate, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, errors.New(path + " is not PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}
