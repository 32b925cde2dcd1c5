package agent

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"sync"

	"countersign/agent/state"
	"countersign/hsm"
)

// softChip is what a softProvider is unless a test changes it.
var softChip = state.Chip{Identity: "chip 1", Vendor: "SOFT", Firmware: "1.0"}

// softProvider keeps keys in memory. It exists in tests alone, where what is
// tested is what the agent asks of a chip, and not the chip.
type softProvider struct {
	name string

	mu   sync.Mutex
	keys map[string]*softKey
	made int
	// reserved is what a Create has left that never came to an end.
	reserved map[string]bool
	chip     state.Chip
	// err is what every call meets, and asked what Create was given last.
	err   error
	asked []hsm.Template
	// waiting, where not nil, is closed by a Sign that waits for a touch; touch
	// lets it go on.
	waiting, touch chan struct{}
	// demand is what Delete wants before it does anything.
	demand error
}

type softKey struct {
	by         *softProvider
	reference  string
	key        *ecdsa.PrivateKey
	pin        string
	protection hsm.Protection
	signed     int
	tries      int
	stored     []byte
}

func newSoftProvider(name string) *softProvider {
	return &softProvider{name: name, keys: map[string]*softKey{}, reserved: map[string]bool{}, chip: softChip}
}

func (p *softProvider) Name() string { return p.name }

func (p *softProvider) Status(context.Context) (hsm.Status, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return hsm.Status{Where: "test", Vendor: p.chip.Vendor, Firmware: p.chip.Firmware}, p.err
}

func (p *softProvider) Identify(context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.chip.Identity, p.err
}

func (p *softProvider) Release(_ context.Context, r []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		delete(p.reserved, string(r))
	}
	return p.err
}

func (p *softProvider) Open(_ context.Context, ref []byte) (hsm.Key, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil, p.err
	}
	if k, ok := p.keys[string(ref)]; ok {
		return k, nil
	}
	return nil, hsm.ErrForeignKey
}

func (p *softProvider) Create(_ context.Context, t hsm.Template) (hsm.Key, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, t)
	if p.err != nil {
		return nil, p.err
	}
	p.made++
	k := &softKey{by: p, reference: fmt.Sprintf("%s key %d", p.name, p.made), key: key, tries: -1}
	if t.Reserve != nil {
		if err := t.Reserve([]byte(k.reference)); err != nil {
			return nil, err
		}
	}
	if t.PINBound {
		k.pin, k.tries, k.protection = string(t.PIN.Reveal()), 5, hsm.Protection{Counter: hsm.CounterIndex, Touch: t.Touch}
	}
	p.keys[k.reference] = k
	return k, nil
}

// set changes the chip under its lock.
func (p *softProvider) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *softProvider) held() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.keys))
}

func (k *softKey) Protection() hsm.Protection { return k.protection }
func (k *softKey) Public() crypto.PublicKey   { return k.key.Public() }
func (k *softKey) Reference() []byte          { return []byte(k.reference) }

func (k *softKey) Inspect(context.Context) (hsm.Health, error) {
	k.by.mu.Lock()
	defer k.by.mu.Unlock()
	return hsm.Health{Place: "memory", TriesLeft: k.tries}, nil
}

func (k *softKey) Sign(ctx context.Context, digest []byte, auth hsm.Auth) ([]byte, error) {
	if k.protection.Touch && k.by.waiting != nil {
		auth.Touch()
		close(k.by.waiting)
		select {
		case <-k.by.touch:
		case <-ctx.Done():
		}
	}
	k.by.mu.Lock()
	defer k.by.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if k.pin != "" && k.pin != string(auth.PIN.Reveal()) {
		return nil, &hsm.PINError{TriesLeft: 4}
	}
	k.signed++
	return ecdsa.SignASN1(rand.Reader, k.key, digest)
}

func (k *softKey) Delete(_ context.Context, auth hsm.Auth) error {
	k.by.mu.Lock()
	defer k.by.mu.Unlock()
	if k.by.demand != nil && auth.PIN.Empty() {
		return k.by.demand
	}
	delete(k.by.keys, k.reference)
	return nil
}

func (k *softKey) StoreCertificate(_ context.Context, der []byte, _ hsm.Auth) error {
	k.by.mu.Lock()
	defer k.by.mu.Unlock()
	k.stored = der
	return nil
}

func (k *softKey) uses() int {
	k.by.mu.Lock()
	defer k.by.mu.Unlock()
	return k.signed
}
