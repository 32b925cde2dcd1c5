package agent

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"countersign/agent/state"
	"countersign/internal/secret"
	"countersign/internal/testenv"
	"countersign/ipc"
	"countersign/protocol"
)

// shownCount is how many transactions TestShownIsWhatIsSigned makes.
const shownCount = 10_000 / slowdown

// sight is what the local API gave somebody to look at.
type sight struct {
	request, display string
	record           string
}

// witness holds what was shown and answered against what comes out signed. It
// uses nothing of the agent but the bytes that leave it.
type witness struct {
	k    *kit
	keys protocol.Keys

	mu     sync.Mutex
	seen   map[string]sight
	signed int
}

func newWitness(k *kit) *witness {
	k.t.Helper()
	keys, err := protocol.NewKeys(k.device.Public(), k.approval.Public())
	if err != nil {
		k.t.Fatal(err)
	}
	return &witness{k: k, keys: keys, seen: map[string]sight{}}
}

// saw remembers what was shown just before the answer goes out.
func (w *witness) saw(d ipc.Display) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[d.ID] = sight{request: d.RequestHash, display: d.DisplayHash, record: strings.Join(d.Lines, "\n") + "\n"}
}

// judge recomputes a signed decision from its evidence.
func (w *witness) judge(e state.Entry) error {
	d, err := protocol.ParseDecision(e.Decision, w.keys)
	if err != nil {
		return err
	}
	req, err := protocol.ParseRequest(e.Request, w.k.profile.keys)
	if err != nil {
		return err
	}
	record, err := protocol.Display(req, d.DisplayVersion, d.Language, d.TimeZone)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.signed++
	s, ok := w.seen[d.ID]
	switch {
	case !ok:
		return fmt.Errorf("%s is signed and was not shown", d.ID)
	case string(record.Bytes()) != s.record:
		return fmt.Errorf("%s: signed over %q, shown was %q", d.ID, record, s.record)
	case digest(s.record) != d.Display || s.display != d.Display:
		return fmt.Errorf("%s: the hash of the record is not the one signed", d.ID)
	case digest(e.Request) != d.Request || s.request != d.Request:
		return fmt.Errorf("%s: the hash of the request is not the one signed", d.ID)
	}
	delete(w.seen, d.ID) // a second decision about it would find nothing shown
	return d.Answers(e.Request, req)
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// deliver is the server's end: it judges each decision and acknowledges it.
func (w *witness) deliver(ctx context.Context) {
	p := w.k.profile
	for {
		e, err := p.outbox.next(ctx)
		if err != nil {
			return
		}
		if err := w.judge(e); err != nil {
			w.k.t.Error(err)
		}
		state := protocol.StateApproved
		if e.Verb == protocol.Deny {
			state = protocol.StateDenied
		}
		e, err = p.acknowledged(e, w.k.receipt(e, func(r *protocol.Receipt) { r.State = state }))
		if err == nil {
			err = p.outbox.answered(e, func() { p.tell(e) })
		}
		if err == nil {
			err = p.outbox.prune()
		}
		if err != nil {
			w.k.t.Error(err)
			return
		}
	}
}

// person answers requests through the socket, one after another.
type person struct {
	w       *witness
	service *ipc.Caller
	name    string
	stale   *atomic.Int64
	// before is the last thing looked at; its hashes are stale.
	before ipc.Display
}

// variants are requests of one id that differ in what they show or ask, as a
// server signs them that cannot make up its mind.
func (p *person) variants(id string, n int) []string {
	var out []string
	for i := range 2 {
		r := p.w.k.request(id, protocol.C0+protocol.Class((n+i)%3))
		r.Client.ID = p.name
		r.Message = fmt.Sprintf("Pay %d.00 EUR", n*2+i)
		r.IssuedAt += int64(i)
		r.ExpiresAt += int64(i)
		r.HighValue = i == 1
		out = append(out, p.w.k.sign(r))
	}
	return out
}

// transaction has a server list one id with several texts, before, while and
// after a person looks at it, and answers what was shown.
func (p *person) transaction(ctx context.Context, n int) error {
	id := fmt.Sprintf("%s-%d", p.name, n)
	variants := p.variants(id, n)
	var racing sync.WaitGroup
	defer racing.Wait()
	racing.Go(func() { p.w.k.profile.receive(variants[1], 1000, BootTime()) })
	p.w.k.profile.receive(variants[n%2], 1000, BootTime())
	languages, zones := protocol.Languages(), []string{"UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"}
	d, err := p.service.Show(ctx, id, ipc.View{Language: languages[n/2%len(languages)], TimeZone: zones[n%len(zones)]})
	if err != nil {
		return err
	}
	if err := p.mistaken(ctx, d, n, zones[(n+1)%len(zones)]); err != nil {
		return err
	}
	p.before = d
	p.w.saw(d)
	r, err := p.service.Decide(ctx, id, p.answer(d, n))
	for codeOf(err) == ipc.CodePINRequired { // others' denials raised it between two looks
		r, err = p.service.Decide(ctx, id, p.answer(d, n))
	}
	if err == nil && !r.Confirmed {
		err = fmt.Errorf("%s is %s", id, r.Status)
	}
	return err
}

// mistaken answers with what was shown of something else, or with another time
// zone than the one shown. Nothing of it may be signed.
func (p *person) mistaken(ctx context.Context, d ipc.Display, n int, zone string) error {
	a := p.answer(d, n)
	switch n % 3 {
	case 0:
		a.DisplayHash = p.before.DisplayHash
	case 1:
		a.RequestHash = p.before.RequestHash
	case 2:
		a.TimeZone = zone
	}
	_, err := p.service.Decide(ctx, d.ID, a)
	if code := codeOf(err); code != ipc.CodeMismatch {
		return fmt.Errorf("%s: an answer about something else: code %q", d.ID, code)
	}
	p.stale.Add(1)
	return nil
}

func (p *person) answer(d ipc.Display, n int) ipc.Answer {
	a := ipc.Answer{
		RequestHash: d.RequestHash, DisplayHash: d.DisplayHash, Language: d.Language, TimeZone: d.TimeZone,
		Decision: ipc.Approve, Surface: ipc.SurfacePrompt, Number: "123456789"[:d.NumberDigits],
		// Denials elsewhere may raise what this takes, after it was shown.
		PIN: secret.New([]byte(testPIN)),
	}
	if n%10 == 9 {
		a.Decision, a.Reason, a.Number, a.PIN = ipc.Deny, ipc.Cancelled, "", secret.Value{}
	}
	return a
}

// newShownKit is a kit of this process's own user, whose state is in memory
// where the machine has a place for that: what is counted here is not the disk's
// speed.
func newShownKit(t *testing.T) *kit {
	t.Helper()
	root, err := os.MkdirTemp("/dev/shm", "cs-")
	if err != nil {
		root = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	k := &kit{t: t, root: filepath.Join(root, "state"), chip: newSoftProvider(kindTPM), log: new(testenv.Log), server: newECDSA(t)}
	k.open()
	k.id = k.enroll("p_shown00", uint32(os.Getuid()), "https://127.0.0.1:1")
	k.start()
	k.agent.cfg.Log = slog.New(slog.DiscardHandler)
	return k
}

// serveAPI serves the local API on a socket until the test ends.
func (k *kit) serveAPI() (socket string) {
	k.t.Helper()
	dir, err := os.MkdirTemp("", "cs-")
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	h, err := ipc.NewHandler(k.agent.cfg.Log, k.agent.Routes())
	if err != nil {
		k.t.Fatal(err)
	}
	l, err := ipc.Listen(socket, 0o600)
	if err != nil {
		k.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- ipc.Serve(ctx, l, h) }()
	k.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			k.t.Error(err)
		}
	})
	return socket
}

// TestShownIsWhatIsSigned makes many transactions while the server changes each
// under its id and the person's programs answer with hashes of other records.
// Every decision that comes out is about what was shown, to the byte.
func TestShownIsWhatIsSigned(t *testing.T) {
	t.Parallel()
	k := newShownKit(t)
	socket := k.serveAPI()
	w := newWitness(k)
	ctx, cancel := context.WithCancel(t.Context())
	var delivery sync.WaitGroup
	delivery.Go(func() { w.deliver(ctx) })
	const people = 8
	var stale atomic.Int64
	var all sync.WaitGroup
	for i := range people {
		p := &person{w: w, service: ipc.Dial(socket), name: fmt.Sprint("client", i), stale: &stale}
		all.Go(func() {
			defer p.service.Close()
			for n := range shownCount / people {
				if err := p.transaction(ctx, n); err != nil {
					t.Errorf("%s: %v", p.name, err)
					return
				}
			}
		})
	}
	all.Wait()
	cancel()
	delivery.Wait()
	if w.signed != shownCount || len(w.seen) > 0 || stale.Load() != shownCount {
		t.Errorf("%d of %d were signed, %d shown were not, %d stale answers refused", w.signed, shownCount, len(w.seen), stale.Load())
	}
}
