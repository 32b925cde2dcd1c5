package tokenserver

import (
	"net/http"

	"countersign/protocol"
	"countersign/tokenserver/engine"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/store"
)

// renewing admits the active device with a device key to its renewals.
func renewing(key string) enroll.Admit {
	return func(tx store.Tx) (store.Device, error) { return engine.Admit(tx, key, true) }
}

func (s *Server) startRenewal(w http.ResponseWriter, r *http.Request, key string) error {
	var body protocol.RenewalStart
	if err := readStrict(w, r, &body); err != nil {
		return err
	}
	started, err := s.enroll.StartRenewal(r.Context(), renewing(key), body)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, started)
}

func (s *Server) activateRenewal(w http.ResponseWriter, r *http.Request, key string) error {
	var body protocol.RenewalActivation
	if err := readStrict(w, r, &body); err != nil {
		return err
	}
	renewed, err := s.enroll.ActivateRenewal(r.Context(), renewing(key), r.PathValue("id"), body)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, renewed)
}

func (s *Server) acknowledgeRenewal(w http.ResponseWriter, r *http.Request, key string) error {
	var body struct{}
	if err := readStrict(w, r, &body); err != nil {
		return err
	}
	if err := s.enroll.AcknowledgeRenewal(r.Context(), renewing(key), r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
