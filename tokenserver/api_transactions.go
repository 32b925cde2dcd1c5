package tokenserver

import (
	"encoding/json"
	"net/http"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/engine"
	"countersign/tokenserver/fanout"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// startBody is the body of POST /v1/transactions.
type startBody struct {
	Type        string            `json:"type"`
	User        string            `json:"user"`
	Device      string            `json:"device"`
	Message     string            `json:"message"`
	Details     []protocol.Detail `json:"details"`
	Context     *protocol.Context `json:"context"`
	SigningData string            `json:"signing_data"`
	CallbackURI string            `json:"callback_uri"`
	// Language is that of the message, for the record: the message is shown
	// as it is.
	Language string `json:"language"`
}

// statusBody is a transaction as relying parties see it.
type statusBody struct {
	ID        string             `json:"id"`
	Status    protocol.State     `json:"status"`
	Reason    string             `json:"reason,omitempty"`
	Number    string             `json:"number,omitempty"`
	Type      string             `json:"type"`
	Class     protocol.Class     `json:"class"`
	Method    string             `json:"method"`
	User      string             `json:"user"`
	Devices   []string           `json:"devices"`
	CreatedAt time.Time          `json:"created_at"`
	ExpiresAt time.Time          `json:"expires_at"`
	DecidedAt *time.Time         `json:"decided_at,omitempty"`
	DecidedBy string             `json:"decided_by,omitempty"`
	Evidence  *protocol.Evidence `json:"evidence,omitempty"`
	// Only in the answer that starts a transaction without a user: the code, the
	// link that holds it, and that link as a QR code, a PNG in a data: URL.
	OTP    string `json:"otp,omitempty"`
	OTPURI string `json:"otp_uri,omitempty"`
	OTPQR  string `json:"otp_qr,omitempty"`
}

func writeStatus(w http.ResponseWriter, code int, s *engine.Status) error {
	return writeJSON(w, code, describe(s))
}

func describe(s *engine.Status) statusBody {
	b := statusBody{
		ID: s.ID, Status: s.State, Reason: s.Reason, Number: s.Number, Type: s.Type, Class: s.Class, Method: s.Method,
		User: s.User, Devices: append([]string{}, s.Devices...), CreatedAt: s.CreatedAt.UTC(), ExpiresAt: s.ExpiresAt.UTC(),
		DecidedBy: s.DecidedBy, Evidence: s.Evidence,
	}
	if !s.DecidedAt.IsZero() {
		at := s.DecidedAt.UTC()
		b.DecidedAt = &at
	}
	return b
}

func (s *Server) startTransaction(w http.ResponseWriter, r *http.Request, c store.Client) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var b startBody
	if err := decodeStart(body, &b); err != nil {
		return err
	}
	if b.CallbackURI != "" {
		return problem.New(problem.CallbackUnsupported, "this server makes no callbacks; wait with GET and Prefer: wait")
	}
	start := engine.Start{
		Type: b.Type, User: b.User, Device: b.Device, Message: b.Message, Details: b.Details, Context: b.Context, SigningData: b.SigningData,
	}
	if b.User == "" && b.Device == "" {
		return s.offer(w, r, c, start)
	}
	st, err := s.engine.Start(r.Context(), c, start)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/transactions/"+st.ID)
	return writeStatus(w, http.StatusCreated, st)
}

// decodeStart reads the body strictly. The strict decoder refuses bad text
// before it knows whose it is, so that such a body is read once more, to name
// the member to the relying party.
func decodeStart(body []byte, b *startBody) error {
	err := protocol.DecodeStrict(body, b)
	if err == nil {
		return protocol.CheckText("language", b.Language, 64)
	}
	if problem.From(err).Code != protocol.CodeBadText {
		return err
	}
	var lenient startBody
	if json.Unmarshal(body, &lenient) == nil {
		if named := lenient.checkText(); named != nil {
			return named
		}
	}
	return err
}

func (b *startBody) checkText() error {
	r := protocol.Request{
		Issuer: "-", Audience: "-", Subject: "-", ID: "-", Type: b.Type, Client: protocol.Client{ID: "-", Name: "-"},
		Message: b.Message, Details: b.Details, Context: b.Context, SigningData: b.SigningData,
	}
	err := r.Validate()
	if problem.From(err).Code == protocol.CodeBadText {
		return err
	}
	for _, t := range []struct{ name, value string }{
		{"user", b.User}, {"device", b.Device}, {"language", b.Language}, {"callback_uri", b.CallbackURI},
	} {
		if err := protocol.CheckText(t.name, t.value, protocol.MaxMessage); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) getTransaction(w http.ResponseWriter, r *http.Request, c store.Client) error {
	id := r.PathValue("id")
	var st *engine.Status
	err := s.wait(r.Context(), fanout.Transaction(id), preferredWait(w, r), func() (bool, error) {
		var err error
		st, err = s.engine.Status(r.Context(), c.ID, id)
		return err == nil && st.State.Final(), err
	})
	if err != nil {
		return err
	}
	return writeStatus(w, http.StatusOK, st)
}

func (s *Server) cancelTransaction(w http.ResponseWriter, r *http.Request, c store.Client) error {
	st, err := s.engine.Cancel(r.Context(), c.ID, r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeStatus(w, http.StatusOK, st)
}
