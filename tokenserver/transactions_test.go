package tokenserver_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/protocol"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/servertest"
	"countersign/tokenserver/store"
)

// scene is a server with a relying party and a user's device.
func scene(t *testing.T) (*servertest.Server, party, *device) {
	t.Helper()
	s := startWithAlice(t, enroll.Policy{})
	return s, newParty(t, s, "Bank"), enrollDevice(t, s, alice)
}

func TestStartAsksTheDevice(t *testing.T) {
	s, bank, d := scene(t)
	var tx transaction
	bank.post("/v1/transactions", map[string]any{
		"type": "login", "user": "alice", "device": d.enrolled.Device, "message": "Log in", "language": "en",
		"details": []protocol.Detail{{Label: "Account", Value: "42"}}, "context": protocol.Context{IP: "192.0.2.1"}, "signing_data": "hello",
	}).want(t, http.StatusCreated).decode(t, &tx)
	if tx.Status != protocol.StatePending || len(tx.Number) != 6 || tx.Class != protocol.C2 || tx.Method != protocol.MethodPIN || tx.User != "alice" {
		t.Errorf("started %+v", tx)
	}
	if len(tx.Devices) != 1 || tx.Devices[0] != d.enrolled.Device {
		t.Errorf("asked %v", tx.Devices)
	}
	compact, r := d.request(tx.ID)
	if r.Issuer != s.Issuer() || r.Audience != d.enrolled.Device || r.Subject != d.enrolled.Profile || r.Digits() != 6 ||
		r.Client.Name != "Bank" || r.Details[0].Value != "42" || r.Context.IP != "192.0.2.1" || r.SigningData != "hello" ||
		r.ExpiresAt-r.IssuedAt != 300 || r.ExpiresAt != tx.Expires.Unix() {
		t.Errorf("the request is %+v", r)
	}
	if strings.Contains(compact, tx.Number) {
		t.Error("the request holds the number")
	}
}

func TestStartRefused(t *testing.T) {
	s, bank, d := scene(t)
	s.AddUser("bob")
	set(t, s, "login", func(typ *store.Type) { typ.Name, typ.Method, typ.TTL = "code", protocol.MethodOTP, time.Minute })
	good := func() map[string]any { return map[string]any{"type": "login", "user": "alice", "message": "m"} }
	for name, c := range map[string]struct {
		member string
		value  any
		code   string
		names  string
	}{
		"unknown user":   {"user", "eve", problem.UserUnknown, ""},
		"no device":      {"user", "bob", problem.NoDevice, ""},
		"unknown device": {"device", "d_x", problem.NoDevice, ""},
		"unknown type":   {"type", "x", problem.TypeUnknown, ""},
		"a code":         {"type", "code", problem.MethodUnsupported, protocol.MethodOTP},
		"no message":     {"message", "", protocol.CodeBadMessage, "message"},
		"control":        {"message", "a\u0007b", protocol.CodeBadText, "message"},
		"bidi":           {"message", "a\u202eb", protocol.CodeBadText, "message"},
		"too long":       {"message", strings.Repeat("a", 1025), protocol.CodeBadText, "message"},
		"label":          {"details", []protocol.Detail{{Label: "a\nb", Value: "c"}}, protocol.CodeBadText, "details.label"},
		"user text":      {"user", "a\u200bb", protocol.CodeBadText, "user"},
		"unknown member": {"mesage", "m", protocol.CodeBadMessage, ""},
		"null":           {"device", nil, protocol.CodeBadMessage, ""},
		"callback":       {"callback_uri", "https://rp.example/cb", problem.CallbackUnsupported, ""},
	} {
		t.Run(name, func(t *testing.T) {
			body := good()
			body[c.member] = c.value
			p := bank.post("/v1/transactions", body).refused(t, http.StatusUnprocessableEntity, c.code)
			if !strings.Contains(p.Detail, c.names) {
				t.Errorf("the detail %q does not name %s", p.Detail, c.names)
			}
		})
	}
	if len(d.pending()) != 0 {
		t.Error("a refused transaction asks the device")
	}
	bank.call(t.Context(), http.MethodPost, "/v1/transactions", []byte("{\"type\":\"\xff\"}")).
		refused(t, http.StatusUnprocessableEntity, protocol.CodeBadText)
	bank.call(t.Context(), http.MethodPost, "/v1/transactions", []byte("nonsense")).
		refused(t, http.StatusUnprocessableEntity, protocol.CodeBadMessage)
	bank.call(t.Context(), http.MethodPost, "/v1/transactions", make([]byte, protocol.MaxMessage+1)).
		refused(t, http.StatusRequestEntityTooLarge, protocol.ProblemBodyTooLarge)
}

func TestTypeRequirements(t *testing.T) {
	s, bank, _ := scene(t)
	for name, set := range map[string]func() error{
		"attested": func() error {
			typ := typeOf(t, s, "login")
			typ.Name, typ.Require = "attested", []string{"attested"}
			return s.Office.SetType(t.Context(), typ)
		},
		"touch": func() error {
			typ := typeOf(t, s, "login")
			typ.Name, typ.Class = "touch", protocol.C3
			return s.Office.SetType(t.Context(), typ)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := set(); err != nil {
				t.Fatal(err)
			}
			bank.post("/v1/transactions", map[string]any{"type": name, "user": "alice", "message": "m"}).
				refused(t, http.StatusUnprocessableEntity, protocol.ProblemPolicy)
		})
	}
}

func TestClientsAreApart(t *testing.T) {
	s, bank, _ := scene(t)
	shop, tx := newParty(t, s, "Shop"), bank.start("login", "alice")
	shop.get("/v1/transactions/"+tx.ID).refused(t, http.StatusNotFound, protocol.ProblemNotFound)
	shop.post("/v1/transactions/"+tx.ID+"/cancel", nil).refused(t, http.StatusNotFound, protocol.ProblemNotFound)
	if got := bank.read(tx.ID); got.Status != protocol.StatePending {
		t.Errorf("another's cancel made it %s", got.Status)
	}
	id, _ := s.AddClient("Other")
	for name, edit := range map[string]func(*http.Request){
		"nobody":       func(*http.Request) {},
		"unknown":      func(r *http.Request) { r.SetBasicAuth("c_x", "x") },
		"empty secret": func(r *http.Request) { r.SetBasicAuth(id, "") },
		"wrong secret": func(r *http.Request) { r.SetBasicAuth(id, "x") },
	} {
		t.Run(name, func(t *testing.T) {
			c := *bank.caller
			c.edit = edit
			a := c.get("/v1/transactions/" + tx.ID)
			a.refused(t, http.StatusUnauthorized, protocol.ProblemUnauthorized)
			if a.header.Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate")
			}
		})
	}
}

func TestReadWaits(t *testing.T) {
	_, bank, d := scene(t)
	tx := bank.start("confirm", "alice")
	a := bank.get("/v1/transactions/"+tx.ID, "Prefer", "wait=1").want(t, http.StatusOK)
	if a.header.Get("Preference-Applied") != "wait=1" {
		t.Errorf("Preference-Applied is %q", a.header.Get("Preference-Applied"))
	}
	wait := bank.parked("/v1/transactions/"+tx.ID, "Prefer", "wait=600")
	d.decide(tx.ID, protocol.Approve, tx.Number).want(t, http.StatusOK)
	a = await(t, wait).want(t, http.StatusOK)
	var got transaction
	a.decode(t, &got)
	if got.Status != protocol.StateApproved || a.header.Get("Preference-Applied") != "wait=60" {
		t.Errorf("waited for %+v with %q", got, a.header.Get("Preference-Applied"))
	}
}

func TestCancel(t *testing.T) {
	_, bank, d := scene(t)
	tx := bank.start("confirm", "alice")
	compact, r := d.request(tx.ID)
	var got transaction
	bank.post("/v1/transactions/"+tx.ID+"/cancel", nil).want(t, http.StatusOK).decode(t, &got)
	if got.Status != protocol.StateCancelled || got.Evidence != nil {
		t.Errorf("cancelled to %+v", got)
	}
	p := bank.post("/v1/transactions/"+tx.ID+"/cancel", nil).refused(t, http.StatusConflict, protocol.ProblemAlreadyDecided)
	if p.State != protocol.StateCancelled {
		t.Errorf("the second cancel hears %s", p.State)
	}
	p = d.send(tx.ID, d.sign(d.decision(compact, r, protocol.Approve, tx.Number))).refused(t, http.StatusConflict, protocol.ProblemAlreadyDecided)
	if p.State != protocol.StateCancelled {
		t.Errorf("the device hears %s", p.State)
	}
	var state protocol.RequestState
	d.get(protocol.PathRequests+"/"+tx.ID).want(t, http.StatusOK).decode(t, &state)
	if state.State != protocol.StateCancelled {
		t.Errorf("the request is %s", state.State)
	}
}

func TestExpiry(t *testing.T) {
	s, bank, d := scene(t)
	tx := bank.start("confirm", "alice")
	compact, r := d.request(tx.ID)
	late := d.sign(d.decision(compact, r, protocol.Approve, tx.Number))
	wait := bank.parked("/v1/transactions/"+tx.ID, "Prefer", "wait=30")
	s.Skip(5*time.Minute + time.Second)
	p := d.send(tx.ID, late).refused(t, http.StatusConflict, protocol.ProblemAlreadyDecided)
	if p.State != protocol.StateExpired {
		t.Errorf("a late decision hears %s", p.State)
	}
	if len(d.pending()) != 0 {
		t.Error("an expired request is still pending")
	}
	bank.post("/v1/transactions/"+tx.ID+"/cancel", nil).refused(t, http.StatusConflict, protocol.ProblemAlreadyDecided)
	var got transaction
	await(t, wait).want(t, http.StatusOK).decode(t, &got)
	if got.Status != protocol.StateExpired {
		t.Errorf("who waits hears %s", got.Status)
	}
	testenv.Eventually(t, "the audit trail says that it expired", func() bool {
		events, err := s.Office.Events(t.Context(), 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		return len(events) > 0 && events[len(events)-1].Kind == "transaction.expired"
	})
}

func TestPublicRoutes(t *testing.T) {
	_, bank, d := scene(t)
	for _, c := range []*caller{bank.caller, d.caller} {
		keys, err := protocol.ParseJWKS(c.get(protocol.PathJWKS).want(t, http.StatusOK).body)
		if err != nil || len(keys) != 1 {
			t.Errorf("keys %v, %v", keys, err)
		}
		c.get("/healthz").want(t, http.StatusOK)
		c.get("/nothing").refused(t, http.StatusNotFound, protocol.ProblemNotFound)
	}
	bank.get(protocol.PathRequests).refused(t, http.StatusNotFound, protocol.ProblemNotFound)
}
