//go:build cgo

package piv_test

import (
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
