package pki_test

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/protocol"
	"countersign/tokenserver/pki"
)

// TestCrashAtEachFileOperation kills a process before each operation on files that it
// does while it changes names and keys, and looks at what the next start finds: what
// was said to be done is done, everything published can be verified, and the change
// can be made to its end.
func TestCrashAtEachFileOperation(t *testing.T) {
	t.Parallel()
	testenv.KillAtEach(t, map[string]int{"write": 15, "fsync": 30, "renameat": 20, "unlinkat": 5}, afterCrash)
}

func afterCrash(t *testing.T, when, dir string, said map[string]int) {
	t.Helper()
	a, err := pki.Open(dir)
	if err != nil {
		t.Errorf("%s: %v", when, err)
		return
	}
	changes := 0
	for _, word := range []string{"presented", "prepared", "rotated", "moved", "root", "key", "dropped"} {
		changes += said[word]
	}
	if seq := a.Seq(); seq < int64(changes) || seq > int64(changes)+1 {
		t.Errorf("%s: the statement is %d", when, seq)
	}
	whole(t, when, dir, a)
	// Whatever was left undone is done now.
	for _, s := range steps() {
		if said[s.word] == 0 {
			_ = s.do(a) // which says so where the crash came after it
		}
	}
	// Where the crash came between the change and the word, the device CA is replaced twice.
	if len(a.TLSRoots()) != 2 || len(a.IssuerKeysNow()) != 1 || len(a.DeviceCAs()) < 2 || len(a.DeviceCAs()) > 3 || len(a.Names()) != 1 {
		t.Errorf("%s: in the end there are %v, %v, %v, %v", when, a.TLSRoots(), a.IssuerKeysNow(), a.DeviceCAs(), a.Names())
	}
	whole(t, when+", in the end", dir, a)
}

// whole demands that what is published verifies, that each key's certificate leads to
// a root in ca.pem, and that no key is left over.
func whole(t *testing.T, when, dir string, a *pki.Authority) {
	t.Helper()
	keys, err := a.IssuerKeys()
	if err != nil {
		t.Errorf("%s: %v", when, err)
		return
	}
	if document, err := a.Document(); a.Seq() > 0 {
		if err != nil {
			t.Errorf("%s: %v", when, err)
		}
		for kid, key := range keys {
			if got, err := protocol.ParseTrustDocument(document, protocol.Keys{kid: key}); err != nil || got.Seq != a.Seq() {
				t.Errorf("%s: the document is %+v, %v", when, got, err)
			}
		}
	}
	roots := rootsOf(t, dir)
	all, err := a.AllIssuerKeys()
	if err != nil {
		t.Errorf("%s: %v", when, err)
	}
	for kid := range all {
		chain, err := a.IssuerChain(kid, time.Now())
		if err != nil {
			t.Errorf("%s: %v", when, err)
			continue
		}
		if _, err := parsePEM(t, chain[0]).Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			t.Errorf("%s: the chain of %s: %v", when, kid, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*-next.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		named := strings.HasPrefix(filepath.Base(f), "tls-root") && len(a.TLSRoots()) > 1 || strings.HasPrefix(filepath.Base(f), "issuer") && len(keys) == 2 || filepath.Base(f) == "tls-next.pem"
		if !named {
			t.Errorf("%s: %s is left over", when, f)
		}
	}
}

func rootsOf(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, pki.FileCA))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(data)
	return pool
}
