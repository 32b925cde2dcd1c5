package tokenserver

import (
	"encoding/base64"
	"fmt"
	"net/http"

	"rsc.io/qr"

	"countersign/internal/secret"
	"countersign/protocol"
	"countersign/tokenserver/engine"
	"countersign/tokenserver/store"
)

// offer starts a transaction without a user, and answers with its code.
func (s *Server) offer(w http.ResponseWriter, r *http.Request, c store.Client, start engine.Start) error {
	st, code, err := s.engine.Offer(r.Context(), c, start)
	if err != nil {
		return err
	}
	b := describe(st)
	if err := s.tell(&b, code); err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/transactions/"+st.ID)
	return writeJSON(w, http.StatusCreated, b)
}

// tell puts a code into an answer, in the three forms that a page can show.
func (s *Server) tell(b *statusBody, code secret.Value) error {
	uri := protocol.OTPURI{Server: s.deviceURL, OTP: code}.String()
	picture, err := qr.Encode(uri, qr.M)
	if err != nil {
		return fmt.Errorf("tokenserver: QR code: %w", err)
	}
	b.OTP, b.OTPURI = string(code.Reveal()), uri
	b.OTPQR = "data:image/png;base64," + base64.StdEncoding.EncodeToString(picture.PNG())
	return nil
}

func (s *Server) redeemOTP(w http.ResponseWriter, r *http.Request, key string) error {
	var body protocol.OTPRedemption
	if err := readStrict(w, r, &body); err != nil {
		return err
	}
	out, err := s.engine.Redeem(r.Context(), key, body)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}
