//go:build !cgo

package piv

import (
	"context"
	"fmt"

	"countersign/hsm"
)

// Provider stands in for the PIV back end in a program built without cgo. Every
// call says so.
type Provider struct{}

var _ hsm.Provider = (*Provider)(nil)

var errNoPIV = fmt.Errorf("%w: this program was built without PIV tokens (CGO_ENABLED=0); "+
	"the countersignd of the packages, and of make build, has them", hsm.ErrUnsupported)

// Open returns a Provider that explains what is missing.
func Open(...Option) *Provider { return &Provider{} }

// Name implements hsm.Provider.
func (*Provider) Name() string { return "piv" }

// Create implements hsm.Provider.
func (*Provider) Create(context.Context, hsm.Template) (hsm.Key, error) { return nil, errNoPIV }

// Open implements hsm.Provider.
func (*Provider) Open(context.Context, []byte) (hsm.Key, error) { return nil, errNoPIV }

// Release implements hsm.Provider.
func (*Provider) Release(context.Context, []byte) error { return errNoPIV }

// Status implements hsm.Provider.
func (*Provider) Status(context.Context) (hsm.Status, error) {
	return hsm.Status{Where: "not in this build"}, errNoPIV
}
