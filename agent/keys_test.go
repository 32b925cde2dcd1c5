package agent

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"countersign/hsm"
	"countersign/ipc"
	"countersign/protocol"
)

func (k *kit) keys(uid uint32) []ipc.StoredKey {
	k.t.Helper()
	v, err := k.agent.getKeys(nil, httptest.NewRequestWithContext(k.t.Context(), "GET", "/v1/keys", nil), scopeOf(uid))
	if err != nil {
		k.t.Fatal(err)
	}
	return v.([]ipc.StoredKey)
}

// TestKeysAreListed as they stand, and to their owner alone.
func TestKeysAreListed(t *testing.T) {
	k := newKit(t)
	list := k.keys(testUID)
	if len(list) != 2 || list[0].Role != ipc.RoleDevice || list[1].Role != ipc.RoleApproval {
		t.Fatalf("listed: %+v", list)
	}
	device, approval := list[0], list[1]
	if device.State != ipc.KeyOK || device.TriesLeft != nil || device.Place != "memory" || device.Owner != k.id {
		t.Errorf("device key: %+v", device)
	}
	if approval.State != ipc.KeyOK || approval.TriesLeft == nil || *approval.TriesLeft != 5 || !strings.Contains(approval.Protection, "fifth") {
		t.Errorf("approval key: %+v", approval)
	}
	k.chip.set(func() { k.approval.tries = 0; delete(k.chip.keys, k.device.reference) })
	list = k.keys(testUID)
	if list[0].State != ipc.KeyForeign || list[1].State != ipc.KeyLocked {
		t.Errorf("listed: %+v", list)
	}
	k.chip.set(func() { k.chip.err = hsm.ErrTokenAbsent })
	if list = k.keys(testUID); list[0].State != ipc.KeyUnavailable || list[1].State != ipc.KeyUnavailable || list[1].Detail == "" {
		t.Errorf("listed: %+v", list)
	}
	if others := k.keys(testUID + 1); len(others) != 0 {
		t.Errorf("another user sees %+v", others)
	}
}

// TestOnlyWhatIsOverIsDeleted: not the keys of an active profile, nor another
// user's, nor anything but the profile's own keys.
func TestOnlyWhatIsOverIsDeleted(t *testing.T) {
	k := newKit(t)
	stays := k.enroll("p_bob00000", testUID+1, "https://127.0.0.1:1")
	mine := k.id
	k.restart()
	if _, err := k.agent.deleteKeys(t.Context(), scopeOf(testUID), mine, hsm.Auth{}); codeOf(err) != ipc.CodeProfileActive {
		t.Errorf("of an active profile: %v", err)
	}
	if _, err := k.agent.deleteKeys(t.Context(), scopeOf(testUID+1), mine, hsm.Auth{}); codeOf(err) != ipc.CodeNotEnrolled {
		t.Errorf("of another user: %v", err)
	}
	k.list(1000, k.sign(k.request("tx", protocol.C1)))
	k.profile.revoked(&protocol.Problem{Status: 410, Title: "Gone", Code: protocol.ProblemRevoked})
	before := k.chip.held()
	gone, err := k.agent.deleteKeys(t.Context(), scopeOf(testUID), mine, hsm.Auth{})
	if err != nil || len(gone) != 2 {
		t.Fatalf("deleted: %+v, %v", gone, err)
	}
	after := k.chip.held()
	if len(after) != len(before)-2 || !slices.Contains(after, k.approval.reference) {
		t.Errorf("left in the chip: %v", after)
	}
	if _, ok := k.agent.profile(mine); ok {
		t.Error("the profile is still there")
	}
	k.id = stays
	k.restart()
	if _, ok := k.agent.profile(mine); ok || k.profile == nil {
		t.Error("the wrong profile is back after a restart")
	}
}

// TestForeignProfileCanBeForgotten: it could never hear that it was revoked.
func TestForeignProfileCanBeForgotten(t *testing.T) {
	k := newKit(t)
	k.chip.set(func() { clear(k.chip.keys) })
	if _, err := k.agent.deleteKeys(t.Context(), scopeOf(testUID), k.id, hsm.Auth{}); err != nil {
		t.Error(err)
	}
	if list := k.keys(testUID); len(list) != 0 {
		t.Errorf("left: %+v", list)
	}
}
