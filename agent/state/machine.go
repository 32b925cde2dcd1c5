package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"countersign/hsm"
	"countersign/protocol"
)

// MachineKey is the key of a machine: it is in the chip, and takes no PIN.
type MachineKey struct {
	KeyFacts
	// Reference is what its back end opens it with.
	Reference []byte `json:"reference"`
}

// Machine is the computer's own enrollment, which belongs to no user.
type Machine struct {
	ID string `json:"id"`
	// Server and CA are what it was to enroll with.
	Server string `json:"server"`
	CA     []byte `json:"ca,omitempty"`
	// Issuer and DeviceURL are the server's, Root the only TLS root that is trusted
	// for it, DER; empty means the system's roots.
	Issuer    string          `json:"issuer"`
	DeviceURL string          `json:"device_url"`
	Root      []byte          `json:"root,omitempty"`
	JWKS      json.RawMessage `json:"jwks"`
	// Trust is the newest statement of the server on its own names and keys, and takes
	// the place of the four above; nil where there is none yet.
	Trust *protocol.Trust `json:"trust,omitempty"`
	// EK names the endorsement key, and Endorsement says who vouches for it.
	EK          string     `json:"ek"`
	Endorsement string     `json:"endorsement"`
	Key         MachineKey `json:"key"`
	// Chain is DER, leaf first.
	Chain      [][]byte  `json:"chain"`
	EnrolledAt time.Time `json:"enrolled_at"`
}

// URLs are where the server is, in the order of trying.
func (m *Machine) URLs() []string {
	if m.Trust == nil {
		return []string{m.DeviceURL}
	}
	return m.Trust.DeviceURLs
}

// Roots are the only TLS roots to trust for the server, DER; none are the system's.
func (m *Machine) Roots() (list [][]byte) {
	switch {
	case m.Trust != nil:
		for _, der := range m.Trust.TLSRoots {
			list = append(list, der)
		}
	case len(m.Root) > 0:
		list = [][]byte{m.Root}
	}
	return list
}

// ServerKeys are what the server's messages verify with.
func (m *Machine) ServerKeys() (protocol.Keys, error) {
	if m.Trust == nil {
		return protocol.ParseJWKS(m.JWKS)
	}
	return m.Trust.Keys.Parse()
}

// ServerName is the server's name, and seq the number of the statement that says
// so; 0 where there is none.
func (m *Machine) ServerName() (name string, seq int64) {
	if m.Trust == nil {
		return m.Issuer, 0
	}
	return m.Trust.Issuer, m.Trust.Seq
}

// MachineEnrollment is one under way, with all it takes to go on after a crash,
// but for the token, which stays where it was given.
type MachineEnrollment struct {
	Server string                `json:"server"`
	CA     []byte                `json:"ca,omitempty"`
	Key    MachineKey            `json:"key"`
	Start  protocol.MachineStart `json:"start"`
	Claim  hsm.Claim             `json:"claim"`
	// Started is the server's answer to the first step, Proof the chip's to the
	// challenge in it.
	Started *protocol.MachineStarted    `json:"started,omitempty"`
	Proof   *protocol.MachineActivation `json:"proof,omitempty"`
}

// MachineRefusal is the server's last word on a token.
type MachineRefusal struct {
	// Server is who said it, and Token the SHA-256 of the token.
	Server string    `json:"server"`
	Token  []byte    `json:"token"`
	Code   string    `json:"code"`
	Detail string    `json:"detail"`
	At     time.Time `json:"at"`
}

const (
	machineDir        = "machine"
	machineFile       = "machine.json"
	machineEnrolling  = "enrolling.json"
	machineRefusal    = "refused.json"
	machineDirMode    = 0o700
	errMachineContext = "state: machine: %w"
)

func (d *Dir) machineFile(name string) string { return filepath.Join(d.root, machineDir, name) }

// Machine reads the machine's enrollment; nil where there is none.
func (d *Dir) Machine() (*Machine, error) { return readMachine[Machine](d, machineFile) }

// MachineEnrollment reads the one under way; nil where there is none.
func (d *Dir) MachineEnrollment() (*MachineEnrollment, error) {
	return readMachine[MachineEnrollment](d, machineEnrolling)
}

// MachineRefusal reads the server's word on a token; nil where there is none.
func (d *Dir) MachineRefusal() (*MachineRefusal, error) {
	return readMachine[MachineRefusal](d, machineRefusal)
}

func readMachine[T any](d *Dir, name string) (*T, error) {
	v := new(T)
	err := readJSON(d.machineFile(name), v)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf(errMachineContext, err)
	}
	return v, nil
}

// SaveMachineEnrollment makes an enrollment durable, as far as it has come.
func (d *Dir) SaveMachineEnrollment(e *MachineEnrollment) error {
	return d.writeMachine(machineEnrolling, e)
}

// SaveMachineRefusal remembers what the server said of a token.
func (d *Dir) SaveMachineRefusal(r *MachineRefusal) error { return d.writeMachine(machineRefusal, r) }

// SaveMachine keeps the machine's enrollment, in place of one before, and ends the
// one under way. A crash in between leaves both, and the one under way is then
// done once more, which the server answers as before.
func (d *Dir) SaveMachine(m *Machine) error {
	if err := d.writeMachine(machineFile, m); err != nil {
		return err
	}
	return d.DropMachineEnrollment()
}

// DropMachineEnrollment forgets the enrollment under way, and what was refused.
func (d *Dir) DropMachineEnrollment() error {
	return d.removeMachine(machineEnrolling, machineRefusal)
}

// DropMachine forgets the machine's enrollment.
func (d *Dir) DropMachine() error { return d.removeMachine(machineFile) }

func (d *Dir) writeMachine(name string, v any) error {
	err := os.Mkdir(filepath.Join(d.root, machineDir), machineDirMode)
	if err == nil {
		err = syncDir(d.root)
	}
	if err == nil || errors.Is(err, os.ErrExist) {
		err = writeJSON(d.machineFile(name), v)
	}
	if err != nil {
		return fmt.Errorf(errMachineContext, err)
	}
	return nil
}

func (d *Dir) removeMachine(names ...string) error {
	if _, err := os.Stat(filepath.Join(d.root, machineDir)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, name := range names {
		if err := removeFile(d.machineFile(name)); err != nil {
			return fmt.Errorf(errMachineContext, err)
		}
	}
	return nil
}
