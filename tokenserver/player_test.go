package tokenserver_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"testing"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/attest/attesttest"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/servertest"
)

// answer is a whole HTTP answer.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) decode(tb testing.TB, v any) {
	tb.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		tb.Fatalf("%d %s: %v", a.status, a.body, err)
	}
}

// want fails the test unless the answer has this status.
func (a answer) want(tb testing.TB, status int) answer {
	tb.Helper()
	if a.status != status {
		tb.Fatalf("answered %d %s, want %d", a.status, a.body, status)
	}
	return a
}

// refused fails the test unless the answer is this problem.
func (a answer) refused(tb testing.TB, status int, code string) protocol.Problem {
	tb.Helper()
	a.want(tb, status)
	var p protocol.Problem
	a.decode(tb, &p)
	if p.Code != code || p.Status != status || p.Title == "" || a.header.Get("Content-Type") != protocol.MediaTypeProblem {
		tb.Fatalf("refused as %s (%s), want %s", a.body, a.header.Get("Content-Type"), code)
	}
	return p
}

// race makes n calls at once. It returns how many were answered with 200, and the
// other answers.
func race(n int, call func(i int) answer) (won int, lost []answer) {
	answers := make([]answer, n)
	var ready, done sync.WaitGroup
	begin := make(chan struct{})
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			<-begin
			answers[i] = call(i)
		})
	}
	ready.Wait()
	close(begin)
	done.Wait()
	for _, a := range answers {
		if a.status == http.StatusOK {
			won++
		} else {
			lost = append(lost, a)
		}
	}
	return won, lost
}

// caller makes HTTPS calls to one listener.
type caller struct {
	tb   testing.TB
	http *http.Client
	base string
	edit func(*http.Request)
}

func newCaller(tb testing.TB, base string, conf *tls.Config) *caller {
	tr := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
	tb.Cleanup(tr.CloseIdleConnections)
	return &caller{tb: tb, http: &http.Client{Transport: tr}, base: base, edit: func(*http.Request) {}}
}

// call makes a call; header holds pairs. It may be used by any goroutine: an
// answer that did not come has status 0.
func (c *caller) call(ctx context.Context, method, path string, body []byte, header ...string) answer {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return answer{body: []byte(err.Error())}
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	c.edit(req)
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{body: []byte(err.Error())}
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{body: []byte(err.Error())}
	}
	return answer{resp.StatusCode, resp.Header, data}
}

func (c *caller) post(path string, v any) answer {
	c.tb.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		c.tb.Fatal(err)
	}
	return c.call(c.tb.Context(), http.MethodPost, path, body, "Content-Type", "application/json")
}

func (c *caller) put(path string, v any) answer {
	c.tb.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		c.tb.Fatal(err)
	}
	return c.call(c.tb.Context(), http.MethodPut, path, body, "Content-Type", "application/json")
}

func (c *caller) get(path string, header ...string) answer {
	return c.call(c.tb.Context(), http.MethodGet, path, nil, header...)
}

// parked makes a call in the background and returns once the server has taken
// it up.
func (c *caller) parked(path string, header ...string) <-chan answer {
	c.tb.Helper()
	sent := make(chan struct{})
	ctx := httptrace.WithClientTrace(c.tb.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { close(sent) }})
	got := make(chan answer, 1)
	go func() { got <- c.call(ctx, http.MethodGet, path, nil, header...) }()
	select {
	case <-sent:
	case <-time.After(10 * time.Second):
		c.tb.Fatal("the request was never sent")
	}
	// It comes after the other on the same connection, whose frames the server
	// reads in order.
	c.get("/healthz").want(c.tb, http.StatusOK)
	return got
}

func await(tb testing.TB, got <-chan answer) answer {
	tb.Helper()
	select {
	case a := <-got:
		return a
	case <-time.After(20 * time.Second):
		tb.Fatal("no answer within 20 s")
		return answer{}
	}
}

// party plays a relying party.
type party struct{ *caller }

func newParty(tb testing.TB, s *servertest.Server, name string) party {
	tb.Helper()
	id, secret := s.AddClient(name)
	c := newCaller(tb, s.Issuer(), &tls.Config{RootCAs: s.Roots(), Time: s.Now})
	c.edit = func(r *http.Request) { r.SetBasicAuth(id, secret) }
	return party{c}
}

// transaction is what a relying party reads.
type transaction struct {
	ID       string             `json:"id"`
	Status   protocol.State     `json:"status"`
	Reason   string             `json:"reason"`
	Number   string             `json:"number"`
	Type     string             `json:"type"`
	Method   string             `json:"method"`
	Class    protocol.Class     `json:"class"`
	User     string             `json:"user"`
	Devices  []string           `json:"devices"`
	Expires  time.Time          `json:"expires_at"`
	Evidence *protocol.Evidence `json:"evidence"`
}

func (p party) start(typ, user string) transaction {
	p.tb.Helper()
	var t transaction
	p.post("/v1/transactions", map[string]any{"type": typ, "user": user, "message": "Pay 10 EUR"}).want(p.tb, http.StatusCreated).decode(p.tb, &t)
	return t
}

func (p party) read(id string, header ...string) transaction {
	p.tb.Helper()
	var t transaction
	p.get("/v1/transactions/"+id, header...).want(p.tb, http.StatusOK).decode(p.tb, &t)
	return t
}

// device plays a device. Its keys are ordinary ones: what is tested here is the
// server, to which all keys look alike.
type device struct {
	*caller
	srv              *servertest.Server
	device, approval *ecdsa.PrivateKey
	enrolled         protocol.Enrolled
	// last is the decision that the next one is chained to, or "".
	last string
	// token is where the keys are, or nil where nothing says.
	token *attesttest.Token
	touch bool
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func csr(tb testing.TB, key any) []byte {
	tb.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

func newDevice(tb testing.TB, s *servertest.Server) *device {
	tb.Helper()
	d := &device{srv: s, device: newKey(tb), approval: newKey(tb)}
	d.caller = newCaller(tb, s.DeviceURL(), &tls.Config{RootCAs: s.Roots(), Time: s.Now})
	return d
}

// startBody is what the device sends to begin.
func (d *device) startBody(token string) protocol.EnrollmentStart {
	d.tb.Helper()
	out := protocol.EnrollmentStart{
		Token: token,
		Device: protocol.DeviceFacts{
			Name: "laptop", Platform: "linux/amd64", Agent: "test", Isolation: "user", Provider: "tpm",
			Chip: protocol.Chip{Vendor: "Example"},
		},
		DeviceCSR: csr(d.tb, d.device), ApprovalCSR: csr(d.tb, d.approval),
		Attestation: protocol.StartAttestation{Format: protocol.AttestationNone},
	}
	if d.token != nil {
		out.Attestation = d.claim()
	}
	return out
}

// claim is what the device's token says of its slots.
func (d *device) claim() protocol.StartAttestation {
	d.tb.Helper()
	return protocol.StartAttestation{
		Format: protocol.AttestationPIV, PIV: &protocol.PIVStart{Device: d.slot(d.device, 1, false), Approval: d.slot(d.approval, 3, d.touch)},
	}
}

// slot is what the device's token says of the slot of a key.
func (d *device) slot(key *ecdsa.PrivateKey, pin byte, touch bool) []protocol.Blob {
	d.tb.Helper()
	policy := byte(1)
	if touch {
		policy = 2
	}
	return []protocol.Blob{d.token.Slot(d.tb, key.Public(), pin, policy, nil), d.token.Raw}
}

// activation is what the device sends to end.
func (d *device) activation(started protocol.EnrollmentStarted, token string) protocol.Activation {
	d.tb.Helper()
	out := protocol.Activation{Token: token}
	if d.token != nil {
		out.Attestation = &protocol.ProofAttestation{PIV: &protocol.PIVProof{
			Device: attesttest.Sign(d.tb, d.device, started.Challenge), Approval: attesttest.Sign(d.tb, d.approval, started.Challenge),
		}}
	}
	return out
}

func (d *device) start(token string) answer {
	d.tb.Helper()
	return d.post(protocol.PathEnrollments, d.startBody(token))
}

func (d *device) activate(id, token string) answer {
	d.tb.Helper()
	return d.post(protocol.PathEnrollments+"/"+id+"/activation", protocol.Activation{Token: token})
}

// use takes what the server answered to the activation.
func (d *device) use(a answer) {
	d.tb.Helper()
	a.want(d.tb, http.StatusOK).decode(d.tb, &d.enrolled)
	d.caller = d.withCertificate(d.enrolled.DeviceChain, d.device)
}

func (d *device) withCertificate(chain [][]byte, key crypto.Signer) *caller {
	return newCaller(d.tb, d.srv.DeviceURL(), &tls.Config{
		RootCAs:      d.srv.Roots(),
		Time:         d.srv.Now,
		Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: key}},
	})
}

func token(u protocol.EnrollURI) string { return string(u.Token.Reveal()) }

// enrollDevice enrolls a new device of a user.
func enrollDevice(tb testing.TB, s *servertest.Server, in enroll.Invitation) *device {
	tb.Helper()
	d := newDevice(tb, s)
	d.enroll(in)
	return d
}

func (d *device) enroll(in enroll.Invitation) {
	d.tb.Helper()
	secret := token(d.srv.Invite(in))
	var started protocol.EnrollmentStarted
	d.start(secret).want(d.tb, http.StatusCreated).decode(d.tb, &started)
	d.use(d.post(protocol.PathEnrollments+"/"+started.ID+"/activation", d.activation(started, secret)))
}

// pending is the device's list, at once.
func (d *device) pending() []string {
	d.tb.Helper()
	a := d.get(protocol.PathRequests)
	if a.status == http.StatusNoContent {
		return nil
	}
	return d.list(a)
}

func (d *device) list(a answer) []string {
	d.tb.Helper()
	var r protocol.Requests
	a.want(d.tb, http.StatusOK).decode(d.tb, &r)
	return r.Requests
}

// request finds the device's request of a transaction.
func (d *device) request(id string) (string, *protocol.Request) {
	d.tb.Helper()
	keys, err := protocol.ParseJWKS(d.enrolled.JWKS)
	if err != nil {
		d.tb.Fatal(err)
	}
	for _, compact := range d.pending() {
		r, err := protocol.ParseRequest(compact, keys)
		if err != nil {
			d.tb.Fatal(err)
		}
		if r.ID == id {
			return compact, r
		}
	}
	d.tb.Fatalf("the device is not asked about %s", id)
	return "", nil
}

// decision is one that answers a request in full.
func (d *device) decision(compact string, r *protocol.Request, decision, number string) *protocol.Decision {
	d.tb.Helper()
	record, err := protocol.Display(r, protocol.DisplayVersion, "en", "UTC")
	if err != nil {
		d.tb.Fatal(err)
	}
	out := &protocol.Decision{
		Issuer: r.Audience, Audience: r.Issuer, Subject: r.Subject, ID: r.ID, IssuedAt: time.Now().Unix(),
		Request: protocol.Hash([]byte(compact)), Display: record.Hash(), DisplayVersion: protocol.DisplayVersion, Language: "en", TimeZone: "UTC",
		Decision: decision, Number: number, Prev: protocol.NoPrev,
		UV: protocol.UV{Method: protocol.UVNone, Class: protocol.C1, Surface: protocol.SurfacePrompt},
	}
	if decision == protocol.Deny {
		out.Reason, out.Number = protocol.ReasonCancelled, ""
	} else if r.Class >= protocol.C2 {
		out.UV.Method, out.UV.Class = protocol.UVPIN, r.Class
	}
	return out
}

// sign signs with the key of the role that the decision takes.
func (d *device) sign(dec *protocol.Decision) string {
	d.tb.Helper()
	key := d.device
	if protocol.RoleFor(dec.Decision, dec.UV.Class) == protocol.RoleApproval {
		key = d.approval
	}
	return d.signWith(key, dec)
}

// signWith signs the next of the device's decisions.
func (d *device) signWith(key *ecdsa.PrivateKey, dec *protocol.Decision) string {
	d.tb.Helper()
	if d.last != "" {
		dec.Prev = protocol.Hash([]byte(d.last))
	}
	compact, err := protocol.SignDecision(key, dec)
	if err != nil {
		d.tb.Fatal(err)
	}
	d.last = compact
	return compact
}

// send delivers a decision.
func (d *device) send(id, compact string) answer {
	return d.call(d.tb.Context(), http.MethodPost, protocol.PathRequests+"/"+id+"/decision", []byte(compact), "Content-Type", protocol.MediaTypeJOSE)
}

// decide answers a transaction.
func (d *device) decide(id, decision, number string) answer {
	d.tb.Helper()
	compact, r := d.request(id)
	return d.send(id, d.sign(d.decision(compact, r, decision, number)))
}

// notMe denies a transaction that somebody else began.
func (d *device) notMe(id string) {
	d.tb.Helper()
	compact, r := d.request(id)
	dec := d.decision(compact, r, protocol.Deny, "")
	dec.Reason = protocol.ReasonNotMe
	d.send(id, d.sign(dec)).want(d.tb, http.StatusOK)
}
