//go:build cgo

package virtualpiv_test

import (
	"testing"
	"time"

	"countersign/hsm/hsmtest/virtualpiv"
	"countersign/internal/testenv"
	"github.com/go-piv/piv-go/v2/piv"
)

func TestRig(t *testing.T) {
	for range 150 {
		t0 := time.Now()
		card := virtualpiv.New(t)
		t1 := time.Now()
		t.Run("x", func(t *testing.T) {
		p := testenv.StartPCSCD(t, card)
		t2 := time.Now()
		if t2.Sub(t1) > 300*time.Millisecond { t.Log(p.Log()) }
			p.Use()
			yk, err := piv.Open(p.Reader(0).Name())
			if err != nil {
				t.Fatal(err)
			}
			t3 := time.Now()
			s, err := yk.Serial()
			t.Log(t1.Sub(t0), t2.Sub(t1), t3.Sub(t2), s == card.Serial(), err)
			yk.Close()
		})
	}
}
