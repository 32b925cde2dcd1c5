package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"time"

	"countersign/protocol"
)

// answer is a document with evidence in it.
type answer struct {
	evidence *protocol.Evidence
	// beside is what stands beside the evidence where the document is all that
	// GET /v1/transactions/{id} answered.
	beside map[string]json.RawMessage
}

// errNoEvidence says that a document is well made and has no evidence.
var errNoEvidence = errors.New("there is no evidence in this file")

// parseAnswer reads what GET /v1/transactions/{id} answered, or its evidence
// member.
func parseAnswer(data []byte) (answer, error) {
	m, err := members(data)
	if err != nil {
		return answer{}, err
	}
	if raw, ok := m["evidence"]; ok {
		delete(m, "evidence")
		e, err := protocol.ParseEvidence(raw)
		return answer{e, m}, err
	}
	if m["request"] == nil && m["decision"] == nil {
		return answer{}, errNoEvidence
	}
	e, err := protocol.ParseEvidence(data)
	return answer{evidence: e}, err
}

// members takes an object apart, in which each member is given once.
func members(data []byte) (map[string]json.RawMessage, error) {
	bad := &protocol.Error{Code: protocol.CodeBadMessage, Detail: "this is not evidence"}
	dec := json.NewDecoder(bytes.NewReader(data))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, bad
	}
	m := map[string]json.RawMessage{}
	for dec.More() {
		tok, err := dec.Token()
		name, ok := tok.(string)
		var value json.RawMessage
		if err != nil || !ok || dec.Decode(&value) != nil || m[name] != nil {
			return nil, bad
		}
		m[name] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, bad
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, bad
	}
	return m, nil
}

// check refuses an answer that says of the transaction what the evidence does
// not prove. Only user and devices go unchecked, which evidence does not name.
func (a answer) check(v *protocol.Verified) error {
	texts := map[string]string{
		"id": v.Request.ID, "type": v.Request.Type, "method": v.Request.Method, "class": v.Request.Class.String(),
		"status": string(v.Receipt.State), "reason": v.Decision.Reason, "decided_by": v.Decision.Issuer,
	}
	if v.Decision.Decision == protocol.Approve {
		texts["number"] = v.Decision.Number
	}
	for name, want := range texts {
		var got string
		if raw, ok := a.beside[name]; ok && (json.Unmarshal(raw, &got) != nil || got != want) {
			return contradiction(name)
		}
	}
	for name, want := range map[string]int64{
		"created_at": v.Request.IssuedAt, "expires_at": v.Request.ExpiresAt, "decided_at": v.Receipt.IssuedAt,
	} {
		var got time.Time
		if raw, ok := a.beside[name]; ok && (json.Unmarshal(raw, &got) != nil || got.Unix() != want) {
			return contradiction(name)
		}
	}
	return nil
}

func contradiction(name string) error {
	return &protocol.Error{Code: protocol.CodeMismatch, Detail: name + " beside the evidence is not what the evidence proves"}
}
