// Package roots keeps the certificates of chip vendors under which this server
// believes an attestation.
//
// Whoever can write to one of its directories decides what hardware counts as
// real, so they must be the operator's alone. A directory is read anew each
// time it is asked: what was added or removed holds from the next enrollment
// on. A file that is not what it must be makes the whole directory an error,
// lest a typing mistake pass for a missing vendor.
package roots

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"countersign/tokenserver/problem"
)

// Name is the directory of roots in the server's directory.
const Name = "attestation-roots"

// maxFile is the size in bytes over which a file is no list of certificates.
const maxFile = 1 << 20

// Root is a trusted certificate.
type Root struct {
	// Fingerprint is the SHA-256 of the certificate, in hexadecimal.
	Fingerprint string
	Certificate *x509.Certificate
}

// Parse reads CA certificates, several if need be, as PEM with text around it
// or one as DER. It refuses, with *protocol.Problem, a file that holds anything
// else: a key, a certificate that may not issue others, one whose time is over.
func Parse(data []byte, now time.Time) ([]Root, error) {
	ders, err := split(data)
	if err != nil {
		return nil, err
	}
	out := make([]Root, len(ders))
	for i, der := range ders {
		if out[i], err = parseOne(der); err != nil {
			return nil, err
		}
		if now.After(out[i].Certificate.NotAfter) {
			return nil, problem.New(problem.BadRoot, "certificate %d of the file has expired", i+1)
		}
	}
	return out, nil
}

func split(data []byte) (ders [][]byte, err error) {
	if len(data) > maxFile {
		return nil, problem.New(problem.BadRoot, "the file is over %d bytes", maxFile)
	}
	if !bytes.Contains(data, []byte("-----BEGIN")) {
		return [][]byte{data}, nil
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, problem.New(problem.BadRoot, "the file holds something else than certificates")
		}
		ders = append(ders, block.Bytes)
	}
	if len(ders) != bytes.Count(data, []byte("-----BEGIN")) {
		return nil, problem.New(problem.BadRoot, "the file is damaged: not all that begins in it is a certificate")
	}
	return ders, nil
}

func parseOne(der []byte) (Root, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Root{}, problem.New(problem.BadRoot, "the file holds no certificate, or a malformed one")
	}
	mayIssue := cert.KeyUsage == 0 || cert.KeyUsage&x509.KeyUsageCertSign != 0
	if !cert.BasicConstraintsValid || !cert.IsCA || !mayIssue {
		return Root{}, problem.New(problem.BadRoot, "the file holds a certificate that is not a CA's")
	}
	sum := sha256.Sum256(cert.Raw)
	return Root{hex.EncodeToString(sum[:]), cert}, nil
}

// Dir is a directory with a file for each root.
type Dir string

// List returns the roots, by name. A directory that is not there has none.
func (d Dir) List() ([]Root, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("roots: %w", err)
	}
	var out []Root
	for _, e := range entries {
		// Editors and package managers leave hidden files.
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		found, err := d.read(e.Name())
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	slices.SortStableFunc(out, func(a, b Root) int {
		return strings.Compare(a.Certificate.Subject.String()+a.Fingerprint, b.Certificate.Subject.String()+b.Fingerprint)
	})
	return slices.CompactFunc(out, func(a, b Root) bool { return a.Fingerprint == b.Fingerprint }), nil
}

func (d Dir) read(name string) ([]Root, error) {
	path := filepath.Join(string(d), name)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("roots: %w", err)
	}
	// One whose time is over proves nothing and is no reason to stop.
	found, err := Parse(data, time.Time{})
	if err != nil {
		return nil, fmt.Errorf("roots: %s: %w", path, err)
	}
	return found, nil
}

// Add keeps a root; again, if it was there.
func (d Dir) Add(r Root) error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("roots: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate.Raw})
	// A hidden name until it is whole.
	f, err := os.CreateTemp(string(d), ".new-*")
	if err != nil {
		return fmt.Errorf("roots: %w", err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), d.path(r.Fingerprint))
	}
	if err != nil {
		return fmt.Errorf("roots: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// Remove forgets the root with a fingerprint. It refuses, with
// *protocol.Problem, one that is not there.
func (d Dir) Remove(fingerprint string) error {
	unknown := problem.New(problem.RootUnknown, "there is no root of this fingerprint")
	if raw, err := hex.DecodeString(fingerprint); err != nil || len(raw) != sha256.Size {
		return unknown
	}
	err := os.Remove(d.path(fingerprint))
	if errors.Is(err, fs.ErrNotExist) {
		return unknown
	}
	if err != nil {
		return fmt.Errorf("roots: %w", err)
	}
	return nil
}

// Fingerprint is a fingerprint as people and tools write it, in the spelling of
// Root.
func Fingerprint(text string) string {
	return strings.ToLower(strings.ReplaceAll(text, ":", ""))
}

func (d Dir) path(fingerprint string) string { return filepath.Join(string(d), fingerprint+".pem") }

// Pool holds the roots of several directories.
func Pool(dirs ...Dir) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for _, d := range dirs {
		found, err := d.List()
		if err != nil {
			return nil, err
		}
		for _, r := range found {
			pool.AddCert(r.Certificate)
		}
	}
	return pool, nil
}
