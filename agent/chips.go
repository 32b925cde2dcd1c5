package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"countersign/agent/state"
	"countersign/hsm"
)

// The back ends that the agent knows by name.
const (
	kindTPM = "tpm"
	kindPIV = "piv"
)

// chipTimeout bounds what the agent itself asks of a chip.
const chipTimeout = 5 * time.Second

// chips are the back ends of a service, the preferred one first.
type chips []hsm.Provider

// find returns the back end of a name.
func (c chips) find(name string) (hsm.Provider, bool) {
	i := slices.IndexFunc(c, func(p hsm.Provider) bool { return p.Name() == name })
	if i < 0 {
		return nil, false
	}
	return c[i], true
}

// String lists the names, for people.
func (c chips) String() string {
	names := make([]string, len(c))
	for i, p := range c {
		names[i] = p.Name()
	}
	return strings.Join(names, ", ")
}

// named returns the back end of a name, or one in its place that is never
// available: keys outlive a change of the configuration.
func (c chips) named(name string) hsm.Provider {
	if p, ok := c.find(name); ok {
		return p
	}
	return missing(name)
}

// usable reports whether the back end of a name works now.
func (c chips) usable(ctx context.Context, name string) (hsm.Provider, bool) {
	p, ok := c.find(name)
	if !ok {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, chipTimeout)
	defer cancel()
	_, err := p.Status(ctx)
	return p, err == nil
}

// chipOf is what a back end says of its hardware. Whether that is known again
// after it was cleared is not worth failing for.
func chipOf(ctx context.Context, p hsm.Provider) (state.Chip, error) {
	st, err := p.Status(ctx)
	if err != nil {
		return state.Chip{}, onChip(p.Name(), err)
	}
	return state.Chip{Identity: identity(ctx, p), Vendor: st.Vendor, Model: st.Model, Firmware: st.Firmware}, nil
}

// identity is "" where the back end cannot tell.
func identity(ctx context.Context, p hsm.Provider) string {
	i, ok := p.(hsm.Identifier)
	if !ok {
		return ""
	}
	id, err := i.Identify(ctx)
	if err != nil {
		return ""
	}
	return id
}

// missing is a back end that this service was started without.
type missing string

func (m missing) err() error {
	return onChip(string(m), fmt.Errorf("%w: countersignd runs without %s", hsm.ErrUnavailable, string(m)))
}

func (m missing) Name() string { return string(m) }

func (m missing) Create(context.Context, hsm.Template) (hsm.Key, error) { return nil, m.err() }

func (m missing) Open(context.Context, []byte) (hsm.Key, error) { return nil, m.err() }

func (m missing) Release(context.Context, []byte) error { return m.err() }

func (m missing) Status(context.Context) (hsm.Status, error) { return hsm.Status{}, m.err() }

// chipFault is an error of a back end with the name of it, since what cures a
// TPM does not cure a token.
type chipFault struct {
	provider string
	err      error
}

func onChip(provider string, err error) error {
	if err == nil {
		return nil
	}
	return &chipFault{provider, err}
}

func (f *chipFault) Error() string { return f.err.Error() }

func (f *chipFault) Unwrap() error { return f.err }

// faultyChip is the back end that an error came from; a TPM where it is not
// known.
func faultyChip(err error) string {
	if f, ok := errors.AsType[*chipFault](err); ok {
		return f.provider
	}
	return kindTPM
}
