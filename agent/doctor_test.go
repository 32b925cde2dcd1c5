package agent

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/hsm"
	"countersign/ipc"
	"countersign/protocol"
)

func (k *kit) doctor() []ipc.Check {
	k.t.Helper()
	v, err := k.agent.getDoctor(nil, httptest.NewRequestWithContext(k.t.Context(), "GET", "/v1/doctor", nil), scopeOf(testUID))
	if err != nil {
		k.t.Fatal(err)
	}
	return v.([]ipc.Check)
}

func find(list []ipc.Check, code string) (ipc.Check, bool) {
	i := slices.IndexFunc(list, func(c ipc.Check) bool { return c.Code == code })
	if i < 0 {
		return ipc.Check{}, false
	}
	return list[i], true
}

// TestDoctorNamesWhatHappenedToTheKeys, and the two commands of the way back.
func TestDoctorNamesWhatHappenedToTheKeys(t *testing.T) {
	gone := func(k *kit) { clear(k.chip.keys) }
	for _, c := range []struct {
		name         string
		happened     func(k *kit)
		code, status string
		says         string
	}{
		{"nothing", func(*kit) {}, "pin", ipc.CheckOK, "5 of 5"},
		{"two wrong PINs", func(k *kit) { k.approval.tries = 3 }, "pin", ipc.CheckWarn, "3 of 5"},
		{"five wrong PINs", func(k *kit) { k.approval.tries = 0 }, "pin_locked", ipc.CheckFail, "for good"},
		{"cleared", gone, "tpm_cleared", ipc.CheckFail, "cleared since"},
		{"cleared by its update", func(k *kit) { gone(k); k.chip.chip.Firmware = "2.0" }, "tpm_cleared", ipc.CheckFail, "from 1.0 to 2.0"},
		{"new mainboard", func(k *kit) { gone(k); k.chip.chip.Identity = "chip 2" }, "chip_replaced", ipc.CheckFail, "another security chip"},
		{"it cannot tell", func(k *kit) { gone(k); k.chip.chip.Identity = "" }, "foreign_key", ipc.CheckFail, "cleared or replaced"},
		{"new firmware", func(k *kit) { k.chip.chip.Firmware = "2.0" }, "firmware_changed", ipc.CheckWarn, "is 2.0 and was 1.0"},
		{"no attestation", func(*kit) {}, "no_attestation", ipc.CheckWarn, "no proof"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKit(t)
			k.chip.set(func() { c.happened(k) })
			list := k.doctor()
			got, ok := find(list, c.code)
			if !ok || got.Status != c.status || !strings.Contains(got.Detail, c.says) {
				t.Fatalf("doctor says %+v", list)
			}
			for _, command := range []string{"countersign-server enrollment create --user 'user of p_alice00' --replace d_device00 --data DIR", "countersign enroll LINK"} {
				if !strings.Contains(got.Cure, command) {
					t.Errorf("the cure %q does not name: %s", got.Cure, command)
				}
			}
		})
	}
}

// TestStatusNamesAStolenState: not only doctor does.
func TestStatusNamesAStolenState(t *testing.T) {
	k := newKit(t)
	k.chip.set(func() { clear(k.chip.keys) })
	reasons := strings.Join(k.agent.degraded(t.Context(), scopeOf(testUID)), "\n")
	if !strings.Contains(reasons, "state directory came from elsewhere") {
		t.Errorf("status says: %s", reasons)
	}
	if err := k.profile.check(t.Context()); codeOf(err) != ipc.CodeForeignKey {
		t.Errorf("a check says %v", err)
	}
	k.list(1000, k.sign(k.request("tx", protocol.C2)))
	if _, err := k.decide("tx", protocol.Approve); chipError(err).Code != ipc.CodeForeignKey {
		t.Errorf("approving says %v", err)
	}
}

// TestLockedForATime: a lockout that ends by itself says when.
func TestLockedForATime(t *testing.T) {
	until := time.Now().Add(time.Hour)
	e := chipError(fmt.Errorf("tpm: sign: %w", &hsm.LockedError{Until: until}))
	if e.Code != ipc.CodePINLocked || e.Until == nil || !e.Until.Equal(until) || strings.Contains(e.Cure, "enroll") {
		t.Errorf("for a time: %+v", e)
	}
	e = chipError(&hsm.LockedError{})
	if e.Code != ipc.CodePINLocked || e.Until != nil || !strings.Contains(e.Cure, "enroll") {
		t.Errorf("for good: %+v", e)
	}
}

// TestEveryChipErrorHasItsWords: a code of its own, a cure that fits the chip,
// and the sentinels that are an ErrUnavailable too do not hide behind it.
func TestEveryChipErrorHasItsWords(t *testing.T) {
	for err, code := range map[error]string{
		hsm.ErrUnavailable: ipc.CodeChipUnavailable, hsm.ErrPermission: ipc.CodeChipPermission, hsm.ErrBusy: ipc.CodeChipBusy,
		hsm.ErrNoMemory: ipc.CodeChipNoMemory, hsm.ErrReset: ipc.CodeChipReset, hsm.ErrNoService: ipc.CodeChipService,
		hsm.ErrTokenAbsent: ipc.CodeTokenAbsent, hsm.ErrBadReference: ipc.CodeForeignKey, hsm.ErrForeignKey: ipc.CodeForeignKey, hsm.ErrPINRequired: ipc.CodePINRequired,
		hsm.ErrBadPIN: ipc.CodeBadPIN, hsm.ErrPINLocked: ipc.CodePINLocked, hsm.ErrNoTouch: ipc.CodeNoTouch,
		hsm.ErrAdminRequired: ipc.CodeAdminRequired, hsm.ErrNoRoom: ipc.CodeNoRoom, hsm.ErrUnsupported: ipc.CodeKeyUnsupported,
		error(&hsm.FactoryError{What: "PUK", Command: "ykman piv access change-puk"}): ipc.CodeFactorySettings,
	} {
		for _, provider := range []string{kindTPM, kindPIV} {
			e := chipError(onChip(provider, fmt.Errorf("call: %w", err)))
			if e.Code != code || e.Cure == "" || e.Message == "" {
				t.Errorf("%v: %+v", err, e)
			}
		}
	}
	if e := chipError(onChip(kindPIV, hsm.ErrPermission)); !strings.Contains(e.Cure, "polkit") {
		t.Errorf("a token's: %s", e.Cure)
	}
	if e := chipError(onChip(kindTPM, hsm.ErrPermission)); !strings.Contains(e.Cure, "tss") {
		t.Errorf("a TPM's: %s", e.Cure)
	}
}
