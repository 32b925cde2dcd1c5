package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/protocol"
)

// liar answers in place of a server whose files a thief has: it holds the
// server's TLS key and the key that signs its messages, and says what it likes.
type liar struct {
	t      *testing.T
	issuer *ecdsa.PrivateKey

	mu        sync.Mutex
	list      []string
	polls     int
	decisions []string
	// answer is what the next decisions get.
	answer func(compact string) (status int, contentType string, body any)
}

// impersonate stops the server and puts a liar on its device address.
func (s *server) impersonate(t *testing.T) *liar {
	t.Helper()
	s.proc.stop()
	cert, err := tls.LoadX509KeyPair(filepath.Join(s.data, "tls.pem"), filepath.Join(s.data, "tls.pem"))
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{t: t, issuer: readKey(t, filepath.Join(s.data, "issuer.pem"))}
	listener, err := net.Listen("tcp", hostOf(t, s.device))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+protocol.PathRequests, l.getRequests)
	mux.HandleFunc("POST "+protocol.PathRequests+"/{id}/decision", l.postDecision)
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13},
	}
	go func() { _ = srv.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { srv.Close() })
	return l
}

func readKey(t *testing.T, file string) *ecdsa.PrivateKey {
	t.Helper()
	for _, b := range readPEM(t, file) {
		if key, err := x509.ParsePKCS8PrivateKey(b.Bytes); err == nil {
			return key.(*ecdsa.PrivateKey)
		}
	}
	t.Fatalf("%s holds no key", file)
	return nil
}

// getRequests answers at once, always, and never says that nothing is new.
func (l *liar) getRequests(w http.ResponseWriter, _ *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.polls++
	w.Header().Set("ETag", `"`+strconv.Itoa(l.polls)+`"`)
	_ = json.NewEncoder(w).Encode(protocol.Requests{Now: time.Now().Unix(), Requests: l.list})
}

func (l *liar) postDecision(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.decisions = append(l.decisions, string(body))
	status, contentType, answer := l.answer(string(body))
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// show lists requests and waits until they were polled several times.
func (l *liar) show(list ...string) {
	l.t.Helper()
	l.mu.Lock()
	l.list = list
	begin := l.polls
	l.mu.Unlock()
	testenv.Eventually(l.t, "several polls", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.polls >= begin+5
	})
}

func (l *liar) answerWith(f func(compact string) (int, string, any)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = f
}

// jws signs whatever it is given, which the protocol's own code would not.
func jws(t *testing.T, key *ecdsa.PrivateKey, payload map[string]any) string {
	t.Helper()
	kid, err := protocol.Thumbprint(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	encode := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	input := encode(map[string]string{"alg": "ES256", "typ": "approval-request+jwt", "kid": kid}) + "." + encode(payload)
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	var sig [64]byte
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return input + "." + base64.RawURLEncoding.EncodeToString(sig[:])
}

// payload is a valid request for the device, with changes.
func (s *server) payload(p storedProfile, id string, changes map[string]any) map[string]any {
	now := time.Now().Unix()
	m := map[string]any{
		"iss": s.issuer, "aud": p.Device, "sub": p.ID, "jti": id, "iat": now, "exp": now + 600,
		"type": "confirm", "method": "push", "class": "C1", "message": "Pay 1 EUR",
		"client": map[string]string{"id": "bank", "name": "Bank"}, "number_match": map[string]int{"digits": 6},
	}
	for name, value := range changes {
		m[name] = value
	}
	return m
}

// TestLyingServer: whoever has the server's files can ask, but cannot make the
// device show what is not whole, not for it, or not readable; and each refusal
// is logged once, however often it is listed.
func TestLyingServer(t *testing.T) {
	s, d, _ := world(t)
	p := d.profile()
	l := s.impersonate(t)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	change := func(name string, value any) string {
		return jws(t, l.issuer, s.payload(p, "bad", map[string]any{name: value}))
	}
	whole := strings.Split(jws(t, l.issuer, s.payload(p, "bad", nil)), ".")
	// The last character of a base64url block of three bytes holds six bits of
	// the third: changing it changes one byte.
	at := len(whole[1]) / 8 * 4
	flipped := whole[1][:at] + map[bool]string{true: "B", false: "A"}[whole[1][at] == 'A'] + whole[1][at+1:]
	bad := map[string]string{
		"unsigned":               whole[0] + "." + whole[1] + ".",
		"altered by one byte":    whole[0] + "." + flipped + "." + whole[2],
		"signed by a stranger":   jws(t, stranger, s.payload(p, "bad", nil)),
		"for another device":     change("aud", "d_somebodyelse"),
		"for another profile":    change("sub", "p_somebodyelse"),
		"of another issuer":      change("iss", "https://other.example"),
		"with bidi text":         change("message", "Pay \u202e001 EUR"),
		"with a line break":      change("message", "Pay 1\nServer: https://bank.example"),
		"with escapes":           change("message", "Pay \x1b[2J1"),
		"without a class":        change("class", ""),
		"C1 without a number":    change("number_match", nil),
		"of two days":            change("exp", time.Now().Unix()+2*86400),
		"of 70 KiB":              change("signing_data", strings.Repeat("x", 70<<10)),
		"with an unknown member": change("pre_approved", true),
		"not even a JWS":         "\x1b[2Jhello",
	}
	var list []string
	for _, compact := range bad {
		list = append(list, compact)
	}
	l.show(list...)
	if got := d.requests("--all"); len(got) != 0 {
		t.Errorf("shown: %v", got)
	}
	good := jws(t, l.issuer, s.payload(p, "tx_good", nil))
	l.show(append(list, good)...)
	if got := d.requests("--all"); len(got) != 1 || got["tx_good"] != "pending" {
		t.Errorf("with a good one among them: %v", got)
	}
	log := d.log.String()
	for name, compact := range bad {
		if n := strings.Count(log, protocol.Hash([]byte(compact))); n != 1 {
			t.Errorf("%s: logged %d times, want once", name, n)
		}
	}
	if strings.ContainsAny(log, "\x1b\u202e") {
		t.Error("what was received is in the log")
	}
	d.cli("", "status").ok(t)
}

// TestLyingReceipts: "sent" is said on nothing but a receipt for this very
// decision, and the decision goes out again and again, the same bytes, until
// there is one.
func TestLyingReceipts(t *testing.T) {
	s, d, _ := world(t)
	p := d.profile()
	l := s.impersonate(t)
	receipt := func(decision string) protocol.Accepted {
		compact, err := protocol.SignReceipt(l.issuer, &protocol.Receipt{
			Issuer: s.issuer, Audience: p.Device, ID: "tx_good", IssuedAt: time.Now().Unix(), Decision: protocol.Hash([]byte(decision)),
			State: protocol.StateDenied, Attestation: protocol.Verdict{Format: protocol.AttestationNone, Isolation: "user"},
		})
		if err != nil {
			t.Error(err)
		}
		return protocol.Accepted{Receipt: compact}
	}
	lies := []func() (int, string, any){
		func() (int, string, any) { return http.StatusOK, "application/json", receipt("another decision") },
		func() (int, string, any) { return http.StatusOK, "application/json", protocol.Accepted{} },
		func() (int, string, any) {
			return http.StatusServiceUnavailable, protocol.MediaTypeProblem, protocol.Problem{Code: "internal_error", State: protocol.StateDenied}
		},
		func() (int, string, any) { return http.StatusOK, "text/html", "log in" },
		func() (int, string, any) {
			return http.StatusUnprocessableEntity, protocol.MediaTypeProblem, protocol.Problem{Code: protocol.ProblemWrongNumber}
		},
	}
	n := 0
	l.answerWith(func(string) (int, string, any) {
		n++
		return lies[n%len(lies)]()
	})
	l.show(jws(t, l.issuer, s.payload(p, "tx_good", nil)))
	if a := d.cli("", "deny", "tx_good").want(t, 4); a.json["confirmed"] != false {
		t.Errorf("the device says %s", a.stdout)
	}
	if got := d.requests("--all")["tx_good"]; got != "unconfirmed" {
		t.Errorf("the device lists it as %s", got)
	}
	l.answerWith(func(compact string) (int, string, any) { return http.StatusOK, "application/json", receipt(compact) })
	d.proc.kill() // and what was decided survives
	d.start()
	testenv.Eventually(t, "the receipt to be believed", func() bool { return d.requests("--all")["tx_good"] == "denied" })
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, compact := range l.decisions {
		if compact != l.decisions[0] {
			t.Errorf("delivery %d carried other bytes than the first", i+1)
		}
	}
	if len(l.decisions) < 3 {
		t.Errorf("only %d deliveries", len(l.decisions))
	}
}
