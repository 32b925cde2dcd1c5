// Package demo_test runs the demo as a visitor does, and then damages the
// evidence it leaves.
package demo_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"countersign/internal/testenv"
)

// runDemo builds the binaries, runs the demo without a person and returns the
// directory with evidence.json and ca.pem.
func runDemo(t *testing.T) string {
	t.Helper()
	bin, keep, tmp := build(t), t.TempDir(), shortDir(t)
	out := command(t, []string{"AUTO=1", "BIN=" + bin, "KEEP=" + keep, "TMPDIR=" + tmp}, "./demo")
	if !bytes.HasSuffix(out, []byte(": approved\nVerified\n")) {
		t.Errorf("the demo ends with %q", out[max(0, len(out)-200):])
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("the demo left %v behind (%v)", left, err)
	}
	return keep
}

// build returns a directory with the binaries.
func build(t *testing.T) string {
	t.Helper()
	testenv.Need(t, "swtpm", "openssl", "curl", "jq")
	bin := t.TempDir()
	command(t, nil, "go", "build", "-o", bin+"/", "../cmd/...")
	command(t, nil, "go", "build", "-o", bin+"/demo/", "../examples/relying-party")
	return bin
}

// TestDemoFailsOnAFlippedByte puts a liar between the portal and the server: a
// curl that changes one byte of what it fetched.
func TestDemoFailsOnAFlippedByte(t *testing.T) {
	bin := build(t)
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Fatal(err)
	}
	for name, part := range map[string]string{"decision": ".evidence.decision", "certificate": ".evidence.certificates[0]"} {
		t.Run(name, func(t *testing.T) {
			liar := t.TempDir()
			script := "#!/bin/bash\nset -o pipefail\n" + curl + ` "$@" | jq -c 'if .evidence then ` + part +
				` |= .[:300] + (if .[300:301] == "A" then "B" else "A" end) + .[301:] else . end'` + "\n"
			if err := testenv.WriteProgram(filepath.Join(liar, "curl"), []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "./demo")
			cmd.Env = append(os.Environ(), "AUTO=1", "BIN="+bin, "TMPDIR="+shortDir(t), "PATH="+liar+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if err == nil || bytes.HasSuffix(out, []byte("\nVerified\n")) || !bytes.Contains(out, []byte("OpenSSL does not verify")) {
				t.Errorf("with one byte changed in the %s: %v\n%s", name, err, out)
			}
		})
	}
}

// shortDir is a directory whose name leaves room for a socket's path.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "d-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func command(t *testing.T, env []string, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), append(env, "CGO_ENABLED=0")...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return out
}

// verify runs the script and reports whether it was satisfied.
func verify(t *testing.T, file, ca string) (bool, string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "./verify-evidence", file, ca).CombinedOutput()
	ok := strings.HasSuffix(string(out), "\nVerified\n")
	if ok != (err == nil) {
		t.Errorf("the exit status (%v) and the last line do not agree:\n%s", err, out)
	}
	return ok, string(out)
}

func TestDemoLeavesEvidenceThatNobodyCanChange(t *testing.T) {
	dir := runDemo(t)
	ca := filepath.Join(dir, "ca.pem")
	if ok, out := verify(t, filepath.Join(dir, "evidence.json"), ca); !ok {
		t.Fatalf("the evidence does not verify:\n%s", out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "evidence.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range damages(t, text) {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "evidence.json")
			if err := os.WriteFile(file, damage, 0o600); err != nil {
				t.Fatal(err)
			}
			if ok, out := verify(t, file, ca); ok {
				t.Errorf("damaged evidence verifies:\n%s", out)
			}
		})
	}
	t.Run("another CA", func(t *testing.T) {
		if ok, _ := verify(t, filepath.Join(dir, "evidence.json"), otherCA(t)); ok {
			t.Error("the evidence verifies with a foreign root")
		}
	})
}

// damages is the evidence with one bit flipped in each of its parts, with parts
// exchanged, and with parts missing.
func damages(t *testing.T, text []byte) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	change := func(name string, f func(map[string]any)) {
		var e map[string]any
		if err := json.Unmarshal(text, &e); err != nil {
			t.Fatal(err)
		}
		f(e)
		damaged, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = damaged
	}
	for _, jws := range []string{"request", "decision", "receipt"} {
		for i, part := range []string{"header", "payload", "signature"} {
			change(jws+" "+part, func(e map[string]any) {
				parts := strings.Split(e[jws].(string), ".")
				parts[i] = flip(parts[i], rand.IntN(len(parts[i])))
				e[jws] = strings.Join(parts, ".")
			})
		}
		// The last character has bits that lenient decoders drop.
		change(jws+" last character", func(e map[string]any) { e[jws] = flip(e[jws].(string), len(e[jws].(string))-1) })
		change("no "+jws, func(e map[string]any) { delete(e, jws) })
	}
	for _, chain := range []string{"certificates", "issuer_certificates"} {
		for i, name := range []string{"leaf", "root"} {
			change(chain+" "+name, func(e map[string]any) {
				pem := e[chain].([]any)[i].(string)
				e[chain].([]any)[i] = flip(pem, inBody(pem))
			})
		}
		change("no "+chain, func(e map[string]any) { e[chain] = []any{} })
	}
	change("exchanged certificates", func(e map[string]any) { e["certificates"] = e["issuer_certificates"] })
	change("something beside it", func(e map[string]any) { e["amount"] = "1" })
	change("better attestation", func(e map[string]any) { e["attestation"].(map[string]any)["pin_bound"] = "yes" })
	return all
}

// flip changes the character at i into another of the base64url alphabet.
func flip(s string, i int) string {
	b := []byte(s)
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

// inBody picks a character of a PEM block's base64, line ends excluded.
func inBody(pem string) int {
	for {
		if i := 30 + rand.IntN(len(pem)-90); pem[i] != '\n' {
			return i
		}
	}
}

func otherCA(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	command(t, nil, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-subj", "/CN=another", "-keyout", os.DevNull, "-out", file)
	return file
}
