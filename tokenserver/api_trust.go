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
