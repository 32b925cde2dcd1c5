package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"countersign/agent/state"
	"countersign/hsm"
	"countersign/ipc"
	"countersign/protocol"
)

// TestNamesOfHardwareAreRoots: a machine that waits to be registered says by which
// name to whoever administers the computer, and to no other user.
func TestNamesOfHardwareAreRoots(t *testing.T) {
	k := newKit(t)
	name := "sha256:" + strings.Repeat("ab", 32)
	m := newMachine(k.agent, Fleet{Server: "https://fleet.example", Enroll: EnrollByEK})
	k.agent.machine, k.agent.cfg.Mode = m, "system"
	m.eks = []string{name}
	for _, code := range []string{protocol.ProblemMachineUnknown, protocol.ProblemMachineRevoked} {
		m.stand(m.refusal(&protocol.Problem{Code: code, Status: 403, Title: "no"}).machineStanding)
		for uid, wanted := range map[uint32]bool{0: true, testUID: false} {
			v, err := k.agent.getDoctor(nil, httptest.NewRequestWithContext(t.Context(), "GET", "/v1/doctor", nil), scopeOf(uid))
			if err != nil {
				t.Fatal(err)
			}
			c, ok := find(v.([]ipc.Check), checkMachine)
			if !ok || strings.Contains(c.Cure+c.Detail, name) != wanted {
				t.Errorf("%s: uid %d reads %+v", code, uid, c)
			}
		}
	}
}

// wrongChallenge is a chip that answers no challenge, for a reason.
type wrongChallenge struct {
	*softProvider
	why error
}

func (*wrongChallenge) Claim(context.Context, []hsm.Key) (hsm.Claim, error) { return hsm.Claim{}, nil }

func (w *wrongChallenge) Prove(context.Context, hsm.Claim, hsm.Challenge, []hsm.Key, hsm.Auth) (hsm.Proof, error) {
	return hsm.Proof{}, w.why
}

// TestWrongChallengeIsNotKept: a challenge that the chip cannot answer, as somebody in
// the server's place may have given, is asked for anew; one that it does not answer
// now is kept.
func TestWrongChallengeIsNotKept(t *testing.T) {
	for _, c := range []struct {
		why  error
		kept bool
	}{
		{errors.New("TPM_RC_INTEGRITY"), false},
		{fmt.Errorf("busy: %w", hsm.ErrUnavailable), true},
		{fmt.Errorf("slow: %w", context.DeadlineExceeded), true},
	} {
		k := newKit(t)
		key, err := k.chip.Create(t.Context(), hsm.Template{})
		if err != nil {
			t.Fatal(err)
		}
		k.agent.chips = chips{&wrongChallenge{k.chip, c.why}}
		m := newMachine(k.agent, Fleet{Server: "https://fleet.example", Enroll: EnrollByEK})
		some := protocol.Blob{1}
		e := &state.MachineEnrollment{
			Server: "https://fleet.example", Key: state.MachineKey{Reference: key.Reference()},
			Start:   protocol.MachineStart{CSR: some, EK: some, AK: some},
			Started: &protocol.MachineStarted{ID: "n_1", Challenge: some, Credential: protocol.Credential{Blob: some, Secret: some}},
		}
		if err := k.dir.SaveMachineEnrollment(e); err != nil {
			t.Fatal(err)
		}
		if err := m.prove(t.Context(), e); !errors.Is(err, c.why) {
			t.Errorf("%v: got %v", c.why, err)
		}
		stored, err := k.dir.MachineEnrollment()
		if err != nil || stored == nil || (stored.Started != nil) != c.kept {
			t.Errorf("%v: kept is %+v, %v", c.why, stored, err)
		}
		k.agent.chips = chips{k.chip}
	}
}
