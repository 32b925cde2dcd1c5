//go:build cgo

package piv_test

import (
	"bytes"
	"context"
	"math/big"
	"testing"

	"countersign/hsm/piv"
)

func newProvider() *piv.Provider { return piv.Open() }

func serialOne() *big.Int { return big.NewInt(1) }

func contextThat(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

// saysDeleted reports the placeholder of a slot that was emptied.
func saysDeleted(object []byte) bool {
	return bytes.Contains(object, []byte("Countersign key, deleted"))
}
