package tokenserver_test

import (
	"bytes"
	"encoding/base64"
	"image/png"
	"net/http"
	"strings"
	"testing"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/servertest"
	"countersign/tokenserver/store"
)

// offered is what a relying party reads of a transaction without a user.
type offered struct {
	transaction
	OTP    string `json:"otp"`
	OTPURI string `json:"otp_uri"`
	OTPQR  string `json:"otp_qr"`
}

// otpScene is a scene with a type that takes codes, and one of high value.
func otpScene(t *testing.T) (*servertest.Server, party, *device) {
	t.Helper()
	s, bank, d := scene(t)
	err := s.Office.Store.Update(t.Context(), func(tx store.Tx) error {
		typ := store.Type{Name: "qr", Method: protocol.MethodOTP, Class: protocol.C2, TTL: 2 * time.Minute, Digits: 6}
		if err := tx.PutType(typ); err != nil {
			return err
		}
		typ.Name, typ.HighValue = "pay", true
		return tx.PutType(typ)
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, bank, d
}

func wish(typ string) map[string]any {
	return map[string]any{"type": typ, "message": "Sign in", "context": map[string]string{"ip": "192.0.2.7"}}
}

func (p party) offer(typ string) offered {
	p.tb.Helper()
	var o offered
	p.post("/v1/transactions", wish(typ)).want(p.tb, http.StatusCreated).decode(p.tb, &o)
	return o
}

func (d *device) redeem(code, origin string) answer {
	d.tb.Helper()
	return d.post(protocol.PathOTP, protocol.OTPRedemption{OTP: code, Origin: origin})
}

func TestRedeem(t *testing.T) {
	s, bank, d := otpScene(t)
	o := bank.offer("qr")
	uri, err := protocol.ParseOTPURI(o.OTPURI)
	if err != nil || uri.Server != s.DeviceURL() || string(uri.OTP.Reveal()) != o.OTP || len(o.OTP) < 26 {
		t.Fatalf("offered %+v, %v", o, err)
	}
	picture, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(o.OTPQR, "data:image/png;base64,"))
	if err == nil {
		_, err = png.Decode(bytes.NewReader(picture))
	}
	if err != nil {
		t.Errorf("the picture: %v", err)
	}
	if got := bank.read(o.ID); got.Status != protocol.StatePending || got.User != "" || len(got.Devices) != 0 {
		t.Errorf("before: %+v", got)
	}
	var out protocol.OTPRedeemed
	first := d.redeem(o.OTP, protocol.OriginScreen).want(t, http.StatusOK)
	first.decode(t, &out)
	r, err := protocol.ParseRequest(out.Request, serverKeys(t, d))
	if err != nil || r.ID != o.ID || r.Origin != protocol.OriginScreen || r.Audience != d.enrolled.Device || r.Class != protocol.C2 {
		t.Fatalf("asked %+v, %v", r, err)
	}
	var again protocol.OTPRedeemed
	d.redeem(o.OTP, protocol.OriginTyped).want(t, http.StatusOK).decode(t, &again)
	if again.Request != out.Request || len(d.pending()) != 1 {
		t.Error("the same device is asked in other bytes, or twice")
	}
	if got := bank.read(o.ID); got.User != "alice" || len(got.Devices) != 1 {
		t.Errorf("after: %+v", got)
	}
	enrollDevice(t, s, alice).redeem(o.OTP, protocol.OriginTyped).refused(t, http.StatusNotFound, protocol.ProblemOTPUnknown)
	d.decide(o.ID, protocol.Approve, o.Number).want(t, http.StatusOK)
	got := bank.read(o.ID)
	v, err := got.Evidence.Verify(s.Roots())
	if err != nil || got.Status != protocol.StateApproved || v.Request.Origin != protocol.OriginScreen {
		t.Errorf("%s, %v", got.Status, err)
	}
	d.redeem(o.OTP, protocol.OriginTyped).want(t, http.StatusOK) // the same answer, though it is over
	if strings.Contains(s.Log(), o.OTP) {
		t.Error("a code is in the log")
	}
}

func TestCodesThatAreWorthNothing(t *testing.T) {
	s, bank, d := otpScene(t)
	cancelled, late, mine := bank.offer("qr"), bank.offer("qr"), bank.offer("qr")
	bank.post("/v1/transactions/"+cancelled.ID+"/cancel", nil).want(t, http.StatusOK)
	if got := bank.read(cancelled.ID); got.Status != protocol.StateCancelled {
		t.Errorf("cancelled: %s", got.Status)
	}
	d.redeem(mine.OTP, protocol.OriginTyped).want(t, http.StatusOK)
	s.Skip(2 * time.Minute)
	bodies := map[string]bool{}
	for _, code := range []string{cancelled.OTP, late.OTP, mine.OTP, strings.Repeat("A", 26)} {
		a := d.redeem(code, protocol.OriginTyped)
		a.refused(t, http.StatusNotFound, protocol.ProblemOTPUnknown)
		bodies[string(a.body)] = true
	}
	if len(bodies) != 1 {
		t.Errorf("they are refused in different words: %v", bodies)
	}
	if got := bank.read(late.ID); got.Status != protocol.StateExpired {
		t.Errorf("late: %s", got.Status)
	}
	d.redeem("not a code", protocol.OriginTyped).refused(t, http.StatusBadRequest, protocol.ProblemBadRequest)
	d.redeem(late.OTP, "elsewhere").refused(t, http.StatusBadRequest, protocol.ProblemBadRequest)
}

func TestWhatMayBeOffered(t *testing.T) {
	_, bank, d := otpScene(t)
	bare := wish("qr")
	delete(bare, "context")
	bank.post("/v1/transactions", bare).refused(t, http.StatusUnprocessableEntity, "context_required")
	bank.post("/v1/transactions", wish("login")).refused(t, http.StatusUnprocessableEntity, "user_unknown")
	named := wish("qr")
	named["user"] = "alice"
	bank.post("/v1/transactions", named).refused(t, http.StatusBadRequest, protocol.ProblemBadRequest)
	hidden := wish("qr")
	hidden["message"] = "a\u202eb"
	bank.post("/v1/transactions", hidden).refused(t, http.StatusUnprocessableEntity, protocol.CodeBadText)
	// The device is new: what is of high value waits, whatever brought it.
	o := bank.offer("pay")
	d.redeem(o.OTP, protocol.OriginScreen).refused(t, http.StatusUnprocessableEntity, "high_value_hold")
	d.redeem(o.OTP, protocol.OriginLink).refused(t, http.StatusForbidden, protocol.ProblemOTPRefused)
}

func TestAHighValueCodeIsNotTakenFromALink(t *testing.T) {
	s, bank, d := otpScene(t)
	s.Skip(servertest.Hold)
	o := bank.offer("pay")
	d.redeem(o.OTP, protocol.OriginLink).refused(t, http.StatusForbidden, protocol.ProblemOTPRefused)
	d.redeem(o.OTP, protocol.OriginImage).want(t, http.StatusOK)
}

func TestOneDeviceOfManyRedeems(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	bank := newParty(t, s, "Bank")
	err := s.Office.Store.Update(t.Context(), func(tx store.Tx) error {
		return tx.PutType(store.Type{Name: "qr", Method: protocol.MethodOTP, Class: protocol.C2, TTL: time.Minute, Digits: 6})
	})
	if err != nil {
		t.Fatal(err)
	}
	devices := make([]*device, 8)
	for i := range devices {
		devices[i] = enrollDevice(t, s, alice)
	}
	o := bank.offer("qr")
	won, lost := race(len(devices), func(i int) answer { return devices[i].redeem(o.OTP, protocol.OriginTyped) })
	for _, a := range lost {
		a.refused(t, http.StatusNotFound, protocol.ProblemOTPUnknown)
	}
	if won != 1 {
		t.Errorf("%d devices have it", won)
	}
}

func TestCodesAreTriedSeldom(t *testing.T) {
	s, bank, d := otpScene(t)
	code := strings.Repeat("A", 26)
	for range 10 {
		d.redeem(code, protocol.OriginTyped).refused(t, http.StatusNotFound, protocol.ProblemOTPUnknown)
	}
	a := d.redeem(bank.offer("qr").OTP, protocol.OriginTyped)
	a.refused(t, http.StatusTooManyRequests, protocol.ProblemRateLimited)
	if a.header.Get("Retry-After") == "" {
		t.Error("it is not said until when")
	}
	// Another device is not held up by it.
	enrollDevice(t, s, alice).redeem(bank.offer("qr").OTP, protocol.OriginTyped).want(t, http.StatusOK)
	s.Skip(time.Minute)
	d.redeem(bank.offer("qr").OTP, protocol.OriginTyped).want(t, http.StatusOK)
}
