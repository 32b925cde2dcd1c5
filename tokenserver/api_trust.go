package tokenserver

import (
	"errors"
	"net/http"
	"strconv"

	"countersign/protocol"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// getTrust answers with what the server says of its own names and keys. It is
// public: who reads it trusts the signature, and not the connection.
func (s *Server) getTrust(w http.ResponseWriter, _ *http.Request) error {
	document, err := s.pki.Document()
	if err != nil {
		return err
	}
	if document == nil {
		return problem.New(protocol.ProblemNotFound, "nothing is published yet")
	}
	write(w, http.StatusOK, "application/json", document)
	return nil
}

// getTime answers with the server's time, signed over the asker's nonce: who cannot
// make a TLS connection, since its clock is wrong, learns by how much.
func (s *Server) getTime(w http.ResponseWriter, r *http.Request) error {
	nonce := r.URL.Query().Get("nonce")
	if !protocol.ValidNonce(nonce) {
		return problem.New(protocol.ProblemBadRequest, "nonce is not a base64url SHA-256")
	}
	compact, err := protocol.SignTime(s.pki.SignerFor(0), &protocol.ServerTime{Issuer: s.pki.NameFor(0), IssuedAt: s.now().Unix(), Nonce: nonce})
	if err != nil {
		return err
	}
	write(w, http.StatusOK, protocol.MediaTypeJOSE, []byte(compact))
	return nil
}

// noteTrust remembers which statement a device says that it keeps, once for each.
// That it cannot be stored now is no reason not to answer: the device says it again.
func (s *Server) noteTrust(r *http.Request, d store.Device) {
	seq, err := strconv.ParseInt(r.Header.Get(protocol.HeaderTrust), 10, 64)
	if err != nil || seq <= d.TrustSeq || seq > s.pki.Seq() {
		return
	}
	err = s.store.Update(r.Context(), func(tx store.Tx) error { return tx.SetTrust(d.ID, seq, s.now()) })
	if err != nil && !errors.Is(err, store.ErrConflict) {
		s.log.Warn("not stored which names and keys a device knows", "device", d.ID, "err", err)
	}
}
