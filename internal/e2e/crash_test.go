package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"countersign/internal/testenv"
)

// The service is killed after each step that leaves a trace outside of it:
// every fsync, rename and removal, and every write to a socket, which is the
// server's, the TPM's or a caller's. strace lists the steps, and holds the
// thread for a moment after each, so that the kill comes before the next.
const (
	calls = "fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,write,writev,sendto,sendmsg"
	hold  = "20000" // microseconds
)

// step matches the lines of strace that count: a file step, or a write to a
// socket. The line is printed when the call has returned.
var step = regexp.MustCompile(`^\d+ +(fsync|fdatasync|rename|renameat|renameat2|unlink|unlinkat)\(|^\d+ +(write|writev|sendto|sendmsg)\(\d+<(socket|TCP|UNIX)`)

// tracer kills a service at a step.
type tracer struct {
	// only, where not nil, are the steps that count in place of step.
	only  *regexp.Regexp
	mu    sync.Mutex
	armed bool
	left  int // steps until the kill; 0 or less is never
	seen  []string
	fired bool
}

// arm counts from here and kills at the nth step.
func (tr *tracer) arm(n int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.armed, tr.left = true, n
}

// armOnly is arm for some of the steps.
func (tr *tracer) armOnly(only *regexp.Regexp, n int) {
	tr.arm(n)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.only = only
}

// killed reports whether the kill has come, and the step it came after.
func (tr *tracer) killed() (string, bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if !tr.fired {
		return "", false
	}
	return tr.seen[len(tr.seen)-1], true
}

// read follows strace's output.
func (tr *tracer) read(out *os.File, kill func()) {
	defer out.Close()
	for sc := bufio.NewScanner(out); sc.Scan(); {
		tr.mu.Lock()
		if tr.counts(sc.Text()) && tr.armed && !tr.fired {
			tr.seen = append(tr.seen, sc.Text())
			if tr.left--; tr.left == 0 {
				tr.fired = true
				kill()
			}
		}
		tr.mu.Unlock()
	}
}

// counts reports whether a line is a step. It expects tr.mu held.
func (tr *tracer) counts(line string) bool {
	if tr.only != nil {
		return tr.only.MatchString(line)
	}
	return step.MatchString(line)
}

// startTraced starts the device's service under a tracer.
func (d *device) startTraced() *tracer {
	d.tb.Helper()
	var tr *tracer
	d.proc, tr = startUnderTrace(d.tb, d.log, calls, hold, d.program(), d.args()...)
	d.proc.expect("ready")
	return tr
}

// startUnderTrace starts a program whose steps are these system calls, and
// which is held for a while after each.
func startUnderTrace(tb testing.TB, log *testenv.Log, calls, hold, program string, args ...string) (*process, *tracer) {
	tb.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command("strace", append([]string{
		"-D", "-f", "-qq", "-yy", "-s", "0", "-e", "trace=" + calls, "-e", "inject=" + calls + ":delay_exit=" + hold,
		"-o", "/proc/self/fd/3", program,
	}, args...)...)
	cmd.ExtraFiles = []*os.File{w}
	p := startCommand(tb, log, cmd)
	_ = w.Close()
	tr := new(tracer)
	// With -D the process we started is the program, and strace its tracer.
	go tr.read(r, func() { _ = cmd.Process.Kill() })
	return p, tr
}

// crashWorld is one server, one portal and one device that is to be killed at steps
// of what it does.
func crashWorld(t *testing.T) (*server, *device, *portal) {
	t.Helper()
	testenv.Need(t, "strace")
	t.Parallel()
	s := startServer(t)
	d := newDevice(t)
	d.plain = true
	d.defineForeignIndex()
	d.start()
	return s, d, newPortal(t, s)
}

// TestEnrollmentSurvivesAKillAtEachStep: afterwards the enrollment is absent
// or usable, on both sides.
func TestEnrollmentSurvivesAKillAtEachStep(t *testing.T) {
	testenv.Need(t, "strace")
	t.Parallel()
	s := startServer(t)
	p := newPortal(t, s)
	n, kills := 0, 0
	for killed := true; killed; kills++ {
		n += testenv.Stride(8)
		user := fmt.Sprintf("user%d", n)
		s.command("", "user", "add", user).ok(t)
		d := newDevice(t)
		d.plain = true
		d.defineForeignIndex()
		killed = d.enrollAndDie(s, user, n)
		d.noLeftovers()
		d.afterEnrollment(s, p, user)
		d.proc.kill()
		d.tpm.Kill()
	}
	t.Logf("killed %d times, at steps up to %d", kills-1, n)
	if n < 20 {
		t.Errorf("only %d steps were seen: the tracer misses some", n)
	}
}

// enrollAndDie enrolls and kills the service at the nth step. It reports
// whether there were so many steps.
func (d *device) enrollAndDie(s *server, user string, n int) bool {
	d.tb.Helper()
	link := s.linkFor(user)
	tr := d.startTraced()
	tr.arm(n)
	a := d.cli(pin+"\n", "enroll", link, "--pin-stdin")
	after, killed := tr.killed()
	d.proc.kill()
	d.start()
	testenv.Eventually(d.tb, "the unfinished enrollment to end: "+after, func() bool {
		left, _ := filepath.Glob(filepath.Join(d.state(), "enrolling", "*"))
		return len(left) == 0
	})
	if a.status == 0 && d.count("profiles") != 1 {
		d.tb.Fatalf("killed after %s: enroll said done, and the profile is gone", after)
	}
	return killed
}

// defineForeignIndex makes an NV index of another program, where ours are.
func (d *device) defineForeignIndex() {
	d.tb.Helper()
	raw := d.tpm.Dial()
	defer raw.Close()
	_, err := tpm2.NVDefineSpace{
		AuthHandle: tpm2.TPMRHOwner,
		PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
			NVIndex: foreignIndex, NameAlg: tpm2.TPMAlgSHA256, DataSize: 8,
			Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true, NoDA: true},
		}),
	}.Execute(raw)
	if err != nil {
		d.tb.Fatal(err)
	}
}

// foreignIndex is in the range that belongs to owners; makers' are above.
const foreignIndex, lastOwnerIndex tpm2.TPMHandle = 0x01800042, 0x01bfffff

// noLeftovers demands that the chip holds an index for each profile and what is
// another program's, once the sweeper of the service has done its work.
func (d *device) noLeftovers() {
	d.tb.Helper()
	testenv.Eventually(d.tb, "the reservations to be settled", func() bool {
		left, _ := filepath.Glob(filepath.Join(d.state(), "reservations", "*"))
		return len(left) == 0
	})
	d.proc.kill()
	profiles, _ := filepath.Glob(filepath.Join(d.state(), "profiles", "*"))
	raw := d.tpm.Dial()
	indices := slices.DeleteFunc(raw.Indices(), func(h tpm2.TPMHandle) bool { return h > lastOwnerIndex })
	raw.Close()
	if len(indices) != len(profiles)+1 || !slices.Contains(indices, foreignIndex) {
		d.tb.Fatalf("%d profiles, and the chip holds the indices %x", len(profiles), indices)
	}
	d.start()
}

// count counts a list in a command's JSON.
func (d *device) count(list string) int {
	d.tb.Helper()
	l, _ := d.cli("", list).ok(d.tb).json[list].([]any)
	return len(l)
}

// afterEnrollment demands that device and server agree, and that the outcome
// can be used: the profile that is there, or a new enrollment.
func (d *device) afterEnrollment(s *server, p *portal, user string) {
	d.tb.Helper()
	local := d.count("profiles")
	if active := s.activeDevices(user); active != local {
		d.tb.Fatalf("%s: the device has %d profiles, the server %d active devices", user, local, active)
	}
	if local == 0 {
		d.cli(pin+"\n", "enroll", s.linkFor(user), "--pin-stdin").ok(d.tb)
	}
	tx := p.beginFor(user, "login")
	d.waitFor(tx.ID)
	d.approve(tx).ok(d.tb)
}

func (s *server) linkFor(user string) string {
	s.tb.Helper()
	return s.command("", "enrollment", "create", "--user", user, "--json").ok(s.tb).text("uri")
}

func (s *server) activeDevices(user string) (n int) {
	s.tb.Helper()
	list, _ := s.command("", "device", "list", "--json").ok(s.tb).json["devices"].([]any)
	for _, e := range list {
		m := e.(map[string]any)
		if m["user"] == user && m["state"] == "active" {
			n++
		}
	}
	return n
}

// TestDecisionSurvivesAKillAtEachStep: afterwards the request is pending, as
// if nobody had answered, or the decision reaches the server, once.
func TestDecisionSurvivesAKillAtEachStep(t *testing.T) {
	s, d, p := crashWorld(t)
	d.enroll(s.link())
	n, undecided, decided := 0, 0, 0
	for killed := true; killed; {
		n += testenv.Stride(3)
		d.proc.kill()
		tr := d.startTraced()
		tx := p.begin("login")
		d.waitFor(tx.ID)
		tr.arm(n)
		a := d.approve(tx)
		var after string
		after, killed = tr.killed()
		d.proc.kill()
		d.start()
		if a.status == 0 && p.now(tx.ID).Status != "approved" {
			t.Fatalf("killed after %s: approve said done, the server says %s", after, p.now(tx.ID).raw)
		}
		if d.settled(p, tx) {
			decided++
		} else {
			undecided++
			d.approve(tx).ok(t)
		}
		got := p.get(tx.ID)
		if got.Status != "approved" {
			t.Fatalf("killed after %s: the server says %s", after, got.raw)
		}
		testenv.Eventually(t, "the receipt: "+after, func() bool { return d.requests("--all")[tx.ID] == "approved" })
		if m := d.outboxEntries(tx); m != 1 {
			t.Errorf("killed after %s: %d decisions in the outbox, want one", after, m)
		}
	}
	t.Logf("killed at steps up to %d: %d times nothing was decided, %d times it was", n, undecided, decided)
	if undecided == 0 || decided == 0 || n < 10 {
		t.Error("the kills all came at the same stage: the tracer misses steps")
	}
}

// settled waits until the restarted service knows whether tx was decided.
func (d *device) settled(p *portal, tx transaction) bool {
	d.tb.Helper()
	decided := false
	testenv.Eventually(d.tb, "the request to be pending or decided", func() bool {
		switch d.requests("--all")[tx.ID] {
		case "pending":
			return true
		case "approved":
			decided = true
			return true
		case "":
			// Delivered, and forgotten by none: history comes from the outbox.
			decided = p.now(tx.ID).Status == "approved"
			return decided
		}
		return false
	})
	return decided
}

func (d *device) outboxEntries(tx transaction) (n int) {
	d.tb.Helper()
	files, err := filepath.Glob(filepath.Join(d.profile().dir, "outbox", "*.json"))
	if err != nil {
		d.tb.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			d.tb.Fatal(err)
		}
		if strings.Contains(string(data), tx.ID) {
			n++
		}
	}
	return n
}
