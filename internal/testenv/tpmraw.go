package testenv

import (
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// RawTPM is a direct line to a TPM for a test that plays the attacker or looks
// at what a program left behind. It implements go-tpm's transport.TPM.
type RawTPM struct {
	tb   testing.TB
	mu   sync.Mutex
	conn net.Conn
}

// Dial opens a direct line and holds it until Close or the end of the test.
// swtpm serves one connection at a time, so the program under test must have
// hung up, and must not be used before Close.
func (s *SWTPM) Dial() *RawTPM {
	s.tb.Helper()
	conn, err := net.Dial("unix", s.Socket())
	if err != nil {
		s.tb.Fatal(err)
	}
	r := &RawTPM{tb: s.tb, conn: conn}
	s.tb.Cleanup(r.Close)
	return r
}

// Send implements transport.TPM. It repeats a command the TPM asks to repeat,
// as a kernel would, and gives up on a TPM that stays silent for ten seconds,
// most likely because somebody else is connected.
func (r *RawTPM) Send(cmd []byte) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if err := r.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return nil, err
		}
		if _, err := r.conn.Write(cmd); err != nil {
			return nil, err
		}
		rsp, err := readMessage(r.conn)
		if err != nil || tpm2.TPMRC(binary.BigEndian.Uint32(rsp[6:])) != tpm2.TPMRCRetry {
			return rsp, err
		}
	}
}

// Close hangs up. Closing twice is no error.
func (r *RawTPM) Close() { _ = r.conn.Close() }

// Loaded lists the transient objects and sessions in the TPM.
func (r *RawTPM) Loaded() []tpm2.TPMHandle {
	r.tb.Helper()
	const loadedSessions, savedSessions, transients = 0x02000000, 0x03000000, 0x80000000
	var all []tpm2.TPMHandle
	for _, first := range []uint32{loadedSessions, savedSessions, transients} {
		all = append(all, r.handles(first)...)
	}
	return all
}

// Indices lists the NV indices in the TPM.
func (r *RawTPM) Indices() []tpm2.TPMHandle {
	r.tb.Helper()
	return r.handles(0x01000000)
}

func (r *RawTPM) handles(first uint32) []tpm2.TPMHandle {
	r.tb.Helper()
	rsp, err := tpm2.GetCapability{
		Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 64,
	}.Execute(r)
	if err != nil {
		r.tb.Fatal(err)
	}
	list, err := rsp.CapabilityData.Data.Handles()
	if err != nil {
		r.tb.Fatal(err)
	}
	return list.Handle
}

// LockoutCounter is the chip-wide dictionary-attack counter.
func (r *RawTPM) LockoutCounter() uint32 {
	r.tb.Helper()
	rsp, err := tpm2.GetCapability{
		Capability: tpm2.TPMCapTPMProperties, Property: uint32(tpm2.TPMPTLockoutCounter), PropertyCount: 1,
	}.Execute(r)
	if err != nil {
		r.tb.Fatal(err)
	}
	list, err := rsp.CapabilityData.Data.TPMProperties()
	if err != nil || len(list.TPMProperty) != 1 {
		r.tb.Fatalf("lockout counter: %v", err)
	}
	return list.TPMProperty[0].Value
}

// ChangeEPS gives the TPM another endorsement primary seed, as if it were another
// chip: other endorsement keys, of which no maker knows.
func (r *RawTPM) ChangeEPS() {
	r.tb.Helper()
	rsp, err := r.Send([]byte{
		0x80, 0x02, 0, 0, 0, 27, 0, 0, 0x01, 0x24, 0x40, 0, 0, 0x0c, // TPM2_ChangeEPS of the platform
		0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0, // with its password, which is empty
	})
	if err != nil || len(rsp) < 10 || binary.BigEndian.Uint32(rsp[6:]) != 0 {
		r.tb.Fatalf("change the endorsement primary seed: %x, %v", rsp, err)
	}
}
