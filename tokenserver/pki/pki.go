// Package pki keeps the Token Server's keys and certificates in its directory
// and issues certificates from them.
//
// There are two roots. The TLS root certifies the server: its TLS leaf and the
// key that signs requests and receipts. The device CA certifies the keys of
// devices. Whoever checks evidence trusts both, which is what ca.pem holds.
//
// Every key is in a file of mode 0600 together with its certificate, written
// at once or not at all, so that at no point of a first start is there one
// without the other.
package pki

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"countersign/protocol"
)

// Names of the files in the directory. FileCA alone is for others to read.
const (
	FileCA       = "ca.pem"
	fileTLSRoot  = "tls-root.pem"
	fileTLSLeaf  = "tls.pem"
	fileDeviceCA = "device-ca.pem"
	fileIssuer   = "issuer.pem"
	fileLock     = "lock"
)

// ErrKeysMissing says that the directory has been a server's and has lost a key.
// A new one would be that of another server, which no device knows.
var ErrKeysMissing = errors.New("pki: a key is missing")

// Authority issues the server's certificates. It is safe for concurrent use.
type Authority struct {
	dir      string
	complete bool
	tlsRoot  *identity
	deviceCA *identity
	issuer   *identity
}

// Open reads the keys in dir, making the directory and whatever a first start
// that broke off has not made yet. A key that was there and is lost is
// ErrKeysMissing.
func Open(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, fileLock))
	if err != nil {
		return nil, err
	}
	defer unlock()
	a := &Authority{dir: dir}
	// It is written last: where it is, all keys have been.
	if a.complete, err = exists(filepath.Join(dir, FileCA)); err != nil {
		return nil, err
	}
	if a.tlsRoot, err = a.loadOrMake(fileTLSRoot, func() (*identity, error) { return makeRoot("Countersign TLS root") }); err != nil {
		return nil, err
	}
	if a.deviceCA, err = a.loadOrMake(fileDeviceCA, func() (*identity, error) { return makeRoot("Countersign device CA") }); err != nil {
		return nil, err
	}
	if a.issuer, err = a.loadOrMake(fileIssuer, a.makeIssuer); err != nil {
		return nil, err
	}
	return a, a.writeRoots()
}

// lock keeps two processes from making the same keys twice.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("pki: lock %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("pki: %w", err)
	}
	return true, nil
}

func (a *Authority) loadOrMake(name string, create func() (*identity, error)) (*identity, error) {
	path := filepath.Join(a.dir, name)
	id, err := readIdentity(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if a.complete {
		return nil, fmt.Errorf("%w: %s", ErrKeysMissing, path)
	}
	if id, err = create(); err != nil {
		return nil, err
	}
	return id, id.write(path)
}

func (a *Authority) makeIssuer() (*identity, error) {
	ext, err := protocol.KeyInfo{Role: protocol.RoleIssuer, Attestation: protocol.AttestationNone}.Extension()
	if err != nil {
		return nil, err
	}
	t := leafTemplate("Countersign issuer", time.Now(), rootLifetime)
	t.NotAfter = a.tlsRoot.cert.NotAfter
	t.ExtraExtensions = append(t.ExtraExtensions, ext)
	return makeLeaf(t, a.tlsRoot)
}

func (a *Authority) writeRoots() error {
	var out []byte
	for _, root := range []*identity{a.tlsRoot, a.deviceCA} {
		out = append(out, encodeCert(root.cert.Raw)...)
	}
	path := filepath.Join(a.dir, FileCA)
	if old, err := os.ReadFile(path); err == nil && string(old) == string(out) {
		return nil
	}
	return writeFile(path, out, 0o644)
}

// Issuer is the key that signs requests, receipts and rejections.
func (a *Authority) Issuer() crypto.Signer { return a.issuer.key }

// IssuerKeys are the public keys that the server's messages verify with.
func (a *Authority) IssuerKeys() (protocol.Keys, error) {
	return protocol.NewKeys(a.issuer.key.Public())
}

// IssuerChain is the chain of the issuer's key, PEM, leaf first, root last.
func (a *Authority) IssuerChain() []string {
	return PEM([][]byte{a.issuer.cert.Raw, a.tlsRoot.cert.Raw})
}

// Pin names the TLS root, as enrollment links do.
func (a *Authority) Pin() []byte { return protocol.SPKI(a.tlsRoot.cert) }

// PEM writes each certificate of a DER chain as a PEM block of its own.
func PEM(chain [][]byte) []string {
	out := make([]string, len(chain))
	for i, der := range chain {
		out[i] = string(encodeCert(der))
	}
	return out
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// DevicePool holds the device CA, to verify devices' certificates against.
func (a *Authority) DevicePool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.deviceCA.cert)
	return pool
}
