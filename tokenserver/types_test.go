package tokenserver_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// TestTypeMethodsAndClasses sets a type of each method and class, of which only
// those are taken that do not contradict each other.
func TestTypeMethodsAndClasses(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	for _, method := range append(protocol.Methods(), "sms", "") {
		for class := range protocol.C3 + 2 {
			typ := store.Type{Name: "x", Method: method, Class: class, TTL: time.Minute, Digits: 6, HighValue: class == protocol.C2}
			if class == protocol.C0 {
				typ.Digits = 0
			}
			takes := protocol.ValidMethod(method) && (class == protocol.C0 || class == protocol.C1)
			if method == protocol.MethodPIN || method == protocol.MethodOTP {
				takes = class == protocol.C2 || class == protocol.C3
			}
			err := s.Office.SetType(t.Context(), typ)
			if takes != (err == nil) || err != nil && problem.From(err).Code != problem.BadType {
				t.Errorf("method %q and class %s: %v", method, class, err)
			}
		}
	}
}

func TestACodeIsGoodForTwoMinutes(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	typ := store.Type{Name: "code", Method: protocol.MethodOTP, Class: protocol.C2, TTL: 2 * time.Minute, Digits: 6}
	if err := s.Office.SetType(t.Context(), typ); err != nil {
		t.Error(err)
	}
	typ.TTL += time.Second
	if err := s.Office.SetType(t.Context(), typ); problem.From(err).Code != problem.BadType {
		t.Errorf("longer: %v", err)
	}
}

// TestApprovalSatisfiesTheMethod approves types of all methods that are pushed,
// with what they ask for, with the PIN and with less.
func TestApprovalSatisfiesTheMethod(t *testing.T) {
	s, bank, d := scene(t)
	for _, c := range []struct {
		method, uv string
		class      protocol.Class
		good       bool
	}{
		{protocol.MethodPush, protocol.UVNone, protocol.C1, true},
		{protocol.MethodPush, protocol.UVFingerprint, protocol.C1, false},
		{protocol.MethodPush, protocol.UVPIN, protocol.C2, true},
		{protocol.MethodFingerprint, protocol.UVFingerprint, protocol.C1, true},
		{protocol.MethodFingerprint, protocol.UVPIN, protocol.C2, true},
		{protocol.MethodFingerprint, protocol.UVPIN, protocol.C1, false},
		{protocol.MethodFingerprint, protocol.UVNone, protocol.C1, false},
		{protocol.MethodFingerprint, protocol.UVPolkit, protocol.C1, false},
		{protocol.MethodCustom, protocol.UVPolkit, protocol.C1, true},
		{protocol.MethodCustom, protocol.UVPlugin, protocol.C1, true},
		{protocol.MethodCustom, protocol.UVPIN, protocol.C2, true},
		{protocol.MethodCustom, protocol.UVFingerprint, protocol.C1, false},
		{protocol.MethodCustom, protocol.UVNone, protocol.C1, false},
	} {
		t.Run(strings.Join([]string{c.method, c.uv, c.class.String()}, " "), func(t *testing.T) {
			set(t, s, "confirm", func(typ *store.Type) { typ.Name, typ.Method = "asked", c.method })
			tx := bank.start("asked", "alice")
			compact, r := d.request(tx.ID)
			dec := d.decision(compact, r, protocol.Approve, tx.Number)
			dec.UV.Method, dec.UV.Class = c.uv, c.class
			before := d.last
			a := d.send(tx.ID, d.sign(dec))
			if !c.good {
				d.last = before // one that is not about the request has no place in the chain
				a.refused(t, http.StatusUnprocessableEntity, protocol.CodeMismatch)
				if got := bank.read(tx.ID); got.Status != protocol.StatePending {
					t.Errorf("it made the transaction %s", got.Status)
				}
				return
			}
			a.want(t, http.StatusOK)
			got := bank.read(tx.ID)
			if got.Status != protocol.StateApproved || got.Method != c.method {
				t.Fatalf("the relying party reads %+v", got)
			}
			v, err := got.Evidence.Verify(s.Roots())
			if err != nil || v.Decision.UV.Method != c.uv {
				t.Errorf("the evidence proves %+v, %v", v, err)
			}
		})
	}
}
