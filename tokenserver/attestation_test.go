package tokenserver_test

import (
	"bytes"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/protocol"
	"countersign/tokenserver/attest/attesttest"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/servertest"
	"countersign/tokenserver/store"
)

// maker starts a server that trusts a maker of tokens.
func maker(t *testing.T) (*servertest.Server, *attesttest.CA) {
	t.Helper()
	s, ca := startWithAlice(t, enroll.Policy{}), attesttest.Root(t, "Maker", nil)
	s.Trust(ca.PEM())
	return s, ca
}

func newTokenDevice(t *testing.T, s *servertest.Server, ca *attesttest.CA, touch bool) *device {
	t.Helper()
	d := newDevice(t, s)
	d.token, d.touch = attesttest.NewToken(t, ca, nil), touch
	return d
}

// deviceVerdict is what the server should find of a token's device key,
// approvalVerdict of its approval key.
func deviceVerdict() protocol.Verdict {
	return protocol.Verdict{
		Format: "piv", Attested: true, Advisory: "CVE-2024-45678", Isolation: "user",
		Chip: protocol.Chip{Vendor: "Yubico", Model: "YubiKey USB-A Keychain", Firmware: "5.4.3"},
	}
}

func approvalVerdict(touch bool) protocol.Verdict {
	v := deviceVerdict()
	v.PINBound, v.TouchBound, v.PINCounter = true, touch, protocol.PINCounterToken
	return v
}

func TestAttestedEnrollment(t *testing.T) {
	s, ca := maker(t)
	d := newTokenDevice(t, s, ca, false)
	d.enroll(alice)
	if diff := cmp.Diff(approvalVerdict(false), d.enrolled.Attestation); diff != "" {
		t.Error(diff)
	}
	for _, c := range []struct {
		chain [][]byte
		want  protocol.KeyInfo
	}{
		{d.enrolled.DeviceChain, protocol.KeyInfo{Role: protocol.RoleDevice, Attestation: "piv"}},
		{d.enrolled.ApprovalChain, protocol.KeyInfo{Role: protocol.RoleApproval, PINBound: true, Attestation: "piv"}},
	} {
		cert, err := x509.ParseCertificate(c.chain[0])
		if err != nil {
			t.Fatal(err)
		}
		if info, err := protocol.ParseKeyInfo(cert); err != nil || info != c.want {
			t.Errorf("a certificate says %+v, %v", info, err)
		}
	}
	var list struct {
		Devices []struct {
			Attestation protocol.Verdict `json:"attestation"`
			DeviceKey   protocol.Verdict `json:"device_key_attestation"`
		}
	}
	newParty(t, s, "Bank").get("/v1/users/alice/devices").want(t, http.StatusOK).decode(t, &list)
	if list.Devices[0].Attestation != approvalVerdict(false) || list.Devices[0].DeviceKey != deviceVerdict() {
		t.Errorf("a relying party reads %+v", list)
	}
	_, kept, err := s.Desk.Attestation(t.Context(), d.enrolled.Device)
	if err != nil || kept.Start.PIV == nil || kept.Proof == nil || !bytes.Equal(kept.Start.PIV.Approval[1], d.token.Raw) {
		t.Errorf("for audit there is %+v, %v", kept, err)
	}
}

// TestReceiptSpeaksOfTheKeyThatSigned has each key sign, and reads what the
// evidence says of it.
func TestReceiptSpeaksOfTheKeyThatSigned(t *testing.T) {
	s, ca := maker(t)
	bank, d := newParty(t, s, "Bank"), newTokenDevice(t, s, ca, true)
	d.enroll(alice)
	set(t, s, "login", func(typ *store.Type) { typ.Name, typ.Class = "touch", protocol.C3 })
	for _, c := range []struct {
		typ, decision string
		want          protocol.Verdict
	}{
		{"login", protocol.Approve, approvalVerdict(true)},
		{"login", protocol.Deny, deviceVerdict()},
		{"confirm", protocol.Approve, deviceVerdict()},
		{"touch", protocol.Approve, approvalVerdict(true)},
	} {
		tx := bank.start(c.typ, "alice")
		d.decide(tx.ID, c.decision, tx.Number).want(t, http.StatusOK)
		evidence := bank.read(tx.ID).Evidence
		v, err := evidence.Verify(s.Roots())
		if err != nil {
			t.Fatalf("%s %s: %v", c.typ, c.decision, err)
		}
		if diff := cmp.Diff(c.want, v.Receipt.Attestation); diff != "" {
			t.Errorf("%s %s: %s", c.typ, c.decision, diff)
		}
	}
}

func TestAttestedEnrollmentAnswersAgain(t *testing.T) {
	s, ca := maker(t)
	d, secret := newTokenDevice(t, s, ca, false), token(s.Invite(alice))
	body := d.startBody(secret)
	var first protocol.EnrollmentStarted
	a := d.post(protocol.PathEnrollments, body).want(t, http.StatusCreated)
	a.decode(t, &first)
	if b := d.post(protocol.PathEnrollments, body).want(t, http.StatusCreated); !bytes.Equal(a.body, b.body) {
		t.Errorf("the same body is answered with %s and %s", a.body, b.body)
	}
	d.post(protocol.PathEnrollments, d.startBody(secret)).refused(t, http.StatusConflict, protocol.ProblemTokenUsed) // signed anew
	path, proof := protocol.PathEnrollments+"/"+first.ID+"/activation", d.activation(first, secret)
	c := d.post(path, proof).want(t, http.StatusOK)
	if e := d.post(path, proof).want(t, http.StatusOK); !bytes.Equal(c.body, e.body) {
		t.Error("the second step answers differently the second time")
	}
}

func TestFalseAttestationIsNotDowngraded(t *testing.T) {
	s, ca := maker(t)
	for name, spoil := range map[string]func(*protocol.Activation){
		"bad signature":  func(a *protocol.Activation) { a.Attestation.PIV.Device = a.Attestation.PIV.Approval },
		"no proof":       func(a *protocol.Activation) { a.Attestation = nil },
		"an empty proof": func(a *protocol.Activation) { a.Attestation.PIV = nil },
	} {
		t.Run(name, func(t *testing.T) {
			d, secret := newTokenDevice(t, s, ca, false), token(s.Invite(alice))
			var started protocol.EnrollmentStarted
			d.start(secret).want(t, http.StatusCreated).decode(t, &started)
			body := d.activation(started, secret)
			spoil(&body)
			path := protocol.PathEnrollments + "/" + started.ID + "/activation"
			d.post(path, body).refused(t, http.StatusUnprocessableEntity, protocol.ProblemAttestation)
			devices, err := s.Desk.Devices(t.Context(), "alice")
			if err != nil || devices[len(devices)-1].State != store.DevicePending {
				t.Errorf("the device is %+v, %v", devices[len(devices)-1], err)
			}
		})
	}
	t.Run("members of another format", func(t *testing.T) {
		d := newTokenDevice(t, s, ca, false)
		body := d.startBody(token(s.Invite(alice)))
		body.Attestation.Format = protocol.AttestationNone
		d.post(protocol.PathEnrollments, body).refused(t, http.StatusUnprocessableEntity, protocol.ProblemAttestation)
	})
	t.Run("a proof of nothing", func(t *testing.T) {
		d, secret := newDevice(t, s), token(s.Invite(alice))
		var started protocol.EnrollmentStarted
		d.start(secret).want(t, http.StatusCreated).decode(t, &started)
		body := protocol.Activation{Token: secret, Attestation: &protocol.ProofAttestation{}}
		d.post(protocol.PathEnrollments+"/"+started.ID+"/activation", body).refused(t, http.StatusUnprocessableEntity, protocol.ProblemAttestation)
	})
}

// TestRootsHoldAtOnce changes what a running server trusts.
func TestRootsHoldAtOnce(t *testing.T) {
	s, ca := startWithAlice(t, enroll.Policy{}), attesttest.Root(t, "Maker", nil)
	d, secret := newTokenDevice(t, s, ca, false), token(s.Invite(alice))
	d.start(secret).refused(t, http.StatusUnprocessableEntity, protocol.ProblemMaker)
	s.Trust(ca.PEM())
	var started protocol.EnrollmentStarted
	d.start(secret).want(t, http.StatusCreated).decode(t, &started)
	d.post(protocol.PathEnrollments+"/"+started.ID+"/activation", d.activation(started, secret)).want(t, http.StatusOK)
}

func TestDamagedRootsLetNobodyIn(t *testing.T) {
	s, ca := maker(t)
	d := newTokenDevice(t, s, ca, false)
	if err := os.WriteFile(filepath.Join(s.Dir, "attestation-roots", "other.pem"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.start(token(s.Invite(alice))).refused(t, http.StatusInternalServerError, protocol.ProblemInternal)
	if log := s.Log(); !strings.Contains(log, "other.pem") {
		t.Errorf("the log does not say which file it is: %s", log)
	}
}

func TestEnrollmentDemands(t *testing.T) {
	s, ca := maker(t)
	start := func(d *device) answer { return d.start(token(s.Invite(alice))) }
	s.Demand(enroll.Attestation{RefuseNone: true})
	start(newDevice(t, s)).refused(t, http.StatusUnprocessableEntity, protocol.ProblemAttestation)
	newTokenDevice(t, s, ca, false).enroll(alice)

	s.Demand(enroll.Attestation{Require: []string{store.RequireTouchBound}})
	start(newDevice(t, s)).refused(t, http.StatusUnprocessableEntity, protocol.ProblemPolicy)
	newTokenDevice(t, s, ca, true).enroll(alice)
	d, secret := newTokenDevice(t, s, ca, false), token(s.Invite(alice))
	var started protocol.EnrollmentStarted
	d.start(secret).want(t, http.StatusCreated).decode(t, &started)
	p := d.post(protocol.PathEnrollments+"/"+started.ID+"/activation", d.activation(started, secret)).
		refused(t, http.StatusUnprocessableEntity, protocol.ProblemPolicy)
	if !strings.Contains(p.Detail, "touch-bound") {
		t.Errorf("the device is told %q", p.Detail)
	}
}

// set puts a type that is like another one.
func set(t *testing.T, s *servertest.Server, like string, change func(*store.Type)) {
	t.Helper()
	typ := typeOf(t, s, like)
	change(&typ)
	if err := s.Office.SetType(t.Context(), typ); err != nil {
		t.Fatal(err)
	}
}

func TestTypePolicy(t *testing.T) {
	s, ca := maker(t)
	bank, d := newParty(t, s, "Bank"), newTokenDevice(t, s, ca, false)
	d.enroll(alice)
	enrollDevice(t, s, alice) // proves nothing, and must never be asked
	attested := func(typ *store.Type) { typ.Require = []string{store.RequireAttested} }
	for name, c := range map[string]struct {
		like   string
		change func(*store.Type)
		meets  bool
	}{
		"attested":          {"login", attested, true},
		"attested, C1":      {"confirm", attested, true},
		"PIN-bound":         {"login", func(typ *store.Type) { typ.Require = []string{store.RequirePINBound} }, true},
		"touch-bound":       {"login", func(typ *store.Type) { typ.Require = []string{store.RequireTouchBound} }, false},
		"C3":                {"login", func(typ *store.Type) { typ.Class = protocol.C3 }, false},
		"old enough":        {"login", func(typ *store.Type) { typ.MinFirmware = map[string]string{"yubico": "5.4.3"} }, true},
		"too old":           {"login", func(typ *store.Type) { typ.MinFirmware = map[string]string{"YUBICO": "5.7"} }, false},
		"too old, C1":       {"confirm", func(typ *store.Type) { typ.MinFirmware = map[string]string{"Yubico": "5.7"} }, false},
		"another's version": {"login", func(typ *store.Type) { typ.MinFirmware = map[string]string{"IBM": "8"} }, true},
		"denied":            {"login", func(typ *store.Type) { typ.DenyVendors = []string{"IBM", "YubiCo"} }, false},
		"another is denied": {"login", func(typ *store.Type) { typ.DenyVendors = []string{"IBM"} }, true},
	} {
		t.Run(name, func(t *testing.T) {
			set(t, s, c.like, func(typ *store.Type) { typ.Name = "special"; c.change(typ) })
			body := map[string]any{"type": "special", "user": "alice", "message": "m"}
			a := bank.post("/v1/transactions", body)
			if !c.meets {
				if p := a.refused(t, http.StatusUnprocessableEntity, protocol.ProblemPolicy); !strings.Contains(p.Detail, "type's policy: ") {
					t.Errorf("the relying party is told %q", p.Detail)
				}
				return
			}
			var tx transaction
			a.want(t, http.StatusCreated).decode(t, &tx)
			if diff := cmp.Diff([]string{d.enrolled.Device}, tx.Devices); diff != "" {
				t.Error(diff)
			}
			d.decide(tx.ID, protocol.Approve, tx.Number).want(t, http.StatusOK)
		})
	}
}

// TestTypePolicyHoldsWhenSettled makes the policy harder while a request is
// open: what would not be started now is not approved now.
func TestTypePolicyHoldsWhenSettled(t *testing.T) {
	s, ca := maker(t)
	bank, d := newParty(t, s, "Bank"), newTokenDevice(t, s, ca, false)
	d.enroll(alice)
	tx := bank.start("login", "alice")
	set(t, s, "login", func(typ *store.Type) { typ.MinFirmware = map[string]string{"Yubico": "5.7"} })
	d.decide(tx.ID, protocol.Approve, tx.Number).refused(t, http.StatusUnprocessableEntity, protocol.ProblemPolicy)
	if got := bank.read(tx.ID); got.Status != protocol.StatePending {
		t.Errorf("a decision that was refused made it %s", got.Status)
	}
	d.decide(tx.ID, protocol.Deny, "").want(t, http.StatusOK)

	set(t, s, "login", func(typ *store.Type) { typ.MinFirmware = nil })
	tx = bank.start("login", "alice")
	d.decide(tx.ID, protocol.Approve, tx.Number).want(t, http.StatusOK)
}

func TestTypePolicyRefused(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	for name, c := range map[string]struct {
		like   string
		change func(*store.Type)
	}{
		"unknown requirement": {"login", func(typ *store.Type) { typ.Require = []string{"shiny"} }},
		"PIN-bound at C1":     {"confirm", func(typ *store.Type) { typ.Require = []string{store.RequirePINBound} }},
		"touch-bound at C1":   {"confirm", func(typ *store.Type) { typ.Require = []string{store.RequireTouchBound} }},
		"version of words":    {"login", func(typ *store.Type) { typ.MinFirmware = map[string]string{"Yubico": "new"} }},
		"version with a sign": {"login", func(typ *store.Type) { typ.MinFirmware = map[string]string{"Yubico": "5.-7"} }},
		"one vendor twice":    {"login", func(typ *store.Type) { typ.MinFirmware = map[string]string{"Yubico": "5", "YUBICO": "6"} }},
		"nobody's version":    {"login", func(typ *store.Type) { typ.MinFirmware = map[string]string{" ": "5"} }},
		"nobody denied":       {"login", func(typ *store.Type) { typ.DenyVendors = []string{""} }},
		"bidi vendor":         {"login", func(typ *store.Type) { typ.DenyVendors = []string{"a\u202eb"} }},
	} {
		t.Run(name, func(t *testing.T) {
			typ := typeOf(t, s, c.like)
			c.change(&typ)
			if err := s.Office.SetType(t.Context(), typ); problem.From(err).Code != problem.BadType {
				t.Errorf("taken, or refused as %v", err)
			}
		})
	}
}

// TestReplaceRecovers is the server's side of a lost PIN or a broken chip: one
// command with the device's name.
func TestReplaceRecovers(t *testing.T) {
	s, ca := maker(t)
	old := newTokenDevice(t, s, ca, false)
	old.enroll(alice)
	d := newTokenDevice(t, s, ca, false)
	d.enroll(enroll.Invitation{Replace: old.enrolled.Device, TTL: time.Minute})
	if d.enrolled.User != "alice" {
		t.Errorf("the new device is of %q", d.enrolled.User)
	}
	old.get(protocol.PathRequests).refused(t, http.StatusGone, protocol.ProblemRevoked)
	if _, _, err := s.Desk.Invite(t.Context(), enroll.Invitation{TTL: time.Minute}); problem.From(err).Code != problem.DeviceUnknown {
		t.Errorf("an invitation for nobody: %v", err)
	}
	bob := enroll.Invitation{User: "bob", Replace: d.enrolled.Device, TTL: time.Minute}
	s.AddUser("bob")
	if _, _, err := s.Desk.Invite(t.Context(), bob); problem.From(err).Code != problem.DeviceUnknown {
		t.Errorf("bob may replace alice's device: %v", err)
	}
}
