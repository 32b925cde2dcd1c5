package e2e

import (
	"context"
	"net/http"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"countersign/internal/secret"
	"countersign/internal/testenv"
	"countersign/ipc"
)

// What is promised for the time of an outage. The machine that runs the tests
// has other work too, so that a test fails at twice as much; what was measured
// is in its log.
const (
	refusedWithin = 5 * time.Second
	shownWithin   = 200 * time.Millisecond
	backWithin    = 5 * time.Second
	ourPatience   = 2
)

// outage is one part that is away for a while.
type outage struct {
	name string
	// disk puts the state of the service, or of the server, on a small disk.
	serviceDisk, serverDisk bool
	begin, end              func(w *outageWorld)
	// code is what deciding is refused with meanwhile; "" where it is decided,
	// and said to be unconfirmed.
	code string
	// start is what starting a transaction is refused with; "" where it is not.
	start string
}

func outages() []outage {
	return []outage{
		{
			name: "TPM away", code: ipc.CodeChipUnavailable,
			begin: func(w *outageWorld) { w.device.tpm.Kill() },
			end:   func(w *outageWorld) { w.device.tpm.Start() },
		},
		{
			name: "TPM slow", code: ipc.CodeChipUnavailable,
			begin: func(w *outageWorld) { w.device.wire.Slow(30 * time.Second) },
			end:   func(w *outageWorld) { w.device.wire.Slow(0) },
		},
		{
			name:  "server away",
			begin: func(w *outageWorld) { w.server.proc.kill() },
			end:   func(w *outageWorld) { w.server.again() },
		},
		{
			name:  "server takes connections and says nothing",
			begin: func(w *outageWorld) { w.signal(syscall.SIGSTOP) },
			end:   func(w *outageWorld) { w.signal(syscall.SIGCONT) },
		},
		{
			name: "disk of the service full", serviceDisk: true, code: ipc.CodeStorage,
			begin: func(w *outageWorld) { w.small.fill() },
			end:   func(w *outageWorld) { w.small.makeRoom() },
		},
		{
			name: "disk of the service read-only", serviceDisk: true, code: ipc.CodeStorage,
			begin: func(w *outageWorld) { w.small.protect() },
			end:   func(w *outageWorld) { w.small.unprotect() },
		},
		{
			name: "disk of the server full", serverDisk: true, start: "storage_failed",
			begin: func(w *outageWorld) { w.small.fill() },
			end:   func(w *outageWorld) { w.small.makeRoom() },
		},
	}
}

// TestOutages takes one part away at a time. What cannot be done is refused
// soon and by name, what can be shown is shown at once, what was decided is
// kept, and all is well soon after.
func TestOutages(t *testing.T) {
	t.Parallel()
	for _, o := range outages() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			w := newOutageWorld(t, o)
			first, second := w.portal.begin("login"), w.portal.begin("login")
			w.device.waitFor(first.ID)
			w.device.waitFor(second.ID)
			o.begin(w)
			refused := make(chan struct{})
			go func() {
				defer close(refused)
				w.refused(o, first)
			}()
			w.glance(first.ID, refused)
			if o.start != "" {
				w.notStarted(o.start)
			}
			o.end(w)
			w.back(o, first, second)
		})
	}
}

type outageWorld struct {
	t      *testing.T
	server *server
	device *device
	portal *portal
	caller *ipc.Caller
	small  disk
}

func newOutageWorld(t *testing.T, o outage) *outageWorld {
	t.Helper()
	w := &outageWorld{t: t}
	if o.serverDisk {
		w.server = startServerOnDisk(t, "1m")
		w.small = *w.server.small
	} else {
		w.server = startServerOn(t, quietAddress(t), quietAddress(t))
	}
	w.device = newDevice(t)
	if o.serviceDisk {
		w.device.startOnDisk("1m")
		w.small = disk{t, w.device.proc.cmd.Process.Pid, w.device.state()}
	} else {
		w.device.start()
	}
	w.device.enroll(w.server.link())
	w.portal = newPortal(t, w.server)
	w.caller = ipc.Dial(w.device.socket())
	return w
}

func (w *outageWorld) signal(sig syscall.Signal) {
	if err := w.server.proc.cmd.Process.Signal(sig); err != nil {
		w.t.Error(err)
	}
}

// startOnDisk is start with a small disk for the state.
func (d *device) startOnDisk(size string) {
	d.tb.Helper()
	d.proc = startCommand(d.tb, d.log, smallDisk(d.tb, d.state(), size, d.program(), d.args()...))
	d.proc.expect("ready")
}

// decide approves, as the prompt does.
func (w *outageWorld) decide(t transaction) (ipc.Result, error) {
	return w.decideWith(t, ipc.Answer{Decision: ipc.Approve, Number: t.Number, PIN: secret.New([]byte(pin))})
}

func (w *outageWorld) decideWith(t transaction, a ipc.Answer) (ipc.Result, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	shown, err := w.caller.Show(ctx, t.ID, ipc.View{})
	if err != nil {
		return ipc.Result{}, err
	}
	a.RequestHash, a.DisplayHash = shown.RequestHash, shown.DisplayHash
	a.Language, a.TimeZone, a.Surface = shown.Language, shown.TimeZone, ipc.SurfaceTTY
	return w.caller.Decide(ctx, t.ID, a)
}

// refused decides during the outage.
func (w *outageWorld) refused(o outage, t transaction) {
	began := time.Now()
	r, err := w.decide(t)
	took := time.Since(began)
	w.t.Logf("deciding said %q, %+v after %s", codeOf(err), r, took.Round(time.Millisecond))
	switch {
	case o.code == "" && (err != nil || r.Confirmed || r.Status != "unconfirmed"):
		w.t.Errorf("deciding: %+v, %v; want it unconfirmed", r, err)
	case o.code != "" && codeOf(err) != o.code:
		w.t.Errorf("deciding: %+v, %v; want the code %s", r, err, o.code)
	case o.code != "" && took > ourPatience*refusedWithin:
		w.t.Errorf("refused after %s", took)
	}
}

// glance asks what a prompt asks, again and again until done, and measures.
func (w *outageWorld) glance(id string, done <-chan struct{}) {
	w.t.Helper()
	took := map[string][]time.Duration{}
	measure := func(name string, call func() error) {
		began := time.Now()
		if err := call(); err != nil {
			w.t.Errorf("%s during the outage: %v", name, err)
		}
		took[name] = append(took[name], time.Since(began))
	}
	for n := 0; ; n++ {
		measure("status", func() error { _, err := w.caller.Status(w.t.Context()); return err })
		measure("requests", func() error { _, err := w.caller.Requests(w.t.Context(), true); return err })
		measure("show", func() error { _, err := w.caller.Show(w.t.Context(), id, ipc.View{}); return err })
		select {
		case <-done:
			if n < 5 {
				continue
			}
		case <-time.After(50 * time.Millisecond):
			continue
		}
		break
	}
	for name, list := range took {
		slices.Sort(list)
		w.t.Logf("%s: median %s, longest %s of %d", name, quantile(list, 50), quantile(list, 100), len(list))
		if quantile(list, 50) > shownWithin {
			w.t.Errorf("%s took %s", name, quantile(list, 50))
		}
	}
}

// notStarted demands that the server refuses what it cannot keep.
func (w *outageWorld) notStarted(code string) {
	w.t.Helper()
	got := w.portal.call("POST", "/v1/transactions", "", body("type", "login"))
	if got.http != http.StatusServiceUnavailable || got.Code != code {
		w.t.Errorf("starting: %d %s", got.http, got.raw)
	}
}

// back demands that what was decided is delivered, or can be decided now, and
// the next thing too.
func (w *outageWorld) back(o outage, first, second transaction) {
	w.t.Helper()
	began := time.Now()
	for _, t := range []transaction{first, second} {
		testenv.Eventually(w.t, "the transaction to be approved", func() bool {
			if got, err := w.portal.try(w.t.Context(), "GET", "/v1/transactions/"+t.ID, "", nil); err == nil && got.Status == "approved" {
				return true
			}
			if o.code != "" || t.ID == second.ID {
				_, _ = w.decide(t)
			}
			return false
		})
		w.portal.verified(w.portal.get(t.ID))
		if t.ID == first.ID {
			took := time.Since(began)
			w.t.Logf("back after %s", took.Round(time.Millisecond))
			if took > ourPatience*backWithin {
				w.t.Errorf("back after %s", took)
			}
		}
	}
	testenv.Eventually(w.t, "the audit log to be whole", func() bool {
		report, err := w.caller.VerifyLog(w.t.Context())
		return err == nil && report.OK
	})
}

// startServerOnDisk is startServer with a small disk for the data, which the
// server's commands see as the server does.
func startServerOnDisk(tb testing.TB, size string) *server {
	tb.Helper()
	s := &server{tb: tb, data: filepath.Join(tb.TempDir(), "server"), log: new(testenv.Log)}
	s.proc = startCommand(tb, s.log, smallDisk(tb, s.data, size, filepath.Join(bin, "countersign-server"),
		"serve", "--data", s.data, "--listen", quietAddress(tb), "--device-listen", quietAddress(tb)))
	s.read()
	s.small = &disk{tb, s.proc.cmd.Process.Pid, s.data}
	s.command("", "user", "add", "alice").ok(tb)
	return s
}

// TestLockedOut: after five wrong PINs the right one is refused by name and at
// once, the rest works as before, and enrolling again is the way back.
func TestLockedOut(t *testing.T) {
	t.Parallel()
	o := outage{name: "locked out", code: ipc.CodePINLocked}
	w := newOutageWorld(t, o)
	first, second := w.portal.begin("login"), w.portal.begin("login")
	w.device.waitFor(first.ID)
	w.device.waitFor(second.ID)
	for range 5 {
		_, err := w.decideWith(first, ipc.Answer{Decision: ipc.Approve, Number: first.Number, PIN: secret.New([]byte("000000"))})
		if codeOf(err) != ipc.CodeWrongPIN {
			t.Fatalf("a wrong PIN: %v", err)
		}
	}
	w.unthrottled()
	refused := make(chan struct{})
	go func() {
		defer close(refused)
		w.refused(o, first)
	}()
	w.glance(first.ID, refused)
	if r, err := w.decideWith(second, ipc.Answer{Decision: ipc.Deny, Reason: ipc.Cancelled}); err != nil || !r.Confirmed {
		t.Errorf("denying takes no PIN: %+v, %v", r, err)
	}
	w.device.enroll(w.server.link("--replace", w.device.profile().Device))
	third := w.portal.begin("login")
	w.device.waitFor(third.ID)
	if r, err := w.decide(third); err != nil || !r.Confirmed {
		t.Errorf("after enrolling again: %+v, %v", r, err)
	}
}

// unthrottled has the service forget how lately a wrong PIN was typed, which
// would keep the next one waiting.
func (w *outageWorld) unthrottled() {
	w.t.Helper()
	w.device.proc.kill()
	w.device.start()
	w.device.waitFor(w.portal.begin("login").ID)
}
