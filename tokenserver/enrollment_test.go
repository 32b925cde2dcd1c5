package tokenserver_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/servertest"
)

var alice = enroll.Invitation{User: "alice"}

func startWithAlice(t *testing.T, policy enroll.Policy) *servertest.Server {
	t.Helper()
	s := servertest.Start(t, policy)
	s.AddUser("alice")
	return s
}

func TestEnrollmentGivesCertificatesAndKeys(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	d := enrollDevice(t, s, alice)
	e := d.enrolled
	if e.User != "alice" || e.Issuer != s.Issuer() || e.DeviceURL != s.DeviceURL() || e.Confirm {
		t.Errorf("enrolled as %+v", e)
	}
	if v := e.Attestation; v.Format != protocol.AttestationNone || v.Attested || v.PINBound || v.Isolation != "user" || v.Chip.Vendor != "Example" {
		t.Errorf("the verdict is %+v", v)
	}
	if _, err := protocol.ParseJWKS(e.JWKS); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		chain [][]byte
		role  protocol.Role
	}{{e.DeviceChain, protocol.RoleDevice}, {e.ApprovalChain, protocol.RoleApproval}} {
		cert, err := x509.ParseCertificate(c.chain[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: s.Roots(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Error(err)
		}
		if info, err := protocol.ParseKeyInfo(cert); err != nil || info.Role != c.role || info.PINBound {
			t.Errorf("the %s certificate says %+v, %v", c.role, info, err)
		}
	}
	var state protocol.EnrollmentState
	d.get(protocol.PathEnrollment).want(t, http.StatusOK).decode(t, &state)
	if state.State != "active" || state.Profile != e.Profile {
		t.Errorf("the state is %+v", state)
	}
}

func TestEnrollmentAnswersAgain(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	d, secret := newDevice(t, s), token(s.Invite(alice))
	var first, second protocol.EnrollmentStarted
	d.start(secret).want(t, http.StatusCreated).decode(t, &first)
	d.start(secret).want(t, http.StatusCreated).decode(t, &second)
	if first.ID != second.ID || !bytes.Equal(first.Challenge, second.Challenge) {
		t.Error("the first step answers differently to the same keys")
	}
	a, b := d.activate(first.ID, secret).want(t, http.StatusOK), d.activate(first.ID, secret).want(t, http.StatusOK)
	if !bytes.Equal(a.body, b.body) {
		t.Error("the second step answers differently the second time")
	}
	s.Skip(time.Hour) // past the token's time
	d.start(secret).want(t, http.StatusCreated).decode(t, &second)
	c := d.activate(first.ID, secret).want(t, http.StatusOK)
	if first.ID != second.ID || !bytes.Equal(a.body, c.body) {
		t.Error("an active device that lost the answers gets others")
	}
}

func TestEnrollmentTokenRefused(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	newDevice(t, s).start("no such token").refused(t, http.StatusNotFound, protocol.ProblemTokenUnknown)

	used := token(s.Invite(alice))
	var started protocol.EnrollmentStarted
	newDevice(t, s).start(used).want(t, http.StatusCreated).decode(t, &started)
	newDevice(t, s).start(used).refused(t, http.StatusConflict, protocol.ProblemTokenUsed)

	other := token(s.Invite(alice))
	newDevice(t, s).activate(started.ID, other).refused(t, http.StatusNotFound, protocol.ProblemTokenUnknown)

	s.Skip(time.Hour)
	newDevice(t, s).start(other).refused(t, http.StatusGone, protocol.ProblemTokenExpired)
	newDevice(t, s).activate(started.ID, used).refused(t, http.StatusGone, protocol.ProblemTokenExpired)
}

func TestEnrollmentRequestsRefused(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	d, enrolled := newDevice(t, s), enrollDevice(t, s, alice)
	for name, c := range map[string]struct {
		spoil func(*protocol.EnrollmentStart)
		code  string
	}{
		"one key twice":       {func(b *protocol.EnrollmentStart) { b.ApprovalCSR = b.DeviceCSR }, protocol.ProblemBadCSR},
		"not signed by it":    {func(b *protocol.EnrollmentStart) { b.DeviceCSR[len(b.DeviceCSR)-1] ^= 1 }, protocol.ProblemBadCSR},
		"no request":          {func(b *protocol.EnrollmentStart) { b.DeviceCSR = []byte("x") }, protocol.ProblemBadCSR},
		"enrolled before":     {func(b *protocol.EnrollmentStart) { b.DeviceCSR = csr(t, enrolled.device) }, protocol.ProblemBadCSR},
		"other role before":   {func(b *protocol.EnrollmentStart) { b.DeviceCSR = csr(t, enrolled.approval) }, protocol.ProblemBadCSR},
		"unknown attestation": {func(b *protocol.EnrollmentStart) { b.Attestation.Format = protocol.AttestationTPM2 }, protocol.ProblemAttestation},
		"bidi name":           {func(b *protocol.EnrollmentStart) { b.Device.Name = "a\u202eb" }, protocol.CodeBadText},
	} {
		t.Run(name, func(t *testing.T) {
			body := d.startBody(token(s.Invite(alice)))
			c.spoil(&body)
			d.post(protocol.PathEnrollments, body).refused(t, http.StatusUnprocessableEntity, c.code)
		})
	}
}

func TestEnrollmentTakesKeysOfAnAttemptThatCameToNothing(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	d, first := newDevice(t, s), token(s.Invite(alice))
	d.start(first).want(t, http.StatusCreated)
	s.Skip(time.Hour)
	second := token(s.Invite(alice))
	var started protocol.EnrollmentStarted
	d.start(second).want(t, http.StatusCreated).decode(t, &started)
	d.use(d.activate(started.ID, second))
	d.start(first).refused(t, http.StatusConflict, protocol.ProblemTokenUsed)
}

func TestEnrollmentConfirm(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	d := enrollDevice(t, s, enroll.Invitation{User: "alice", Confirm: true})
	if !d.enrolled.Confirm {
		t.Error("the device is not told to confirm")
	}
	var state protocol.EnrollmentState
	d.get(protocol.PathEnrollment).want(t, http.StatusOK).decode(t, &state)
	if state.State != "unconfirmed" {
		t.Errorf("the state is %q", state.State)
	}
	d.get(protocol.PathRequests).refused(t, http.StatusForbidden, protocol.ProblemUnconfirmed)
	bank := newParty(t, s, "Bank")
	bank.post("/v1/transactions", map[string]any{"type": "login", "user": "alice", "message": "m"}).
		refused(t, http.StatusUnprocessableEntity, problem.NoDevice)

	if _, err := s.Desk.Confirm(t.Context(), "no code"); problem.From(err).Code != problem.CodeUnknown {
		t.Errorf("a wrong code: %v", err)
	}
	code, err := protocol.ConfirmationCode(d.device.Public(), d.approval.Public())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Desk.Confirm(t.Context(), code); err != nil {
		t.Fatal(err)
	}
	d.get(protocol.PathRequests).want(t, http.StatusNoContent)
}

func TestEnrollmentModes(t *testing.T) {
	t.Run("single", func(t *testing.T) {
		s := startWithAlice(t, enroll.Policy{Mode: enroll.ModeSingle})
		first := enrollDevice(t, s, alice)
		newDevice(t, s).start(token(s.Invite(alice))).refused(t, http.StatusConflict, protocol.ProblemDeviceLimit)
		second := enrollDevice(t, s, enroll.Invitation{User: "alice", Replace: first.enrolled.Device})
		first.get(protocol.PathRequests).refused(t, http.StatusGone, protocol.ProblemRevoked)
		second.get(protocol.PathRequests).want(t, http.StatusNoContent)
	})
	t.Run("override", func(t *testing.T) {
		s := startWithAlice(t, enroll.Policy{Mode: enroll.ModeOverride})
		first := enrollDevice(t, s, alice)
		poll := first.parked(protocol.PathRequests, "Prefer", "wait=30")
		enrollDevice(t, s, alice)
		if p := await(t, poll).refused(t, http.StatusGone, protocol.ProblemRevoked); p.Detail != "replaced" {
			t.Errorf("the old device hears %q", p.Detail)
		}
	})
	t.Run("multiple", func(t *testing.T) {
		s := startWithAlice(t, enroll.Policy{Mode: enroll.ModeMultiple, Max: 2})
		type attempt struct {
			*device
			secret  string
			started protocol.EnrollmentStarted
		}
		attempts := make([]attempt, 3)
		for i := range attempts { // all begin before any is active
			a := attempt{device: newDevice(t, s), secret: token(s.Invite(alice))}
			a.start(a.secret).want(t, http.StatusCreated).decode(t, &a.started)
			attempts[i] = a
		}
		for _, a := range attempts[:2] {
			a.activate(a.started.ID, a.secret).want(t, http.StatusOK)
		}
		last := attempts[2]
		last.activate(last.started.ID, last.secret).refused(t, http.StatusConflict, protocol.ProblemDeviceLimit)
	})
}

func TestEnrollmentReplaceWaitsForConfirmation(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	old := enrollDevice(t, s, alice)
	d := enrollDevice(t, s, enroll.Invitation{User: "alice", Replace: old.enrolled.Device, Confirm: true})
	old.get(protocol.PathRequests).want(t, http.StatusNoContent)
	code, err := protocol.ConfirmationCode(d.device.Public(), d.approval.Public())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Desk.Confirm(t.Context(), code); err != nil {
		t.Fatal(err)
	}
	old.get(protocol.PathRequests).refused(t, http.StatusGone, protocol.ProblemRevoked)
}

func TestEnrollmentEnds(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	bank, d := newParty(t, s, "Bank"), enrollDevice(t, s, alice)
	d.call(t.Context(), http.MethodDelete, protocol.PathEnrollment, nil).want(t, http.StatusNoContent)
	if p := d.get(protocol.PathEnrollment).refused(t, http.StatusGone, protocol.ProblemRevoked); p.Detail != enroll.ReasonLeft {
		t.Errorf("the device hears %q", p.Detail)
	}

	d = enrollDevice(t, s, alice)
	path := "/v1/users/alice/devices/"
	bank.call(t.Context(), http.MethodDelete, "/v1/users/bob/devices/"+d.enrolled.Device, nil).refused(t, http.StatusNotFound, problem.DeviceUnknown)
	bank.call(t.Context(), http.MethodDelete, path+d.enrolled.Device, nil).want(t, http.StatusNoContent)
	d.get(protocol.PathRequests).refused(t, http.StatusGone, protocol.ProblemRevoked)
	if events, err := s.Office.Events(t.Context(), 0, 1); err != nil || events[0].Kind != "device.revoked" || events[0].Client == "" {
		t.Errorf("the audit trail does not say which client it was: %+v, %v", events, err)
	}
	var list struct {
		Devices []struct{ ID, State, Reason string }
	}
	bank.get("/v1/users/alice/devices").want(t, http.StatusOK).decode(t, &list)
	if len(list.Devices) != 2 || list.Devices[1].State != "revoked" || list.Devices[1].ID != d.enrolled.Device {
		t.Errorf("the devices are %+v", list)
	}
	bank.get("/v1/users/bob/devices").refused(t, http.StatusNotFound, problem.UserUnknown)
}

func TestDeviceCertificateRefused(t *testing.T) {
	s, other := startWithAlice(t, enroll.Policy{}), startWithAlice(t, enroll.Policy{})
	d, stranger := enrollDevice(t, s, alice), enrollDevice(t, other, alice)
	for name, c := range map[string]*caller{
		"none":         newDevice(t, s).caller,
		"approval key": d.withCertificate(d.enrolled.ApprovalChain, d.approval),
	} {
		t.Run(name, func(t *testing.T) {
			c.get(protocol.PathRequests).refused(t, http.StatusUnauthorized, protocol.ProblemUnauthorized)
		})
	}
	d.withCertificate(stranger.enrolled.DeviceChain, stranger.device).get(protocol.PathRequests).
		refused(t, http.StatusUnauthorized, protocol.ProblemUnauthorized)
	s.Skip(2 * 365 * 24 * time.Hour)
	d.get(protocol.PathRequests).refused(t, http.StatusUnauthorized, protocol.ProblemCertExpired)
}

func TestLockedUser(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	bank, d := newParty(t, s, "Bank"), enrollDevice(t, s, alice)
	secret := token(s.Invite(alice))
	poll := d.parked(protocol.PathRequests, "Prefer", "wait=30")
	if err := s.Office.Lock(context.Background(), "alice", true); err != nil {
		t.Fatal(err)
	}
	await(t, poll).refused(t, http.StatusForbidden, protocol.ProblemUserLocked)
	newDevice(t, s).start(secret).refused(t, http.StatusForbidden, protocol.ProblemUserLocked)
	bank.post("/v1/transactions", map[string]any{"type": "login", "user": "alice", "message": "m"}).
		refused(t, http.StatusUnprocessableEntity, protocol.ProblemUserLocked)
	if err := s.Office.Lock(context.Background(), "alice", false); err != nil {
		t.Fatal(err)
	}
	d.get(protocol.PathRequests).want(t, http.StatusNoContent)
}
