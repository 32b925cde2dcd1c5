package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countersign/internal/testenv"
)

// TestMachineSaysWhatIsInTheWay of its server, as users are told.
func TestMachineSaysWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	n := newInternet(t)
	s := n.serve(serverIP)
	plain := testenv.StartTinyproxy(t, n.middle, gateway+":3128")
	cert, _ := authority(t, gateway)
	tlsFront(n, gateway+":3129", cert, plain.Address)
	d := n.computer("")
	d.fleet(s, s.machineToken(1).text("token"), "[network]", `proxy = "http://`+gateway+`:3129"`)
	d.start()
	d.waitMachine("waiting_network")
	c := d.check("machine")
	if detail, _ := c["detail"].(string); !strings.Contains(detail, "wrong scheme") || !strings.Contains(c["cure"].(string), "write https://"+gateway+":3129") {
		t.Errorf("doctor says %v", c)
	}
}

// TestMachineFollowsItsServer to another name, and tells that one.
func TestMachineFollowsItsServer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	d := newDevice(t)
	d.fleet(s, s.machineToken(1).text("token"))
	d.start()
	d.waitMachine("enrolled")
	d.waitReported()
	if m := d.machine(); m["server"] != s.device {
		t.Errorf("before, its server is %v", m["server"])
	}
	port := func(url string) string { return url[strings.LastIndex(url, ":"):] }
	next := "https://localhost" + port(s.device)
	s.command("", "trust", "move", "--issuer", "https://localhost"+port(s.issuer), "--device-url", next).ok(t)
	told := func(when string) {
		t.Helper()
		testenv.Eventually(t, "the machine to tell the new name "+when, func() bool {
			m := d.machine()
			detail, _ := d.check("machine")["detail"].(string)
			return m["server"] == next && strings.Contains(detail, "enrolled at localhost as") && m["state"] == "enrolled"
		})
	}
	d.proc.stop()
	d.start()
	told("once it hears of it")
	d.proc.stop()
	s.proc.stop()
	d.start()
	if m, c := d.machine(), d.check("machine"); m["server"] != next || !strings.Contains(c["detail"].(string), "localhost") {
		t.Errorf("before it has reached it, the machine is %v, and doctor says %v", m, c)
	}
}

// TestMachineIsBack: an outage of which the server need not hear leaves no trace.
func TestMachineIsBack(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	d := newDevice(t)
	d.fleet(s, s.machineToken(1).text("token"))
	d.start()
	d.waitMachine("enrolled")
	d.enroll(s.link())
	d.connected()
	testenv.Eventually(t, "the user to be counted", func() bool { return s.machines()[0]["users"] == 1.0 })
	s.proc.kill()
	d.fails("server")
	s.again()
	d.connected() // which has the machine look, in a moment
	s.proc.kill()
	testenv.Eventually(t, "the machine to miss the server", func() bool { return d.check("machine")["status"] == "warn" })
	<-time.After(20 * time.Second) // by then it asks less often than the profile does
	s.again()
	d.connected()
	testenv.Eventually(t, "the machine to be back", func() bool { return d.check("machine")["status"] == "ok" })
}

// TestMachineSurvivesAKillAtEachStep: afterwards the computer enrolls, and is one
// machine, counted once.
func TestMachineSurvivesAKillAtEachStep(t *testing.T) {
	testenv.Need(t, "strace")
	t.Parallel()
	s := startServer(t)
	n, kills := 0, 0
	for killed := true; killed; kills++ {
		n += testenv.Stride(12)
		made := s.machineToken(1)
		d := newDevice(t)
		d.plain = true
		d.tokenFile(s, made.text("token"), fmt.Sprint("m", n))
		tr := d.startTraced()
		tr.arm(n)
		testenv.Eventually(t, "the kill, or a report", func() bool {
			if _, killed = tr.killed(); killed {
				return true
			}
			return strings.Contains(d.log.String(), "state=enrolled") && d.machine()["reported_at"] != nil
		})
		after, _ := tr.killed()
		d.proc.kill()
		d.start()
		d.waitMachine("enrolled")
		d.waitReported()
		d.oneMachine(s, fmt.Sprint("m", n), after)
		for _, left := range []string{"enrolling.json", "refused.json"} {
			if _, err := os.Stat(filepath.Join(d.state(), "machine", left)); err == nil {
				t.Errorf("killed after %s: %s is left", after, left)
			}
		}
		d.proc.kill()
		d.tpm.Kill()
	}
	t.Logf("killed %d times, at steps up to %d", kills-1, n)
	if n < 15 {
		t.Errorf("only %d steps were seen: the tracer misses some", n)
	}
}

func (d *device) oneMachine(s *server, name, after string) {
	d.tb.Helper()
	n := 0
	for _, m := range s.machines() {
		if m["name"] == name && m["state"] == "active" {
			n++
		}
	}
	if n != 1 {
		d.tb.Fatalf("killed after %s: the operator sees it %d times", after, n)
	}
}

// tokenFile is fleet with the token in a file, for a service that a tracer starts.
// The first call waits, so that the tracer is armed by then.
func (d *device) tokenFile(s *server, token, name string) {
	d.tb.Helper()
	file := filepath.Join(d.dir, "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		d.tb.Fatal(err)
	}
	d.fleet(s, token, fmt.Sprintf("enrollment_token_file = %q", file), fmt.Sprintf("name = %q", name))
	d.env = nil
	data, err := os.ReadFile(d.config)
	if err == nil {
		err = os.WriteFile(d.config, []byte(strings.Replace(string(data), `"0s"`, `"600ms"`, 1)), 0o600)
	}
	if err != nil {
		d.tb.Fatal(err)
	}
}

// TestFleetFollowsItsServer: a machine that is online hears of the server's next
// root and key, and one that was off for all of it comes back by itself. The server
// does not forget that machines depend on what it wants to retire.
func TestFleetFollowsItsServer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	token := s.machineToken(2).text("token")
	online, laptop := newDevice(t), newDevice(t)
	for _, d := range []*device{online, laptop} {
		d.fleet(s, token)
		d.start()
		d.waitReported()
	}
	id := laptop.machine()["id"].(string)
	laptop.proc.stop()
	s.command("", "tls-root", "prepare").ok(t)
	// Nothing tells a machine but its own next call.
	online.proc.stop()
	online.start()
	online.waitReported()
	if a := s.command("", "tls-root", "retire", "--json").want(t, 1); a.code() != "devices_behind" || !strings.Contains(a.stdout, id) {
		t.Errorf("while the laptop does not know the next root: %s", a.stdout)
	}
	s.command("", "tls-root", "switch").ok(t)
	s.command("", "issuer-key", "rotate").ok(t)
	s.command("", "tls-root", "retire", "--force").ok(t)
	for _, d := range []*device{online, laptop} {
		if d == online {
			d.proc.stop()
		}
		d.start()
		d.waitReported()
		if c := d.check("machine"); c["status"] != "ok" {
			t.Errorf("doctor says %v", c)
		}
	}
	if list := s.machines(); len(list) != 2 {
		t.Errorf("the operator sees %v", list)
	}
}
