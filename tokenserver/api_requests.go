package tokenserver

import (
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"countersign/protocol"
	"countersign/tokenserver/fanout"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// listRequests answers with what the device is asked. A device that names the
// list it knows waits until the list is another, one that names none until it
// is not empty.
func (s *Server) listRequests(w http.ResponseWriter, r *http.Request, key string) error {
	d, err := s.own(r, key)
	if err != nil {
		return err
	}
	s.noteTrust(r, d)
	known := r.Header.Values("If-None-Match")
	var pending []store.Request
	changed := false
	err = s.wait(r.Context(), fanout.Device(d.ID), preferredWait(w, r), func() (bool, error) {
		pending, err = s.engine.Pending(r.Context(), key)
		if err != nil {
			return false, err
		}
		changed = len(pending) > 0
		if len(known) > 0 {
			changed = !matches(known, s.listTag(pending))
		}
		return changed, nil
	})
	if err != nil {
		return err
	}
	w.Header().Set(protocol.HeaderTrust, strconv.FormatInt(s.pki.Seq(), 10))
	w.Header().Set("ETag", s.listTag(pending))
	if !changed {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	out := protocol.Requests{Now: s.now().Unix(), Requests: make([]string, len(pending))}
	for i, p := range pending {
		out.Requests[i] = p.Compact
	}
	return writeJSON(w, http.StatusOK, out)
}

// listTag names a list of requests by their ids. The number of the trust statement
// is part of it, so that a device which waits hears of a new one at once, and once.
func (s *Server) listTag(pending []store.Request) string {
	var ids strings.Builder
	ids.WriteString(strconv.FormatInt(s.pki.Seq(), 10) + "\n")
	for _, p := range pending {
		ids.WriteString(p.Transaction + "\n")
	}
	return `"` + protocol.Hash([]byte(ids.String()))[:22] + `"`
}

// matches reports whether an If-None-Match names the tag (RFC 9110 section
// 13.1.2, weak comparison).
func matches(header []string, tag string) bool {
	tags := strings.Split(strings.Join(header, ","), ",")
	return slices.ContainsFunc(tags, func(t string) bool {
		t = strings.TrimSpace(t)
		return t == "*" || strings.TrimPrefix(t, "W/") == tag
	})
}

func (s *Server) getRequest(w http.ResponseWriter, r *http.Request, key string) error {
	st, err := s.engine.RequestState(r.Context(), key, r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, st)
}

func (s *Server) postDecision(w http.ResponseWriter, r *http.Request, key string) error {
	if mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mt != protocol.MediaTypeJOSE {
		p := problem.New(protocol.ProblemBadRequest, "a decision is %s", protocol.MediaTypeJOSE)
		p.Status = http.StatusUnsupportedMediaType
		return p
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	answer, err := s.engine.Decide(r.Context(), key, r.PathValue("id"), string(body))
	if err != nil {
		return err
	}
	contentType := "application/json"
	if answer.Code != "" {
		contentType = protocol.MediaTypeProblem
		s.logRefusal(r, answer.Status, answer.Code, nil)
	}
	write(w, answer.Status, contentType, answer.Body)
	return nil
}
