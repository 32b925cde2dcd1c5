package tokenserver_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/protocol"
	"countersign/tokenserver/attest/attesttest"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/machines"
	"countersign/tokenserver/roots"
	"countersign/tokenserver/servertest"
	"countersign/tokenserver/store"
)

// crowd opens enrollments that come to nothing, as who has a token can with made-up
// endorsement keys.
func crowd(t *testing.T, s *servertest.Server, token string, n int) {
	t.Helper()
	err := s.Machines.Store.Update(t.Context(), func(tx store.Tx) error {
		for i := range n {
			id := fmt.Sprintf("%s-%d", token, i)
			if err := tx.AddMachineEnrollment(store.MachineEnrollment{ID: id, Key: id, EK: id, Token: token, Challenge: []byte{1}, Secret: []byte{1}, CreatedAt: s.Now()}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestOneTokenCrowdsOutNoOther: who has a token can keep others from enrolling with
// that one, and with no other, nor by a key that is registered.
func TestOneTokenCrowdsOutNoOther(t *testing.T) {
	s := servertest.Start(t, enroll.Policy{})
	_, stolen := s.MachineToken(5000)
	crowd(t, s, stolen, 20_000)
	honest, _ := s.MachineToken(1)
	newMachine(t, s, testenv.StartSWTPM(t).Spec()).enroll(honest)
	m := newMachine(t, s, testenv.StartSWTPM(t).Spec())
	register(t, s, m.ek())
	m.enroll("")
}

// TestATokenOpensFewMore: as many computers begin to enroll with a token as could be
// meant, so that who has it does not fill the disk.
func TestATokenOpensFewMore(t *testing.T) {
	s := servertest.Start(t, enroll.Policy{})
	token, id := s.MachineToken(1)
	m := newMachine(t, s, testenv.StartSWTPM(t).Spec())
	crowd(t, s, id, 100)
	m.post(protocol.PathMachines, m.body(token)).refused(t, http.StatusTooManyRequests, protocol.ProblemRateLimited)
	s.Skip(59 * time.Minute)
	m.post(protocol.PathMachines, m.body(token)).refused(t, http.StatusTooManyRequests, protocol.ProblemRateLimited)
}

// TestOneMachineEnrollsSeldom: what a machine proved is kept for good, so that one
// which enrolls over and over is told to wait.
func TestOneMachineEnrollsSeldom(t *testing.T) {
	s := servertest.Start(t, enroll.Policy{})
	token, _ := s.MachineToken(1)
	m := newMachine(t, s, testenv.StartSWTPM(t).Spec())
	stranger := m.caller
	for range 12 {
		m.caller = stranger
		m.enroll(token)
		m.anew()
	}
	in := m.caller
	m.caller = stranger
	started := m.begin(token)
	proof := m.prove(started)
	a := m.activate(started.ID, proof)
	a.refused(t, http.StatusTooManyRequests, protocol.ProblemRateLimited)
	if a.header.Get("Retry-After") == "" {
		t.Error("nobody is told when to come again")
	}
	in.get(protocol.PathMachine).want(t, http.StatusOK) // what it was it stays
	other := newMachine(t, s, testenv.StartSWTPM(t).Spec())
	register(t, s, other.ek())
	other.enroll("")
}

// TestStricterBetweenTheSteps: what a TPM is worth counts at the end.
func TestStricterBetweenTheSteps(t *testing.T) {
	s := servertest.Start(t, enroll.Policy{})
	token, _ := s.MachineToken(5)
	m := newMachine(t, s, testenv.StartSWTPM(t).Spec())
	started := m.begin(token)
	s.AdmitMachines(machines.Policy{RequireAttested: true})
	m.activate(started.ID, m.prove(started)).refused(t, http.StatusUnprocessableEntity, protocol.ProblemPolicy)

	s.AdmitMachines(machines.Policy{Off: true})
	m.activate(started.ID, m.prove(started)).refused(t, http.StatusForbidden, protocol.ProblemMachinesOff)

	s.AdmitMachines(machines.Policy{})
	emulator, maker := testenv.StartManufacturedTPM(t)
	s.Trust((&attesttest.CA{Certificate: maker.Issuer}).PEM())
	c := newMachine(t, s, emulator.Spec())
	started = c.begin(token)
	proof := c.prove(started)
	dir := roots.Dir(filepath.Join(s.Dir, roots.Name))
	list, err := dir.List()
	if err != nil || len(list) != 1 {
		t.Fatalf("roots: %v, %v", list, err)
	}
	if err := s.Office.RemoveRoot(t.Context(), dir, list[0].Fingerprint); err != nil {
		t.Fatal(err)
	}
	c.activate(started.ID, proof).want(t, http.StatusOK).decode(t, &c.enrolled)
	if c.enrolled.Endorsement != protocol.NotEndorsed {
		t.Errorf("a maker that is trusted no more vouches: %+v", c.enrolled)
	}
}

// TestLookingCostsNoWrite: a machine that asks how it stands, as often as it likes,
// has the server write seldom.
func TestLookingCostsNoWrite(t *testing.T) {
	s := servertest.Start(t, enroll.Policy{})
	token, _ := s.MachineToken(1)
	m := newMachine(t, s, testenv.StartSWTPM(t).Spec()).enroll(token)
	s.Skip(time.Hour)
	m.get(protocol.PathMachine).want(t, http.StatusOK)
	before, err := s.Machines.Store.Changes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		m.get(protocol.PathMachine).want(t, http.StatusOK)
	}
	after, err := s.Machines.Store.Changes(t.Context())
	if err != nil || after != before {
		t.Errorf("the database went from %d to %d, %v", before, after, err)
	}
	s.Skip(time.Hour)
	m.get(protocol.PathMachine).want(t, http.StatusOK)
	if seen := m.line().SeenAt; s.Now().Sub(seen) > time.Minute {
		t.Errorf("it was last seen %v ago", s.Now().Sub(seen))
	}
}
