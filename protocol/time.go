package protocol

import "crypto"

// PathTime is where anybody gets the server's time, signed, below the device URL and
// the issuer. It is for devices whose clock is so wrong that they cannot make a TLS
// connection, to say so with certainty.
const PathTime = "/v1/time"

const typTime = "server-time+jwt"

// ServerTime is what the server's clock says at the moment in which it was asked with
// a nonce.
type ServerTime struct {
	Issuer   string `json:"iss"`
	IssuedAt int64  `json:"iat"`
	// Nonce is the asker's, by which it knows that the answer is new: a Hash of
	// something that nobody else knows.
	Nonce string `json:"nonce"`
}

// ValidNonce reports whether a server signs its time over a nonce.
func ValidNonce(s string) bool { return isHash(s) }

// SignTime validates t and signs it.
func SignTime(key crypto.Signer, t *ServerTime) (string, error) {
	if err := t.validate(); err != nil {
		return "", err
	}
	return sign(key, typTime, t)
}

// ParseTime verifies a server's time, with the nonce that it was asked with.
func ParseTime(compact, nonce string, keys Keys) (*ServerTime, error) {
	t := new(ServerTime)
	if err := verify(compact, typTime, keys, t); err != nil {
		return nil, err
	}
	if err := t.validate(); err != nil {
		return nil, err
	}
	if t.Nonce != nonce {
		return nil, errorf(CodeMismatch, "the time is not the answer to this question")
	}
	return t, nil
}

func (t *ServerTime) validate() error {
	if err := CheckText("iss", t.Issuer, maxValue); err != nil {
		return err
	}
	if !ValidIssuer(t.Issuer) || !validTime(t.IssuedAt) || !ValidNonce(t.Nonce) {
		return errorf(CodeBadMessage, "the time is incomplete")
	}
	return nil
}
