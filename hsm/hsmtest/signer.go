package hsmtest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"time"

	"countersign/hsm"
)

func signerCases() []Case {
	return []Case{
		{"a certificate request verifies", "without one there is no enrollment", (*rig).signerCSR},
		{"a TLS client proves its key", "the device key authenticates the connection", (*rig).signerTLS},
		{"a signer refuses other hashes", "a digest that is taken for another hash's is a forgery", (*rig).signerHashes},
		{"a signer refuses PSS", "a signature of another scheme than asked for fails far away", (*rig).signerPSS},
		{"a signer ends with its context", "a connection that was given up must not use the chip", (*rig).signerContext},
	}
}

func (r *rig) signerCSR() {
	for pin, key := range r.both(r.provider()) {
		template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "device"}}
		der, err := x509.CreateCertificateRequest(rand.Reader, template, hsm.Signer(r.ctx(), key, auth(pin)))
		if err != nil {
			r.Fatalf("sign a certificate request: %v", err)
		}
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil {
			r.Fatalf("%v", err)
		}
		if err := csr.CheckSignature(); err != nil || !same(key.Public(), csr.PublicKey) {
			r.Errorf("with PIN %q: the request does not verify, or is for another key: %v", pin, err)
		}
	}
}

// certificate is self-signed by the key.
func (r *rig) certificate(signer crypto.Signer) tls.Certificate {
	r.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		r.Fatalf("sign a certificate: %v", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: signer}
}

func (r *rig) signerTLS() {
	key := r.create(r.provider(), r.free())
	device := r.certificate(hsm.Signer(r.ctx(), key, hsm.Auth{}))
	soft, err := ecdsa.GenerateKey(key.Public().(*ecdsa.PublicKey).Curve, rand.Reader)
	if err != nil {
		r.Fatalf("%v", err)
	}
	near, far := net.Pipe()
	defer func() { _, _ = near.Close(), far.Close() }()
	server := tls.Server(far, &tls.Config{
		Certificates: []tls.Certificate{r.certificate(soft)}, ClientAuth: tls.RequireAnyClientCert,
		SessionTicketsDisabled: true, // nobody reads them from a pipe
	})
	client := tls.Client(near, &tls.Config{
		Certificates: []tls.Certificate{device}, InsecureSkipVerify: true, // the server's key is of no interest here
	})
	greeted := make(chan error, 1)
	go func() { greeted <- client.HandshakeContext(r.ctx()) }()
	if err := errors.Join(server.HandshakeContext(r.ctx()), <-greeted); err != nil {
		r.Fatalf("TLS handshake: %v", err)
	}
	if peers := server.ConnectionState().PeerCertificates; !same(key.Public(), peers[0].PublicKey) {
		r.Errorf("the server met another key")
	}
}

// refused expects signers to refuse to sign in this way.
func (r *rig) refused(keys map[string]hsm.Key, opts crypto.SignerOpts, size int) {
	r.Helper()
	for pin, key := range keys {
		signature, err := hsm.Signer(r.ctx(), key, auth(pin)).Sign(rand.Reader, make([]byte, size), opts)
		if err == nil || signature != nil {
			r.Errorf("with PIN %q: signed %d bytes as %v", pin, size, opts.HashFunc())
		}
	}
}

func (r *rig) signerHashes() {
	keys := r.both(r.provider())
	for _, hash := range []crypto.Hash{0, crypto.SHA1, crypto.SHA384, crypto.SHA512, crypto.SHA3_256} {
		r.refused(keys, hash, 32)
	}
	r.refused(keys, crypto.SHA1, crypto.SHA1.Size())
	r.refused(keys, crypto.SHA384, crypto.SHA384.Size())
}

func (r *rig) signerPSS() {
	r.refused(r.both(r.provider()), &rsa.PSSOptions{Hash: crypto.SHA256}, 32)
}

func (r *rig) signerContext() {
	for pin, key := range r.both(r.provider()) {
		ctx, cancel := context.WithCancel(r.ctx())
		signer := hsm.Signer(ctx, key, auth(pin))
		if _, err := signer.Sign(rand.Reader, digest("x"), crypto.SHA256); err != nil {
			r.Errorf("Sign: %v", err)
		}
		cancel()
		if _, err := signer.Sign(rand.Reader, digest("x"), crypto.SHA256); !errors.Is(err, context.Canceled) {
			r.Errorf("with PIN %q: Sign after the end: %v", pin, err)
		}
	}
}
