package tokenserver

import (
	"net/http"

	"countersign/protocol"
	"countersign/tokenserver/engine"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/store"
)

func (s *Server) startEnrollment(w http.ResponseWriter, r *http.Request) error {
	var body protocol.EnrollmentStart
	if err := readStrict(w, r, &body); err != nil {
		return err
	}
	started, err := s.enroll.Start(r.Context(), body)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, started)
}

func (s *Server) activateEnrollment(w http.ResponseWriter, r *http.Request) error {
	var body protocol.Activation
	if err := readStrict(w, r, &body); err != nil {
		return err
	}
	enrolled, err := s.enroll.Activate(r.Context(), r.PathValue("id"), body)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, enrolled)
}

// own returns the calling device, which need not be active.
func (s *Server) own(r *http.Request, key string) (d store.Device, err error) {
	err = s.store.View(r.Context(), func(tx store.Tx) error {
		d, err = engine.Admit(tx, key, false)
		return err
	})
	return d, err
}

func (s *Server) getEnrollment(w http.ResponseWriter, r *http.Request, key string) error {
	d, err := s.own(r, key)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, enroll.State(d))
}

func (s *Server) leaveEnrollment(w http.ResponseWriter, r *http.Request, key string) error {
	d, err := s.own(r, key)
	if err != nil {
		return err
	}
	if _, err := s.desk.Revoke(r.Context(), enroll.Revocation{Device: d.ID, User: d.User, Reason: enroll.ReasonLeft}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
