package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"countersign/protocol"
)

// RenewalGrace is how long after its end a certificate is still good for getting
// the next one.
const RenewalGrace = 30 * 24 * time.Hour

// ErrExpired says that a certificate is ours and its time is over.
var ErrExpired = errors.New("pki: the certificate has expired")

// IssueDevice certifies a key of a device for a lifetime, saying what the key is
// for and what binds it. The chain is DER, leaf first, root last.
func (a *Authority) IssueDevice(device string, pub crypto.PublicKey, info protocol.KeyInfo, now time.Time, lifetime time.Duration) ([][]byte, error) {
	ext, err := info.Extension()
	if err != nil {
		return nil, err
	}
	t := leafTemplate(device, now, lifetime)
	ca := a.ring().deviceCA
	if t.NotAfter.After(ca.cert.NotAfter) {
		t.NotAfter = ca.cert.NotAfter
	}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	t.ExtraExtensions = append(t.ExtraExtensions, ext)
	leaf, err := ca.sign(t, pub)
	if err != nil {
		return nil, err
	}
	return [][]byte{leaf.Raw, ca.cert.Raw}, nil
}

// DevicePool holds the device CA, and those before it that are not retired, to
// verify devices' certificates against.
func (a *Authority) DevicePool() *x509.CertPool {
	r := a.ring()
	pool := x509.NewCertPool()
	pool.AddCert(r.deviceCA.cert)
	for _, der := range r.book.FormerDeviceCAs {
		if cert, err := x509.ParseCertificate(der); err == nil {
			pool.AddCert(cert)
		}
	}
	return pool
}

// VerifyDevice checks that this authority issued a certificate, that it is valid
// now, or was at most grace ago, and that it is for the device role; one that is
// too old, and else in order, is ErrExpired. It says nothing of whether the device
// has been revoked.
func (a *Authority) VerifyDevice(cert *x509.Certificate, now time.Time, grace time.Duration) error {
	if err := a.verify(cert, protocol.RoleDevice, now); err != nil {
		return err
	}
	if now.After(cert.NotAfter.Add(grace)) {
		return ErrExpired
	}
	return nil
}

// VerifyMachine is VerifyDevice for the machine role. With ever it takes a
// certificate however long ago it was valid.
func (a *Authority) VerifyMachine(cert *x509.Certificate, now time.Time, ever bool) error {
	if err := a.verify(cert, protocol.RoleMachine, now); err != nil {
		return err
	}
	if now.After(cert.NotAfter) && !ever {
		return ErrExpired
	}
	return nil
}

// verify checks a certificate as of now, or of its last moment where that is past.
func (a *Authority) verify(cert *x509.Certificate, role protocol.Role, now time.Time) error {
	at := now
	if at.After(cert.NotAfter) {
		at = cert.NotAfter
	}
	_, err := cert.Verify(x509.VerifyOptions{
		Roots: a.DevicePool(), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return err
	}
	info, err := protocol.ParseKeyInfo(cert)
	if err != nil {
		return err
	}
	if info.Role != role {
		return fmt.Errorf("pki: the certificate is not for the %s role", role)
	}
	return nil
}

// ParseCSR returns the key of a certificate request that this very key signed:
// on P-256 or, for the approval role alone, RSA of 2048 bits. Whatever else the
// request asks for is not looked at.
func ParseCSR(der []byte, role protocol.Role) (crypto.PublicKey, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, errors.New("pki: the certificate request is malformed")
	}
	if _, ec := csr.PublicKey.(*ecdsa.PublicKey); !ec && role != protocol.RoleApproval {
		return nil, errors.New("pki: the certificate request's key is not on P-256")
	}
	if _, err := protocol.Thumbprint(csr.PublicKey); err != nil {
		return nil, errors.New("pki: the certificate request's key is neither on P-256 nor RSA of 2048 bits")
	}
	if csr.CheckSignature() != nil {
		return nil, errors.New("pki: the certificate request is not signed by its own key")
	}
	return csr.PublicKey, nil
}
