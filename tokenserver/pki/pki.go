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
//
// Keys and names change while devices keep working: trust.json says which there
// are beside the first ones, and what the server publishes of them. That file is
// written last, so that a change that breaks off has not been made, and what was
// left to do after it is done at the next reading.
package pki

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
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

	fileBook         = "trust.json"
	fileNextRoot     = "tls-root-next.pem"
	fileNextLeaf     = "tls-next.pem"
	fileNextIssuer   = "issuer-next.pem"
	fileNextDeviceCA = "device-ca-next.pem"
)

// ErrKeysMissing says that the directory has been a server's and has lost a key.
// A new one would be that of another server, which no device knows.
var ErrKeysMissing = errors.New("pki: a key is missing")

// Authority issues the server's certificates. It is safe for concurrent use, and
// changes made by others in the directory show in it after Refresh.
type Authority struct {
	dir string
	now atomic.Pointer[ring]
	// seen is the book that was read last.
	seen atomic.Pointer[fs.FileInfo]
}

// Open reads the keys in dir, making the directory and whatever a first start
// that broke off has not made yet. A key that was there and is lost is
// ErrKeysMissing.
func Open(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	a := &Authority{dir: dir}
	unlock, err := a.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	r, err := a.read()
	if err != nil {
		return nil, err
	}
	a.keep(r)
	return a, nil
}

// ring is what the directory holds now. What has changed and cannot be read does not
// count yet, which Refresh says to whoever can tell somebody.
func (a *Authority) ring() *ring {
	_ = a.Refresh()
	return a.now.Load()
}

func (a *Authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *Authority) lock() (unlock func(), err error) { return lock(a.path(fileLock)) }

// read reads the directory, makes what a first start lacks, and finishes what a
// change has left to do. The caller holds the lock.
func (a *Authority) read() (*ring, error) {
	// It is written last: where it is, all keys have been.
	complete, err := exists(a.path(FileCA))
	if err != nil {
		return nil, err
	}
	r := new(ring)
	if err := a.readBook(r); err != nil {
		return nil, err
	}
	if err := a.finish(&r.book); err != nil {
		return nil, err
	}
	if r.tlsRoot, err = a.loadOrMake(fileTLSRoot, complete, func() (*identity, error) { return makeRoot("Countersign TLS root") }); err != nil {
		return nil, err
	}
	if r.deviceCA, err = a.loadOrMake(fileDeviceCA, complete, func() (*identity, error) { return makeRoot("Countersign device CA") }); err != nil {
		return nil, err
	}
	if r.issuer, err = a.loadOrMake(fileIssuer, complete, func() (*identity, error) { return makeIssuer(r.tlsRoot) }); err != nil {
		return nil, err
	}
	if err := a.readNext(r); err != nil {
		return nil, err
	}
	return r, a.writeRoots(r)
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

func (a *Authority) loadOrMake(name string, complete bool, create func() (*identity, error)) (*identity, error) {
	path := a.path(name)
	id, err := readIdentity(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if complete {
		return nil, fmt.Errorf("%w: %s", ErrKeysMissing, path)
	}
	if id, err = create(); err != nil {
		return nil, err
	}
	return id, id.write(path)
}

func makeIssuer(root *identity) (*identity, error) {
	t, err := issuerTemplate(root)
	if err != nil {
		return nil, err
	}
	return makeLeaf(t, root)
}

func issuerTemplate(root *identity) (*x509.Certificate, error) {
	ext, err := protocol.KeyInfo{Role: protocol.RoleIssuer, Attestation: protocol.AttestationNone}.Extension()
	if err != nil {
		return nil, err
	}
	t := leafTemplate("Countersign issuer", time.Now(), rootLifetime)
	t.NotAfter = root.cert.NotAfter
	t.ExtraExtensions = append(t.ExtraExtensions, ext)
	return t, nil
}

// writeRoots writes what others trust: the present roots first, then the next one
// and those of the past, under which there is evidence.
func (a *Authority) writeRoots(r *ring) error {
	var out []byte
	for _, der := range r.trusted() {
		out = append(out, encodeCert(der)...)
	}
	path := a.path(FileCA)
	if old, err := os.ReadFile(path); err == nil && string(old) == string(out) {
		return nil
	}
	return writeFile(path, out, 0o644)
}

// Pin names the TLS root, as enrollment links do: the one that is shown to who
// knows no other.
func (a *Authority) Pin() []byte { return protocol.SPKI(a.ring().tlsRoot.cert) }

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
