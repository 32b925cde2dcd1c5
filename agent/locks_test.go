package agent

import (
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"countersign/agent/policy"
	"countersign/agent/state"
	"countersign/hsm"
	"countersign/internal/secret"
	"countersign/ipc"
	"countersign/protocol"
)

func only(t *testing.T, servers ...string) policy.Policy {
	t.Helper()
	list, err := policy.ParseServers(servers)
	if err != nil {
		t.Fatal(err)
	}
	return policy.Policy{Servers: list}
}

// locks are policies, each of which holds the kit's profile off, with the code
// that says so.
func locks(t *testing.T) map[string]struct {
	policy policy.Policy
	code   string
} {
	t.Helper()
	return map[string]struct {
		policy policy.Policy
		code   string
	}{
		"another server":          {only(t, "other.example", "127.0.0.1"), ipc.CodeServerForbidden},
		"another place":           {only(t, "server.example"), ipc.CodeServerForbidden},
		"another name":            {only(t, "https://other.example", "127.0.0.1"), ipc.CodeServerForbidden},
		"another chip":            {policy.Policy{Keys: []string{kindPIV}}, ipc.CodeKeyForbidden},
		"keys that prove nothing": {policy.Policy{AttestationRequired: true}, ipc.CodeAttestationRequired},
	}
}

// TestHeldOff: a profile that the policy does not allow receives nothing, decides
// nothing and renews nothing, and everybody is told so. It can be ended.
func TestHeldOff(t *testing.T) {
	for name, c := range locks(t) {
		t.Run(name, func(t *testing.T) {
			k := newKit(t)
			k.list(1000, k.sign(k.request("before", protocol.C1)))
			k.agent.cfg.Policy = c.policy
			after := k.sign(k.request("after", protocol.C1))
			if _, ok := k.profile.receive(after, 1000, BootTime()); ok || k.status("after") != "" {
				t.Errorf("a request is received, and %s", k.status("after"))
			}
			for _, verb := range []string{protocol.Approve, protocol.Deny} {
				signs := k.device.uses() + k.approval.uses()
				if _, err := k.agent.decide(t.Context(), scopeOf(testUID), "before", k.answer("before", verb)); codeOf(err) != c.code || !strings.Contains(err.Error(), "held off") {
					t.Errorf("%s: %v", verb, err)
				}
				if k.device.uses()+k.approval.uses() != signs {
					t.Errorf("%s: the chip signs", verb)
				}
			}
			for what, err := range map[string]error{
				"PIN change": second(k.changePIN(t.Context(), testPIN, "271828")),
				"renewal":    second(k.agent.renewKeys(t.Context(), scopeOf(testUID), k.id, ipc.Renewal{PIN: secret.New([]byte(testPIN))})),
				"code":       second(k.agent.redeem(t.Context(), scopeOf(testUID), ipc.Redemption{Code: secret.New([]byte("ABCDEFGH")), Origin: protocol.OriginTyped})),
				"check":      k.profile.check(t.Context()),
			} {
				if codeOf(err) != c.code {
					t.Errorf("%s: %v", what, err)
				}
			}
			k.toldHeldOff(c.code)
			k.profile.run(t.Context()) // returns at once
			if k.profile.clientNow() != nil {
				t.Error("it connects")
			}
			k.agent.cfg.Policy = policy.Policy{}
			k.list(1000, k.sign(k.request("before", protocol.C1)), after)
			if k.status("after") != statusPending || k.profile.info().HeldOff != "" {
				t.Error("it is held off still")
			}
		})
	}
}

func second[T any](_ T, err error) error { return err }

// toldHeldOff demands that status, profiles and doctor say why.
func (k *kit) toldHeldOff(code string) {
	k.t.Helper()
	if info := k.profile.info(); info.HeldOff != code || info.Connected || info.State != state.Active {
		k.t.Errorf("profiles shows %+v", info)
	}
	if !slices.ContainsFunc(k.agent.degraded(k.t.Context(), scopeOf(testUID)), func(s string) bool { return strings.Contains(s, "held off") }) {
		k.t.Error("status does not say it")
	}
	check, ok := find(k.doctor(), code)
	if !ok || check.Status != ipc.CheckFail || !strings.Contains(check.Cure, "administrator") || !strings.Contains(check.Cure, "countersign unenroll "+k.id) {
		k.t.Errorf("doctor says %+v", check)
	}
	if c, ok := find(k.doctor(), "server"); ok {
		k.t.Errorf("doctor blames the network too: %+v", c)
	}
}

func enrollment(k *kit, server, key, pin string) ipc.Enrollment {
	k.t.Helper()
	u := protocol.EnrollURI{Server: server, Token: secret.New([]byte("sesame")), CA: make([]byte, 32)}
	return ipc.Enrollment{URI: secret.New([]byte(u.String())), Key: key, PIN: secret.New([]byte(pin))}
}

// TestForbiddenEnrollments are refused before there is a key, or a word to the
// server.
func TestForbiddenEnrollments(t *testing.T) {
	const here = "https://127.0.0.1:1"
	proved := policy.Policy{AttestationRequired: true}
	for name, c := range map[string]struct {
		policy policy.Policy
		in     func(k *kit) ipc.Enrollment
		code   string
	}{
		"server":   {only(t, "server.example"), func(k *kit) ipc.Enrollment { return enrollment(k, here, "", testPIN) }, ipc.CodeServerForbidden},
		"chip":     {policy.Policy{Keys: []string{kindPIV}}, func(k *kit) ipc.Enrollment { return enrollment(k, here, kindTPM, testPIN) }, ipc.CodeKeyForbidden},
		"no token": {policy.Policy{Keys: []string{kindPIV}}, func(k *kit) ipc.Enrollment { return enrollment(k, here, "", testPIN) }, ipc.CodeKeyForbidden},
		"PIN":      {policy.Policy{PINMinLength: 7}, func(k *kit) ipc.Enrollment { return enrollment(k, here, "", testPIN) }, ipc.CodePINTooShort},
		"silence": {proved, func(k *kit) ipc.Enrollment {
			in := enrollment(k, here, "", testPIN)
			in.NoAttestation = true
			return in
		}, ipc.CodeAttestationRequired},
		"a chip that proves nothing": {proved, func(k *kit) ipc.Enrollment { return enrollment(k, here, "", testPIN) }, ipc.CodeAttestationRequired},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t)
			k.agent.cfg.Policy = c.policy
			held := len(k.chip.held())
			_, err := k.agent.enroll(t.Context(), testUID, c.in(k))
			if codeOf(err) != c.code || !strings.Contains(ipc.AsError(err).Cure, "administrator") && c.code != ipc.CodePINTooShort {
				t.Errorf("got %v", err)
			}
			if got := k.chip.held(); len(got) != held {
				t.Errorf("the chip holds %v", got)
			}
		})
	}
}

// TestTheAllowedChipIsTaken: where the TPM may keep nothing, both keys are on the
// token, and nobody needs to say so.
func TestTheAllowedChipIsTaken(t *testing.T) {
	k := newKit(t)
	k.token = newSoftProvider(kindPIV)
	k.restart()
	k.agent.cfg.Policy.Keys = []string{kindPIV}
	p, err := k.agent.plan(t.Context(), ipc.Enrollment{})
	if err != nil || p.approval.Name() != kindPIV || p.device.Name() != kindPIV || k.agent.allows("https://127.0.0.1:1", p) != nil {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestUnfinishedEnrollmentsObey: what the policy does not allow any more ends, and
// its keys go.
func TestUnfinishedEnrollmentsObey(t *testing.T) {
	for name, change := range map[string]func(*policy.Policy){
		"server":      func(p *policy.Policy) { *p = only(t, "server.example") },
		"chip":        func(p *policy.Policy) { p.Keys = []string{kindPIV} },
		"attestation": func(p *policy.Policy) { p.AttestationRequired = true },
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t)
			n := &enrolling{Enrollment: &state.Enrollment{Server: "https://127.0.0.1:1", UID: testUID, StartedAt: time.Now()}, agent: k.agent, log: k.agent.cfg.Log}
			n.auth = hsm.Auth{PIN: secret.New([]byte(testPIN))}
			p, err := k.agent.plan(t.Context(), ipc.Enrollment{})
			if err != nil {
				t.Fatal(err)
			}
			held := len(k.chip.held())
			if err := n.prepare(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			change(&k.agent.cfg.Policy)
			k.agent.resumeEnrollment(t.Context(), n.Enrollment)
			if left, err := k.dir.Enrollments(); err != nil || len(left) != 0 || len(k.chip.held()) != held {
				t.Errorf("left: %v, %v, and in the chip %v", left, err, k.chip.held())
			}
		})
	}
}

func TestPINsAtTheEdgeOfThePolicy(t *testing.T) {
	k := newKit(t)
	for _, c := range []struct {
		least int
		pin   string
		code  string
	}{
		{0, "123456", ""},
		{0, "12345", ipc.CodeBadPIN},
		{0, "ééé", ""},
		{8, "12345678", ""},
		{8, "1234567", ipc.CodePINTooShort},
		{8, "éééééé", ipc.CodePINTooShort},
		{8, "éééééééé", ""},
		{63, strings.Repeat("1", 63), ""},
		{63, strings.Repeat("1", 62), ipc.CodePINTooShort},
		{63, strings.Repeat("1", 64), ipc.CodeBadPIN},
	} {
		k.agent.cfg.Policy.PINMinLength = c.least
		if err := k.agent.checkNewPIN(secret.New([]byte(c.pin)), longerPIN); codeOf(err) != c.code {
			t.Errorf("%q where %d are asked for: %v", c.pin, c.least, err)
		}
	}
}

// TestShortPINGoesOnToWork until it is set anew.
func TestShortPINGoesOnToWork(t *testing.T) {
	k := newKit(t)
	k.agent.cfg.Policy.PINMinLength = 8
	k.list(1000, k.sign(k.request("tx", protocol.C2)))
	if _, err := k.decide("tx", protocol.Approve); err != nil {
		t.Errorf("it approves nothing: %v", err)
	}
	_, err := k.agent.renewKeys(t.Context(), scopeOf(testUID), k.id, ipc.Renewal{PIN: secret.New([]byte(testPIN))})
	if codeOf(err) != ipc.CodePINTooShort || !strings.Contains(ipc.AsError(err).Cure, "countersign pin change "+k.id) {
		t.Errorf("it is renewed: %v", err)
	}
	if _, err := k.changePIN(t.Context(), testPIN, "1234567"); codeOf(err) != ipc.CodePINTooShort {
		t.Errorf("it is changed into another that is too short: %v", err)
	}
}

func (k *kit) mute(seconds string) error {
	k.t.Helper()
	r := httptest.NewRequestWithContext(k.t.Context(), "POST", "/v1/mute", strings.NewReader(`{"seconds":`+seconds+`}`))
	return second(k.agent.postMute(nil, r, scopeOf(testUID)))
}

func TestMuteAtTheEdgeOfThePolicy(t *testing.T) {
	hour, none := time.Hour, time.Duration(0)
	k := newKit(t)
	for _, c := range []struct {
		most    *time.Duration
		seconds string
		code    string
	}{
		{nil, "86400", ""},
		{nil, "86401", ipc.CodeBadRequest},
		{&hour, "3600", ""},
		{&hour, "3601", ipc.CodeMuteForbidden},
		{&hour, "86401", ipc.CodeBadRequest},
		{&hour, "0", ""},
		{&none, "1", ipc.CodeMuteForbidden},
		{&none, "0", ""},
	} {
		k.agent.cfg.Policy.MuteMax = c.most
		if err := k.mute(c.seconds); codeOf(err) != c.code {
			t.Errorf("%s s of %v: %v", c.seconds, c.most, err)
		}
	}
}

// TestMutedBeforeThePolicy: what was muted for longer than is allowed now is muted
// for as long as that.
func TestMutedBeforeThePolicy(t *testing.T) {
	k := newKit(t)
	if err := k.mute("7200"); err != nil {
		t.Fatal(err)
	}
	for most, left := range map[time.Duration]time.Duration{0: 0, time.Hour: time.Hour, maxMute: 2 * time.Hour} {
		stored, err := k.dir.Attention()
		if err != nil {
			t.Fatal(err)
		}
		again := newAttention(BootTime, bootID(), stored, most, k.dir.SaveAttention, k.agent.cfg.Log)
		if got := again.muted(testUID); got > left || got < left-time.Minute {
			t.Errorf("with %v at most it is muted for %v", most, got)
		}
	}
}

func TestStatusHasThePolicy(t *testing.T) {
	k := newKit(t)
	ask := func() *ipc.Policy {
		v, err := k.agent.getStatus(nil, httptest.NewRequestWithContext(t.Context(), "GET", "/v1/status", nil), scopeOf(testUID))
		if err != nil {
			t.Fatal(err)
		}
		return v.(ipc.Status).Policy
	}
	if p := ask(); p.ClassFloor != "" || !slices.Equal(p.Servers, []string{"*"}) || p.PINMinLength != 6 || p.MuteMaxSeconds != 86400 || p.LocalApprovals != "any" || len(p.Keys) != 2 || p.AttestationRequired {
		t.Errorf("without a policy: %+v", p)
	}
	none := time.Duration(0)
	k.agent.cfg.Policy = only(t, "*.example.org")
	k.agent.cfg.Policy.ClassFloor, k.agent.cfg.Policy.PINMinLength, k.agent.cfg.Policy.MuteMax = protocol.C2, 9, &none
	k.agent.cfg.Policy.LocalApprovals, k.agent.cfg.Policy.Keys, k.agent.cfg.Policy.AttestationRequired = policy.InPrompts, []string{kindTPM}, true
	if p := ask(); p.ClassFloor != "C2" || !slices.Equal(p.Servers, []string{"*.example.org"}) || p.PINMinLength != 9 || p.MuteMaxSeconds != 0 || p.LocalApprovals != "prompt" || !slices.Equal(p.Keys, []string{"tpm"}) || !p.AttestationRequired {
		t.Errorf("with one: %+v", p)
	}
}

// TestHeldOffByAnyAddress: a server may have said where else it is before the policy
// became stricter, and is not followed there.
func TestHeldOffByAnyAddress(t *testing.T) {
	k := newKit(t)
	both := func(s *protocol.Trust) {
		s.DeviceURLs = []string{"https://127.0.0.1:1", "https://elsewhere.example:1"}
	}
	if err := k.adopt(statement(t, k.server, 1, both, k.server)); err != nil {
		t.Fatal(err)
	}
	k.agent.cfg.Policy = only(t, "server.example", "127.0.0.1")
	if why := k.profile.locked(); why == nil || why.Code != ipc.CodeServerForbidden || !strings.Contains(why.Message, "elsewhere.example") {
		t.Errorf("with a forbidden second address it is locked by %v", why)
	}
	k.agent.cfg.Policy = only(t, "server.example", "127.0.0.1", "elsewhere.example")
	if why := k.profile.locked(); why != nil {
		t.Errorf("with both addresses allowed it is locked by %v", why)
	}
}

// TestMutingWritesFewRecords: the log has room for so many records, and who mutes and
// unmutes over and over must not push out those of others.
func TestMutingWritesFewRecords(t *testing.T) {
	k := newKit(t)
	before, refused := len(k.audited()), 0
	for i := range 200 {
		switch err := k.mute(strconv.Itoa(i % 2 * 60)); codeOf(err) {
		case "":
		case ipc.CodeRateLimited:
			refused++
		default:
			t.Fatal(err)
		}
	}
	if n := len(k.audited()) - before; n > 50 || refused < 150 {
		t.Errorf("200 calls wrote %d records, and %d were refused", n, refused)
	}
	// Nobody else is refused for it.
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/mute", strings.NewReader(`{"seconds":60}`))
	if _, err := k.agent.postMute(nil, r, scopeOf(testUID+1)); err != nil {
		t.Error(err)
	}
}
