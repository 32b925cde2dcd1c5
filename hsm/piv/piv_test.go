//go:build cgo

package piv_test

import (
	"testing"

	"countersign/hsm"
	"countersign/hsm/hsmtest/virtualpiv"
)

func TestCreateSignDelete(t *testing.T) {
	eachFirmware(t, func(t *testing.T, firmware virtualpiv.Option) {
		r := newRig(t, firmware)
		approval, device := r.approval(), r.device()
		mustSign(t, device, hsm.Auth{})
		mustSign(t, approval, auth(rightPIN))
		again, err := r.Open(t.Context(), approval.Reference())
		if err != nil {
			t.Fatal(err)
		}
		mustSign(t, again, auth(rightPIN))
		for range 2 {
			if err := approval.Delete(t.Context(), admin()); err != nil {
				t.Fatalf("Delete: %v", err)
			}
		}
		_, err = approval.Sign(t.Context(), digest("x"), auth(rightPIN))
		mustBe(t, "Sign with a deleted key", err, hsm.ErrForeignKey)
		mustSign(t, device, hsm.Auth{})
	})
}
