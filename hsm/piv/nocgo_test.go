//go:build !cgo

package piv_test

import (
	"errors"
	"strings"
	"testing"

	"countersign/hsm"
	"countersign/hsm/piv"
)

// A program built without cgo says so in every call, and where to get one that
// has tokens.
func TestWithoutCgo(t *testing.T) {
	p := piv.Open()
	_, createErr := p.Create(t.Context(), hsm.Template{})
	_, openErr := p.Open(t.Context(), nil)
	_, statusErr := p.Status(t.Context())
	for call, err := range map[string]error{
		"Create": createErr, "Open": openErr, "Status": statusErr, "Release": p.Release(t.Context(), nil),
	} {
		if !errors.Is(err, hsm.ErrUnsupported) || !strings.Contains(err.Error(), "make build") {
			t.Errorf("%s: %v", call, err)
		}
	}
}
