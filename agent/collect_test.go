package agent

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"countersign/agent/metrics"
	"countersign/agent/policy"
	"countersign/agent/upstream"
	"countersign/internal/secret"
	"countersign/ipc"
	"countersign/protocol"
)

func (k *kit) metrics() string {
	k.t.Helper()
	c := &collector{Agent: k.agent, started: time.Unix(1_700_000_000, 0)}
	var b strings.Builder
	if err := metrics.Write(&b, c.collect(k.t.Context())); err != nil {
		k.t.Fatal(err)
	}
	return b.String()
}

// busy has happened what can happen.
func busy(t *testing.T) *kit {
	t.Helper()
	k := newKit(t)
	// Not the server's key: a request of a stranger's.
	stranger, err := protocol.SignRequest(newECDSA(t), k.request("forged", protocol.C1))
	if err != nil {
		t.Fatal(err)
	}
	k.list(1000, k.sign(k.request("a", protocol.C2)), k.sign(k.request("b", protocol.C1)), k.sign(k.request("c", protocol.C0)), k.sign(k.request("d", protocol.C1)), stranger)
	k.profile.Reached(nil)
	k.profile.Reached(upstream.ErrUnreachable)
	k.profile.Reached(&protocol.Problem{Status: 500, Code: "a_word_of_the_servers"})
	k.agent.pending.end(k.id, "c", protocol.StateExpired)
	k.agent.pending.end(k.id, "d", protocol.StateApproved)
	wrong := k.answer("a", protocol.Approve)
	wrong.PIN = secret.New([]byte("000000"))
	if _, err := k.agent.decide(t.Context(), scopeOf(testUID), "a", wrong); codeOf(err) != ipc.CodeWrongPIN {
		t.Fatal(err)
	}
	for id, verb := range map[string]string{"a": protocol.Approve, "b": protocol.Deny} {
		e, err := k.decide(id, verb)
		if err != nil {
			t.Fatal(err)
		}
		k.agent.counts.decided.Inc(e.Verb, className(k.agent.pending.classOf(k.id, id))) // as decide does
		if id == "b" {
			continue // and it is not delivered
		}
		e, err = k.profile.acknowledged(e, k.receipt(e, nil))
		if err == nil {
			err = k.profile.outbox.answered(e, func() { k.profile.tell(e) })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// TestMetricsOfABusyService holds them to a golden file, and to Prometheus's own
// parser.
func TestMetricsOfABusyService(t *testing.T) {
	got := busy(t).metrics()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader(got)); err != nil {
		t.Error(err)
	}
	got = regexp.MustCompile(`(?m)^(countersign_(?:last_contact|certificate_expiry|clock_skew)\S*) .*$`).ReplaceAllString(got, "$1 TIME")
	got = regexp.MustCompile(`go_version="[^"]*"`).ReplaceAllString(got, `go_version="GO"`)
	golden := filepath.Join("testdata", "metrics.golden")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(golden, []byte(got), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

// TestMetricsArePersonalToNobody: what identifies people, servers or requests is
// in none of them, nor is a word that a server chose.
func TestMetricsArePersonalToNobody(t *testing.T) {
	k := busy(t)
	got := k.metrics()
	for _, secret := range []string{"alice", "server.example", "127.0.0.1", "bank", "Bank", "Pay", k.id, "d_device", "user of", "a_word", "1000\"", "soft", testPIN} {
		if strings.Contains(got, secret) {
			t.Errorf("%q is in the metrics", secret)
		}
	}
	labels := regexp.MustCompile(`="([^"]*)"`)
	for _, m := range labels.FindAllStringSubmatch(got, -1) {
		if len(m[1]) > 24 {
			t.Errorf("a label is %q", m[1])
		}
	}
}

// TestMetricsOfConditions: each that doctor names is one, held off included.
func TestMetricsOfConditions(t *testing.T) {
	k := newKit(t)
	healthy := k.metrics()
	for _, line := range []string{
		`countersign_degraded{code="server"} 1`, // nobody was reached yet
		`countersign_degraded{code="pin_locked"} 0`, `countersign_degraded{code="tpm"} 0`, `countersign_chip_reachable{provider="tpm"} 1`, `countersign_audit_ok 1`,
		`countersign_warning{code="no_attestation"} 1`, `countersign_profiles{state="active",provider="tpm",pin_counter="index",touch="false",attested="false"} 1`,
		`countersign_last_contact_timestamp_seconds 0`,
	} {
		if !strings.Contains(healthy, line+"\n") {
			t.Errorf("without %s:\n%s", line, healthy)
		}
	}
	k.approval.tries = 0
	k.agent.cfg.Policy = policy.Policy{Keys: []string{kindPIV}}
	for _, line := range []string{
		`countersign_degraded{code="pin_locked"} 1`, `countersign_degraded{code="key_forbidden"} 1`, `countersign_degraded{code="server"} 0`, `countersign_degraded{code="other"} 0`,
		`countersign_profiles{state="held_off",provider="tpm",pin_counter="index",touch="false",attested="false"} 1`,
	} {
		if got := k.metrics(); !strings.Contains(got, line+"\n") {
			t.Errorf("without %s:\n%s", line, got)
		}
	}
	clear(k.chip.keys)
	if got := k.metrics(); !strings.Contains(got, `countersign_degraded{code="tpm_cleared"} 1`) {
		t.Errorf("a cleared chip:\n%s", got)
	}
}

// TestChipIsLookedAtSeldom: the metrics do not keep a chip awake.
func TestChipIsLookedAtSeldom(t *testing.T) {
	k := newKit(t)
	c := &collector{Agent: k.agent, started: time.Now()}
	c.collect(t.Context())
	clear(k.chip.keys)
	c.collect(t.Context())
	if got := c.last.checks; len(got) == 0 || got[0].Status != ipc.CheckOK {
		t.Errorf("looked again: %+v", got)
	}
	c.last.taken -= lookEvery
	c.collect(t.Context())
	if _, found := find(c.last.checks, checkCleared); !found {
		t.Errorf("not looked again after %v: %+v", lookEvery, c.last.checks)
	}
}
