package testenv

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// Exchange is one command that reached the proxy, with the TPM's answer.
type Exchange struct {
	Code     tpm2.TPMCC
	Handles  []tpm2.TPMHandle
	RC       tpm2.TPMRC
	Command  []byte
	Response []byte // empty when the TPM gave none
}

// Fault is something that goes wrong once between a program and its TPM.
type Fault int

// The faults a TPMRecorder can cause.
const (
	// CutBefore drops the connection; the TPM never sees the command.
	CutBefore Fault = iota + 1
	// CutAfter lets the TPM act, swallows its answer and drops the connection.
	CutAfter
	// Hang lets the TPM act and never answers, until the program hangs up.
	Hang
	// Retry answers TPM_RC_RETRY in the TPM's place.
	Retry
	// Reset cuts the TPM's power and starts it again before it gets the command,
	// while the program's connection holds, as behind a resource manager.
	Reset
)

// AnyCommand makes a fault wait for whatever command comes next.
const AnyCommand tpm2.TPMCC = 0

// TPMRecorder is an interposer: a socket in front of a TPM that passes every
// command on and writes it down, byte for byte, with its answer.
type TPMRecorder struct {
	tpm  *SWTPM
	path string
	ln   net.Listener

	mu     sync.Mutex
	log    []Exchange
	keys   keyTracker
	fault  Fault
	victim tpm2.TPMCC
	answer map[tpm2.TPMCC]tpm2.TPMRC
	tamper func(Exchange) []byte
	slow   time.Duration
	open   map[net.Conn]bool
	wg     sync.WaitGroup
}

// RecordTPM puts a recorder in front of a TPM for the rest of the test.
func RecordTPM(tb testing.TB, tpm *SWTPM) *TPMRecorder {
	tb.Helper()
	r := &TPMRecorder{
		tpm:  tpm,
		path: filepath.Join(tempDir(tb), "rec.sock"),
		keys: newKeyTracker(),
		open: map[net.Conn]bool{},
	}
	var err error
	if r.ln, err = net.Listen("unix", r.path); err != nil {
		tb.Fatal(err)
	}
	r.wg.Go(r.accept)
	tb.Cleanup(r.close)
	return r
}

// Spec is the recorded TPM as the service's configuration names it.
func (r *TPMRecorder) Spec() string { return "swtpm:" + r.path }

// Inject makes the next command with this code meet the fault, once.
func (r *TPMRecorder) Inject(code tpm2.TPMCC, fault Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.victim, r.fault = code, fault
}

// Answer makes the recorder answer each command with this code itself, with the
// response code and nothing else. The code 0 lets the TPM answer again.
func (r *TPMRecorder) Answer(code tpm2.TPMCC, rc tpm2.TPMRC) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answer == nil {
		r.answer = map[tpm2.TPMCC]tpm2.TPMRC{}
	}
	r.answer[code] = rc
}

// Tamper makes the program get what f returns in place of each response.
func (r *TPMRecorder) Tamper(f func(Exchange) []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tamper = f
}

// Slow makes the recorder hold each command for so long before the TPM gets it,
// unless the program hangs up. It is for the commands that come from now on.
func (r *TPMRecorder) Slow(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slow = d
}

// hold waits as long as Slow says. A program says nothing while it waits for an
// answer, so that whatever can be read is its end.
func (r *TPMRecorder) hold(client net.Conn) error {
	r.mu.Lock()
	slow := r.slow
	r.mu.Unlock()
	if slow == 0 {
		return nil
	}
	if err := client.SetReadDeadline(time.Now().Add(slow)); err != nil {
		return err
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("held until the client gave up: %w", err)
	}
	return client.SetReadDeadline(time.Time{})
}

// Log returns what was exchanged so far, in order.
func (r *TPMRecorder) Log() []Exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.log)
}

// Count returns how many commands with this code were sent.
func (r *TPMRecorder) Count(code tpm2.TPMCC) int {
	n := 0
	for _, x := range r.Log() {
		if x.Code == code {
			n++
		}
	}
	return n
}

// Contains reports whether the bytes ever crossed the wire, in either
// direction, within one message.
func (r *TPMRecorder) Contains(b []byte) bool {
	return slices.ContainsFunc(r.Log(), func(x Exchange) bool {
		return bytes.Contains(x.Command, b) || bytes.Contains(x.Response, b)
	})
}

// SuccessfulSigns returns how many signatures the TPM made with the private
// half of pub since the recorder started.
func (r *TPMRecorder) SuccessfulSigns(pub *ecdsa.PublicKey) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys.signs[pointOf(pub)]
}

func (r *TPMRecorder) accept() {
	for {
		c, err := r.ln.Accept()
		if err != nil {
			return
		}
		r.wg.Go(func() { r.serve(c) })
	}
}

func (r *TPMRecorder) close() {
	_ = r.ln.Close()
	r.mu.Lock()
	for c := range r.open {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

func (r *TPMRecorder) track(c net.Conn, on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if on {
		r.open[c] = true
		return
	}
	delete(r.open, c)
	_ = c.Close()
}

func (r *TPMRecorder) serve(client net.Conn) {
	r.track(client, true)
	defer r.track(client, false)
	tpm := &upstream{r: r}
	defer tpm.hangUp()
	if tpm.dial() != nil {
		return
	}
	// A client that hangs up while it waits frees the TPM at once.
	for r.relay(client, tpm) == nil {
	}
}

func (r *TPMRecorder) relay(client net.Conn, tpm *upstream) error {
	cmd, err := readMessage(client)
	if err != nil {
		return err
	}
	if err := r.hold(client); err != nil {
		return err
	}
	fault, rc := r.faultFor(codeOf(cmd))
	switch {
	case fault == CutBefore:
		r.record(cmd, nil)
		return io.ErrClosedPipe
	case rc != 0:
		rsp := bareResponse(rc)
		r.record(cmd, rsp)
		_, err := client.Write(rsp)
		return err
	case fault == Reset:
		if err := tpm.reset(); err != nil {
			return err
		}
	}
	rsp, err := tpm.exchange(cmd)
	x := r.record(cmd, rsp)
	if err != nil {
		return err
	}
	switch fault {
	case CutAfter:
		return io.ErrClosedPipe
	case Hang:
		_, err := client.Read(make([]byte, 1))
		return fmt.Errorf("hung until the client gave up: %w", err)
	}
	_, err = client.Write(r.tampered(x))
	return err
}

func (r *TPMRecorder) tampered(x Exchange) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tamper == nil {
		return x.Response
	}
	return r.tamper(x)
}

// faultFor returns what is to go wrong with this command, and the response code
// to give in the TPM's place, if any.
func (r *TPMRecorder) faultFor(code tpm2.TPMCC) (Fault, tpm2.TPMRC) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fault == 0 || (r.victim != AnyCommand && r.victim != code) {
		return 0, r.answer[code]
	}
	fault := r.fault
	r.fault = 0
	if fault == Retry {
		return fault, tpm2.TPMRCRetry
	}
	return fault, r.answer[code]
}

func (r *TPMRecorder) record(cmd, rsp []byte) Exchange {
	x := Exchange{Code: codeOf(cmd), Handles: handlesOf(cmd), Command: cmd, Response: rsp}
	if len(rsp) >= headerSize {
		x.RC = tpm2.TPMRC(binary.BigEndian.Uint32(rsp[6:]))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, x)
	if len(rsp) >= headerSize && x.RC == tpm2.TPMRCSuccess {
		r.keys.observe(x)
	}
	return x
}

// headerSize is the size of every command's and response's header: tag, size,
// code (TPM 2.0 Part 1, 18).
const headerSize = 10

func readMessage(r io.Reader) ([]byte, error) {
	head := make([]byte, headerSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[2:])
	if size < headerSize || size > 64<<10 {
		return nil, fmt.Errorf("TPM message of %d bytes", size)
	}
	msg := append(head, make([]byte, size-headerSize)...)
	_, err := io.ReadFull(r, msg[headerSize:])
	return msg, err
}

// bareResponse is a response of a code and nothing else.
func bareResponse(rc tpm2.TPMRC) []byte {
	rsp := binary.BigEndian.AppendUint16(nil, uint16(tpm2.TPMSTNoSessions))
	rsp = binary.BigEndian.AppendUint32(rsp, headerSize)
	return binary.BigEndian.AppendUint32(rsp, uint32(rc))
}

func codeOf(cmd []byte) tpm2.TPMCC { return tpm2.TPMCC(binary.BigEndian.Uint32(cmd[6:])) }
