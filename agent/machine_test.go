package agent

import (
	"net/http/httptest"
	"strings"
	"testing"

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
