package tokenserver

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// anybody lets everybody in.
func (s *Server) anybody(h handler) handler { return h }

// clientHandler answers a relying party.
type clientHandler func(w http.ResponseWriter, r *http.Request, c store.Client) error

// client lets in who knows a relying party's secret (RFC 7617).
func (s *Server) client(h clientHandler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		c, err := s.authenticate(r)
		if err != nil {
			w.Header().Set("WWW-Authenticate", `Basic realm="countersign", charset="UTF-8"`)
			return err
		}
		return h(w, r, c)
	}
}

func (s *Server) authenticate(r *http.Request) (c store.Client, err error) {
	id, secret, _ := r.BasicAuth()
	err = s.store.View(r.Context(), func(tx store.Tx) error {
		c, err = tx.Client(id)
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return c, err
	}
	// Compared for an unknown client too, so that both take the same time.
	if subtle.ConstantTimeCompare(store.HashSecret(secret), c.SecretHash) != 1 || err != nil {
		return c, problem.New(protocol.ProblemUnauthorized, "client_id and client_secret are expected as HTTP Basic")
	}
	return c, nil
}

// deviceHandler answers the device whose device key has this thumbprint. That
// the device may still do so, the handler learns from engine.Admit together
// with the data it answers with, and again after every wait.
type deviceHandler func(w http.ResponseWriter, r *http.Request, key string) error

// device lets in who holds a device key that this server certified.
func (s *Server) device(h deviceHandler) handler { return s.certified(0, h) }

// renewer is device, and lets in a certificate for some time after its end, since
// it is what a new one is asked for with.
func (s *Server) renewer(h deviceHandler) handler { return s.certified(pki.RenewalGrace, h) }

func (s *Server) certified(grace time.Duration, h deviceHandler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			return problem.New(protocol.ProblemUnauthorized, "a client certificate is expected")
		}
		cert := r.TLS.PeerCertificates[0]
		if err := s.pki.VerifyDevice(cert, s.now(), grace); errors.Is(err, pki.ErrExpired) {
			return problem.New(protocol.ProblemCertExpired, "the client certificate has expired")
		} else if err != nil {
			return problem.New(protocol.ProblemUnauthorized, "the client certificate is not a valid one of a device key from here")
		}
		key, err := protocol.Thumbprint(cert.PublicKey)
		if err != nil {
			return problem.New(protocol.ProblemUnauthorized, "the client certificate's key is not on P-256")
		}
		return h(w, r, key)
	}
}
