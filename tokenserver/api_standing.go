package tokenserver

import (
	"net/http"

	"countersign/protocol"
)

func (s *Server) putQuiet(w http.ResponseWriter, r *http.Request, key string) error {
	var body protocol.Quiet
	if err := readStrict(w, r, &body); err != nil {
		return err
	}
	if err := s.engine.SetQuiet(r.Context(), key, body); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) listBlocks(w http.ResponseWriter, r *http.Request, key string) error {
	blocks, err := s.engine.Blocks(r.Context(), key)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, blocks)
}

func (s *Server) liftBlock(w http.ResponseWriter, r *http.Request, key string) error {
	if err := s.engine.Unblock(r.Context(), key, r.PathValue("client")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
