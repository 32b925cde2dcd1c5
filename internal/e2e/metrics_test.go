package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// TestMetrics: what a service at work writes for node_exporter is what Prometheus
// reads, and tells of nobody. At the end of the service the file goes.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p, d := newPortal(t, s), newDevice(t)
	file := filepath.Join(d.dir, "countersign.prom")
	d.config = filepath.Join(d.dir, "countersignd.toml")
	if err := os.WriteFile(d.config, fmt.Appendf(nil, "[metrics]\ntextfile = %q\ninterval = \"15s\"\n", file), 0o600); err != nil {
		t.Fatal(err)
	}
	d.start()
	d.enroll(s.link())
	tx := arrived(d, p)
	if a := d.approveWith("000000", tx).want(t, 1); a.code() != "wrong_pin" {
		t.Fatal(a.stdout)
	}
	d.approve(tx).ok(t)
	read := func() string {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	const approved = `countersign_decisions_answered_total{decision="approve",class="C2",result="approved"} 1`
	got := read()
	limit := time.After(time.Minute)
	for tick := time.NewTicker(time.Second); !strings.Contains(got, approved); got = read() {
		select {
		case <-tick.C: // it is written every 15 s
		case <-limit:
			t.Fatalf("not after a minute:\n%s", got)
		}
	}
	for _, line := range []string{
		approved, "countersign_pin_wrong_total 1", `countersign_requests_received_total{class="C2"} 1`, "countersign_profiles_connected 1", "countersign_decisions_undelivered 0",
		`countersign_chip_reachable{provider="tpm"} 1`, "countersign_audit_ok 1", `countersign_degraded{code="server"} 0`,
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("without %s:\n%s", line, got)
		}
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader(got)); err != nil {
		t.Error(err)
	}
	stored := d.profile()
	host, _ := os.Hostname()
	for _, secret := range []string{"alice", "127.0.0.1", "bank-", p.id, stored.ID, stored.Device, tx.ID, tx.Number, host, d.dir, pin, "000000"} {
		if secret != "" && strings.Contains(got, secret) {
			t.Errorf("%q is in the metrics:\n%s", secret, got)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
	d.proc.stop()
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("it stays: %v", err)
	}
}
