package tokenserver_test

import (
	"crypto/ecdsa"
	"net/http"
	"testing"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/servertest"
	"countersign/tokenserver/store"
)

const day = 24 * time.Hour

// renewingDevice is renewing for the device key.
func (d *device) renewingDevice() *successor {
	d.tb.Helper()
	n := &successor{device: d, key: newKey(d.tb)}
	n.body = protocol.RenewalStart{
		Role: protocol.RoleDevice, CSR: csr(d.tb, n.key), Attestation: protocol.StartAttestation{Format: protocol.AttestationNone},
	}
	n.succeed(d.device, nil)
	return n
}

// caller calls with the new device key.
func (n *successor) newCaller() *caller {
	n.tb.Helper()
	chain := make([][]byte, len(n.renewed.Chain))
	for i, cert := range n.renewed.Chain {
		chain[i] = cert
	}
	return n.withCertificate(chain, n.key)
}

// keep makes the new device key the device's own.
func (n *successor) keep() {
	n.tb.Helper()
	n.device.device, n.caller = n.key, n.newCaller()
	n.acknowledge().want(n.tb, http.StatusNoContent)
}

// TestDeviceKeyRenewal: both device keys connect and sign until the device
// acknowledges the new one, and the old one never again.
func TestDeviceKeyRenewal(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	bank, d := newParty(t, s, "Bank"), enrollDevice(t, s, alice)
	old, oldCaller := d.device, d.caller
	n := d.renewingDevice().begin()
	n.withCertificate(d.enrolled.DeviceChain, n.key).get(protocol.PathRequests) // no such certificate: the handshake fails
	n.issue()
	deny := func(key *ecdsa.PrivateKey) (transaction, answer) {
		tx := bank.start("login", "alice")
		compact, r := d.request(tx.ID)
		return tx, d.send(tx.ID, d.signWith(key, d.decision(compact, r, protocol.Deny, "")))
	}
	before, a := deny(old)
	a.want(t, http.StatusOK)
	d.caller = n.newCaller()
	early, a := deny(n.key)
	a.want(t, http.StatusOK)
	waiting := oldCaller.parked(protocol.PathRequests, "Prefer", "wait=30")
	n.keep()
	bank.start("login", "alice")
	await(t, waiting).refused(t, http.StatusUnauthorized, protocol.ProblemUnauthorized)
	oldCaller.get(protocol.PathEnrollment).refused(t, http.StatusUnauthorized, protocol.ProblemUnauthorized)
	_, a = deny(old)
	a.refused(t, http.StatusUnprocessableEntity, protocol.CodeUnknownKey)
	after, a := deny(n.key)
	a.want(t, http.StatusOK)
	for name, tx := range map[string]transaction{"before": before, "early": early, "after": after} {
		if _, err := bank.read(tx.ID).Evidence.Verify(s.Roots()); err != nil {
			t.Errorf("%s: the evidence: %v", name, err)
		}
	}
	// The keys of the past are nobody's future.
	back := d.renewingDevice()
	back.key, back.body.CSR = old, csr(t, old)
	back.succeed(d.device, nil)
	back.start().refused(t, http.StatusUnprocessableEntity, protocol.ProblemBadCSR)
}

// TestBothKeysRenewAtOnce: neither renewal is in the other's way.
func TestBothKeysRenewAtOnce(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	bank, d := newParty(t, s, "Bank"), enrollDevice(t, s, alice)
	device, approval := d.renewingDevice().issue(), d.renewing().issue()
	device.keep()
	approval.acknowledge().want(t, http.StatusNoContent)
	_, a := approval.approve(bank, approval.key)
	a.want(t, http.StatusOK)
}

// TestExpiredCertificates: for a while they get the next ones, and nothing else
// at any time.
func TestExpiredCertificates(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	bank, d := newParty(t, s, "Bank"), enrollDevice(t, s, alice)
	tx := bank.start("login", "alice")
	compact, r := d.request(tx.ID)
	late := d.signWith(d.device, d.decision(compact, r, protocol.Deny, ""))
	s.Skip(enroll.DefaultLifetime + time.Second)
	for _, path := range []string{protocol.PathRequests, protocol.PathEnrollment, protocol.PathBlocks} {
		d.get(path).refused(t, http.StatusUnauthorized, protocol.ProblemCertExpired)
	}
	d.send(tx.ID, late).refused(t, http.StatusUnauthorized, protocol.ProblemCertExpired)
	s.Skip(pki.RenewalGrace - time.Hour)
	d.renewingDevice().issue().keep()
	d.get(protocol.PathEnrollment).want(t, http.StatusOK)

	// The device key is good again, the approval key is not.
	tx, a := (&successor{device: d}).approve(bank, d.approval)
	if p := a.refused(t, http.StatusForbidden, protocol.ProblemKeyExpired); p.State != "" {
		t.Errorf("the transaction is said to be %s", p.State)
	}
	if got := bank.read(tx.ID).Status; got != protocol.StatePending {
		t.Errorf("an expired key made the transaction %s", got)
	}
	n := d.renewing().issue()
	_, a = n.approve(bank, d.approval)
	a.refused(t, http.StatusForbidden, protocol.ProblemKeyExpired)
	tx, a = n.approve(bank, n.key)
	a.want(t, http.StatusOK)
	if _, err := bank.read(tx.ID).Evidence.Verify(s.Roots()); err != nil {
		t.Error(err)
	}
	s.Skip(2 * time.Hour)
	d.renewing().start().refused(t, http.StatusUnauthorized, protocol.ProblemCertExpired)
	s.Skip(enroll.DefaultLifetime + pki.RenewalGrace)
	d.renewingDevice().start().refused(t, http.StatusUnauthorized, protocol.ProblemCertExpired)
}

// TestRevokedIsNotRenewed: the grace is no way back.
func TestRevokedIsNotRenewed(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	d := enrollDevice(t, s, alice)
	s.Skip(enroll.DefaultLifetime + day)
	if _, err := s.Desk.Revoke(t.Context(), enroll.Revocation{Device: d.enrolled.Device, Reason: enroll.ReasonRevoked}); err != nil {
		t.Fatal(err)
	}
	d.renewingDevice().start().refused(t, http.StatusGone, protocol.ProblemRevoked)
}

// again is the first step of a device that says it succeeds another one.
func (d *device) again(old *device, in enroll.Invitation, change func(*protocol.Succession)) answer {
	d.tb.Helper()
	body := d.startBody(token(d.srv.Invite(in)))
	thumbprint, err := protocol.Thumbprint(d.device.Public())
	if err != nil {
		d.tb.Fatal(err)
	}
	word := &protocol.Succession{
		Issuer: old.enrolled.Device, Audience: old.enrolled.Issuer, Subject: old.enrolled.Profile, IssuedAt: 1790000000,
		Role: protocol.RoleDevice, Key: thumbprint,
	}
	if change != nil {
		change(word)
	}
	signed, err := protocol.SignPredecessor(old.device, word)
	if err != nil {
		d.tb.Fatal(err)
	}
	body.Succeeds = &protocol.Predecessor{Device: old.enrolled.Device, Word: signed}
	return d.post(protocol.PathEnrollments, body)
}

// TestSucceeds: the records say which device it was before, and only if it was.
func TestSucceeds(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{Mode: enroll.ModeOverride})
	s.AddUser("bob")
	old := enrollDevice(t, s, alice)
	bob := enroll.Invitation{User: "bob"}
	refused := func(a answer, code string) {
		t.Helper()
		a.refused(t, http.StatusUnprocessableEntity, code)
	}
	refused(newDevice(t, s).again(old, bob, nil), protocol.ProblemSuccession)
	refused(newDevice(t, s).again(old, alice, func(w *protocol.Succession) { w.Subject = "p_other" }), protocol.ProblemSuccession)
	refused(newDevice(t, s).again(old, alice, func(w *protocol.Succession) { w.Audience = "https://other.example" }), protocol.ProblemSuccession)
	refused(newDevice(t, s).again(old, alice, func(w *protocol.Succession) { w.Key = protocol.NoPrev }), protocol.ProblemSuccession)
	forged := newDevice(t, s)
	forged.enrolled = old.enrolled
	refused(newDevice(t, s).again(forged, alice, nil), protocol.CodeUnknownKey)

	d := newDevice(t, s)
	secret := token(s.Invite(alice))
	body := d.startBody(secret)
	thumbprint, err := protocol.Thumbprint(d.device.Public())
	if err != nil {
		t.Fatal(err)
	}
	word, err := protocol.SignPredecessor(old.device, &protocol.Succession{
		Issuer: old.enrolled.Device, Audience: old.enrolled.Issuer, Subject: old.enrolled.Profile, IssuedAt: 1, Role: protocol.RoleDevice, Key: thumbprint,
	})
	if err != nil {
		t.Fatal(err)
	}
	body.Succeeds = &protocol.Predecessor{Device: old.enrolled.Device, Word: word}
	var started protocol.EnrollmentStarted
	d.post(protocol.PathEnrollments, body).want(t, http.StatusCreated).decode(t, &started)
	d.post(protocol.PathEnrollments, body).want(t, http.StatusCreated)
	d.use(d.activate(started.ID, secret))
	// The same body after the old one was replaced.
	if p := old.get(protocol.PathEnrollment).refused(t, http.StatusGone, protocol.ProblemRevoked); p.Detail != "replaced" || p.Successor != d.enrolled.Device {
		t.Errorf("the old device is told %+v", p)
	}
	devices := devicesOf(t, s)
	if devices[0].Successor != d.enrolled.Device || devices[1].Succeeds != old.enrolled.Device {
		t.Errorf("the devices are %+v", devices)
	}
	if got := kinds(t, s, "device.succeeds"); len(got) != 1 {
		t.Errorf("the audit trail says %v", got)
	}
	refused(newDevice(t, s).again(old, alice, nil), protocol.ProblemSuccession)
}

func devicesOf(t *testing.T, s *servertest.Server) []store.Device {
	t.Helper()
	list, err := s.Desk.Devices(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	return list
}
