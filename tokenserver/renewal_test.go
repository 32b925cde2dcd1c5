package tokenserver_test

import (
	"bytes"
	"crypto/ecdsa"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/hsm"
	"countersign/protocol"
	"countersign/tokenserver/attest/attesttest"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/servertest"
	"countersign/tokenserver/store"
)

// successor is a new key of a device, on its way.
type successor struct {
	*device
	key     *ecdsa.PrivateKey
	body    protocol.RenewalStart
	started protocol.RenewalStarted
	renewed protocol.Renewed
}

// renewing makes a new key, and the first step's body as the device should
// send it.
func (d *device) renewing() *successor {
	d.tb.Helper()
	n := &successor{device: d, key: newKey(d.tb)}
	n.body = protocol.RenewalStart{
		Role: protocol.RoleApproval, CSR: csr(d.tb, n.key), Attestation: protocol.StartAttestation{Format: protocol.AttestationNone},
	}
	if d.token != nil {
		n.body.Attestation = protocol.StartAttestation{
			Format: protocol.AttestationPIV, PIV: &protocol.PIVStart{Approval: d.slot(n.key, 3, d.touch)},
		}
	}
	n.succeed(d.approval, nil)
	return n
}

// succeed has a key name the new one.
func (n *successor) succeed(by *ecdsa.PrivateKey, change func(*protocol.Succession)) {
	n.tb.Helper()
	thumbprint, err := protocol.Thumbprint(n.key.Public())
	if err != nil {
		n.tb.Fatal(err)
	}
	word := &protocol.Succession{
		Issuer: n.enrolled.Device, Audience: n.enrolled.Issuer, Subject: n.enrolled.Profile, IssuedAt: 1790000000,
		Role: n.body.Role, Key: thumbprint,
	}
	if change != nil {
		change(word)
	}
	if n.body.Succession, err = protocol.SignSuccession(by, word); err != nil {
		n.tb.Fatal(err)
	}
}

func (n *successor) start() answer {
	n.tb.Helper()
	return n.post(protocol.PathRenewals, n.body)
}

func (n *successor) begin() *successor {
	n.tb.Helper()
	n.start().want(n.tb, http.StatusCreated).decode(n.tb, &n.started)
	return n
}

func (n *successor) step(name string) string {
	return protocol.PathRenewals + "/" + n.started.ID + "/" + name
}

func (n *successor) activate() answer {
	n.tb.Helper()
	var body protocol.RenewalActivation
	if n.token != nil {
		body.Attestation = &protocol.ProofAttestation{PIV: &protocol.PIVProof{Approval: attesttest.Sign(n.tb, n.key, n.started.Challenge)}}
	}
	return n.post(n.step("activation"), body)
}

func (n *successor) issue() *successor {
	n.tb.Helper()
	n.begin().activate().want(n.tb, http.StatusOK).decode(n.tb, &n.renewed)
	return n
}

func (n *successor) acknowledge() answer {
	n.tb.Helper()
	return n.post(n.step("acknowledgement"), struct{}{})
}

// approve has one of the keys approve a new transaction.
func (n *successor) approve(bank party, key *ecdsa.PrivateKey) (transaction, answer) {
	n.tb.Helper()
	tx := bank.start("login", "alice")
	compact, r := n.request(tx.ID)
	return tx, n.send(tx.ID, n.signWith(key, n.decision(compact, r, protocol.Approve, tx.Number)))
}

// TestRenewal takes a new key through all its steps, and has both keys sign
// where they may and where they may not.
func TestRenewal(t *testing.T) {
	s, ca := maker(t)
	bank, d := newParty(t, s, "Bank"), newTokenDevice(t, s, ca, false)
	d.enroll(alice)
	old := d.approval
	n := d.renewing().begin()
	before, a := n.approve(bank, old)
	a.want(t, http.StatusOK)
	_, a = n.approve(bank, n.key)
	a.refused(t, http.StatusUnprocessableEntity, protocol.CodeUnknownKey)
	n.acknowledge().refused(t, http.StatusNotFound, protocol.ProblemNotFound)

	n.activate().want(t, http.StatusOK).decode(t, &n.renewed)
	if diff := cmp.Diff(approvalVerdict(false), n.renewed.Attestation); diff != "" {
		t.Error(diff)
	}
	between, a := n.approve(bank, old)
	a.want(t, http.StatusOK)
	early, a := n.approve(bank, n.key)
	a.want(t, http.StatusOK)
	waiting := bank.start("login", "alice")

	n.acknowledge().want(t, http.StatusNoContent)
	compact, r := n.request(waiting.ID)
	n.send(waiting.ID, n.signWith(old, n.decision(compact, r, protocol.Approve, waiting.Number))).
		refused(t, http.StatusUnprocessableEntity, protocol.CodeUnknownKey)
	after, a := n.approve(bank, n.key)
	a.want(t, http.StatusOK)
	for _, c := range []struct {
		name string
		tx   transaction
		key  *ecdsa.PrivateKey
	}{{"before", before, old}, {"between", between, old}, {"early", early, n.key}, {"after", after, n.key}} {
		e := bank.read(c.tx.ID).Evidence
		v, err := e.Verify(s.Roots())
		if err != nil {
			t.Errorf("%s: the evidence: %v", c.name, err)
			continue
		}
		want, _ := protocol.Thumbprint(c.key.Public())
		if kid, err := protocol.KeyID(e.Decision); err != nil || kid != want || v.Receipt.Attestation != approvalVerdict(false) {
			t.Errorf("%s: the evidence is of %s with %+v, %v", c.name, kid, v.Receipt.Attestation, err)
		}
	}
	if got := kinds(t, s, "key."); !cmp.Equal(got, []string{"key.renewal_started", "key.renewed", "key.retired"}) {
		t.Errorf("the audit trail says %v", got)
	}
}

func TestRenewalAnswersAgain(t *testing.T) {
	s, ca := maker(t)
	d := newTokenDevice(t, s, ca, false)
	d.enroll(alice)
	n := d.renewing()
	first := n.start().want(t, http.StatusCreated)
	if again := n.start().want(t, http.StatusCreated); !bytes.Equal(first.body, again.body) {
		t.Errorf("the first step is answered with %s and %s", first.body, again.body)
	}
	issued := n.begin().activate().want(t, http.StatusOK)
	if again := n.begin().activate().want(t, http.StatusOK); !bytes.Equal(issued.body, again.body) {
		t.Error("the second step answers differently the second time")
	}
	for range 2 {
		n.acknowledge().want(t, http.StatusNoContent)
	}
	if again := n.activate().want(t, http.StatusOK); !bytes.Equal(issued.body, again.body) {
		t.Error("the second step answers differently after the last")
	}
	// What the old key said once is no word of the present one.
	n.start().refused(t, http.StatusUnprocessableEntity, protocol.CodeUnknownKey)
}

// TestRenewalGivesWay starts another renewal, as after a crash that took the
// new key with it, at each stage of the one before.
func TestRenewalGivesWay(t *testing.T) {
	s, ca := maker(t)
	bank, d := newParty(t, s, "Bank"), newTokenDevice(t, s, ca, false)
	d.enroll(alice)
	lost := d.renewing().begin()
	issued := d.renewing().issue()
	lost.activate().refused(t, http.StatusNotFound, protocol.ProblemNotFound)
	signed, a := issued.approve(bank, issued.key)
	a.want(t, http.StatusOK)
	last := d.renewing().begin()
	issued.acknowledge().refused(t, http.StatusNotFound, protocol.ProblemNotFound)
	_, a = issued.approve(bank, issued.key)
	a.refused(t, http.StatusUnprocessableEntity, protocol.CodeUnknownKey)
	if _, err := bank.read(signed.ID).Evidence.Verify(s.Roots()); err != nil {
		t.Errorf("what the dropped key signed while it was good: %v", err)
	}
	for _, again := range []*successor{lost, issued} {
		again.start().refused(t, http.StatusUnprocessableEntity, protocol.ProblemBadCSR)
	}
	last.activate().want(t, http.StatusOK)
	last.acknowledge().want(t, http.StatusNoContent)
	_, a = last.approve(bank, last.key)
	a.want(t, http.StatusOK)
	// A key of the past is nobody's future.
	d.approval = last.key
	back := d.renewing()
	back.key = issued.key
	back.body.CSR = csr(t, back.key)
	back.succeed(last.key, nil)
	back.start().refused(t, http.StatusUnprocessableEntity, protocol.ProblemBadCSR)
	other := newTokenDevice(t, s, ca, false)
	other.approval = issued.key
	other.start(token(s.Invite(alice))).refused(t, http.StatusUnprocessableEntity, protocol.ProblemBadCSR)
}

func TestRenewalIsRefused(t *testing.T) {
	s, ca := maker(t)
	d := newTokenDevice(t, s, ca, true)
	d.enroll(alice)
	other := newTokenDevice(t, s, ca, true)
	other.enroll(alice)
	named := func(change func(*protocol.Succession)) func(*successor) {
		return func(n *successor) { n.succeed(d.approval, change) }
	}
	for name, c := range map[string]struct {
		spoil func(*successor)
		code  string
	}{
		"the device key's word":    {func(n *successor) { n.succeed(n.device.device, nil) }, protocol.CodeUnknownKey},
		"the new key's own word":   {func(n *successor) { n.succeed(n.key, nil) }, protocol.CodeUnknownKey},
		"another's word":           {func(n *successor) { n.succeed(other.approval, nil) }, protocol.CodeUnknownKey},
		"for another device":       {named(func(w *protocol.Succession) { w.Issuer = other.enrolled.Device }), protocol.ProblemSuccession},
		"for another profile":      {named(func(w *protocol.Succession) { w.Subject = other.enrolled.Profile }), protocol.ProblemSuccession},
		"at another server":        {named(func(w *protocol.Succession) { w.Audience = "https://other.example" }), protocol.ProblemSuccession},
		"in another role":          {named(func(w *protocol.Succession) { w.Role = protocol.RoleDevice }), protocol.ProblemSuccession},
		"for another key":          {func(n *successor) { n.body.CSR = csr(t, newKey(t)) }, protocol.ProblemSuccession},
		"the key that it is":       {func(n *successor) { n.key, n.body.CSR = d.approval, csr(t, d.approval); n.succeed(n.key, nil) }, protocol.ProblemBadCSR},
		"the device key":           {func(n *successor) { n.key = n.device.device; n.body.CSR = csr(t, n.key); n.succeed(d.approval, nil) }, protocol.ProblemBadCSR},
		"another's key":            {func(n *successor) { n.key = other.approval; n.body.CSR = csr(t, n.key); n.succeed(d.approval, nil) }, protocol.ProblemBadCSR},
		"a request that is no CSR": {func(n *successor) { n.body.CSR = protocol.Blob("nonsense") }, protocol.ProblemBadCSR},
		"a proof of nothing":       {func(n *successor) { n.body.Attestation = protocol.StartAttestation{Format: "none"} }, protocol.ProblemPolicy},
	} {
		t.Run(name, func(t *testing.T) {
			n := d.renewing()
			c.spoil(n)
			n.start().refused(t, http.StatusUnprocessableEntity, c.code)
		})
	}
	t.Run("no succession", func(t *testing.T) {
		n := d.renewing()
		n.body.Succession = ""
		n.start().refused(t, http.StatusBadRequest, protocol.CodeBadJWS)
	})
	t.Run("the server's key", func(t *testing.T) {
		n := d.renewing()
		n.body.Role = protocol.RoleIssuer
		n.start().refused(t, http.StatusBadRequest, protocol.ProblemBadRequest)
	})
	t.Run("by the key of another role", func(t *testing.T) {
		n := d.renewing()
		n.body.Role = protocol.RoleDevice
		n.start().refused(t, http.StatusUnprocessableEntity, protocol.CodeUnknownKey)
	})
	t.Run("lower protection", func(t *testing.T) {
		n := d.renewing()
		n.body.Attestation.PIV.Approval = d.slot(n.key, 3, false)
		p := n.begin().activate().refused(t, http.StatusUnprocessableEntity, protocol.ProblemPolicy)
		if !strings.Contains(p.Detail, store.RequireTouchBound) {
			t.Errorf("the device is told %q", p.Detail)
		}
	})
	t.Run("another key's proof", func(t *testing.T) {
		n := d.renewing()
		n.body.Attestation.PIV.Approval = d.slot(newKey(t), 3, true)
		n.begin().activate().refused(t, http.StatusUnprocessableEntity, protocol.ProblemAttestation)
	})
	t.Run("no proof", func(t *testing.T) {
		n := d.renewing().begin()
		n.post(n.step("activation"), protocol.RenewalActivation{}).refused(t, http.StatusUnprocessableEntity, protocol.ProblemAttestation)
	})
	t.Run("another device's renewal", func(t *testing.T) {
		n := d.renewing().issue()
		n.device = other
		n.activate().refused(t, http.StatusNotFound, protocol.ProblemNotFound)
		n.acknowledge().refused(t, http.StatusNotFound, protocol.ProblemNotFound)
	})
	t.Run("nobody's", func(t *testing.T) {
		d.renewing().begin()
		newDevice(t, s).post(protocol.PathRenewals, d.renewing().body).refused(t, http.StatusUnauthorized, protocol.ProblemUnauthorized)
	})
	t.Run("a revoked device's", func(t *testing.T) {
		n := d.renewing().issue()
		if _, err := s.Desk.Revoke(t.Context(), enroll.Revocation{Device: d.enrolled.Device, Reason: enroll.ReasonRevoked}); err != nil {
			t.Fatal(err)
		}
		n.acknowledge().refused(t, http.StatusGone, protocol.ProblemRevoked)
		d.renewing().start().refused(t, http.StatusGone, protocol.ProblemRevoked)
	})
}

// TestRenewalMeetsTheDemandsOfNow renews keys that were let in before there
// were demands.
func TestRenewalMeetsTheDemandsOfNow(t *testing.T) {
	s, ca := maker(t)
	plain, token := enrollDevice(t, s, alice), newTokenDevice(t, s, ca, false)
	token.enroll(alice)
	if v := plain.renewing().issue().renewed.Attestation; v.Format != protocol.AttestationNone || v.Attested {
		t.Errorf("the verdict is %+v", v)
	}
	s.Demand(enroll.Attestation{RefuseNone: true, Require: []string{store.RequireTouchBound}})
	plain.renewing().start().refused(t, http.StatusUnprocessableEntity, protocol.ProblemAttestation)
	token.renewing().begin().activate().refused(t, http.StatusUnprocessableEntity, protocol.ProblemPolicy)
	token.touch = true
	token.renewing().issue()
}

// kinds are the audit trail's words that begin so.
func kinds(t *testing.T, s *servertest.Server, prefix string) (out []string) {
	t.Helper()
	events, err := s.Office.Events(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if strings.HasPrefix(e.Kind, prefix) {
			out = append(out, e.Kind)
		}
	}
	return out
}

// TestRenewalInATPM has a real TPM make and prove the new key alone.
func TestRenewalInATPM(t *testing.T) {
	s := startWithAlice(t, enroll.Policy{})
	c, d := newChip(t, s, false, true), newDevice(t, s)
	enrollChip(t, s, c, d)
	next, err := c.Create(t.Context(), hsm.Template{PINBound: true, Auth: pin()})
	if err != nil {
		t.Fatal(err)
	}
	old := c.keys[1]
	c.keys = []hsm.Key{next}
	if c.claim, err = c.Claim(t.Context(), c.keys); err != nil {
		t.Fatal(err)
	}
	thumbprint, err := protocol.Thumbprint(next.Public())
	if err != nil {
		t.Fatal(err)
	}
	word, err := protocol.SignSuccession(hsm.Signer(t.Context(), old, pin()), &protocol.Succession{
		Issuer: d.enrolled.Device, Audience: d.enrolled.Issuer, Subject: d.enrolled.Profile, IssuedAt: 1790000000, Role: protocol.RoleApproval, Key: thumbprint,
	})
	if err != nil {
		t.Fatal(err)
	}
	n := &successor{device: d, body: protocol.RenewalStart{
		Role: protocol.RoleApproval, CSR: c.csr(0), Succession: word,
		Attestation: protocol.StartAttestation{Format: protocol.AttestationTPM2, TPM2: c.start()},
	}}
	n.begin()
	proof := tpmProof(c.answer(protocol.EnrollmentStarted(n.started)), -1, 0)
	n.post(n.step("activation"), protocol.RenewalActivation{Attestation: &protocol.ProofAttestation{TPM2: proof}}).
		want(t, http.StatusOK).decode(t, &n.renewed)
	if v := n.renewed.Attestation; !v.Attested || !v.PINBound || v.Format != "tpm2" {
		t.Errorf("the verdict is %+v", v)
	}
	n.acknowledge().want(t, http.StatusNoContent)
	list, err := s.Desk.Renewals(t.Context(), d.enrolled.Device)
	if err != nil || len(list) != 1 || list[0].State != store.RenewalDone || list[0].Proof == nil {
		t.Errorf("for audit there is %+v, %v", list, err)
	}
}

// enrollChip enrolls a device with both keys in a TPM. The tests call with the
// device key in software alone.
func enrollChip(t *testing.T, s *servertest.Server, c *chip, d *device) {
	t.Helper()
	secret := token(s.Invite(alice))
	body := d.startBody(secret)
	body.DeviceCSR, body.ApprovalCSR = c.csr(0), c.csr(1)
	body.Attestation = protocol.StartAttestation{Format: protocol.AttestationTPM2, TPM2: c.start()}
	var started protocol.EnrollmentStarted
	d.post(protocol.PathEnrollments, body).want(t, http.StatusCreated).decode(t, &started)
	a := d.post(protocol.PathEnrollments+"/"+started.ID+"/activation", protocol.Activation{
		Token: secret, Attestation: &protocol.ProofAttestation{TPM2: c.prove(started)},
	})
	a.want(t, http.StatusOK).decode(t, &d.enrolled)
	d.caller = d.withCertificate(d.enrolled.DeviceChain, hsm.Signer(t.Context(), c.keys[0], hsm.Auth{}))
}
