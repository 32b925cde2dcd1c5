package hsmtest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"countersign/hsm"
	"countersign/internal/secret"
)

func secretCases() []Case {
	return []Case{
		{"secrets of the caller are left alone", "the caller wipes them, and may need them once more before", (*rig).secretsUnchanged},
		{"a PIN that was wiped is gone", "a back end that keeps the caller's bytes, or copies, keeps the PIN", (*rig).secretsWiped},
		{"a key does not live on the secrets it was made with", "the caller wipes them at once", (*rig).secretsOfCreate},
		{"no error holds a PIN", "errors are logged", (*rig).errorsHoldNoPIN},
	}
}

func (r *rig) secretsUnchanged() {
	p := r.provider()
	pin, admin := []byte(r.PIN), []byte(r.Admin)
	brought := hsm.Auth{PIN: secret.New(pin), Admin: secret.New(admin)}
	unchanged := func(call string) {
		if string(pin) != r.PIN || string(admin) != r.Admin {
			r.Fatalf("%s changed the caller's secrets", call)
		}
	}
	key, err := p.Create(r.ctx(), hsm.Template{Auth: brought, PINBound: true})
	if err != nil {
		r.Fatalf("Create: %v", err)
	}
	unchanged("Create")
	if _, err := key.Sign(r.ctx(), digest("x"), brought); err != nil {
		r.Errorf("Sign: %v", err)
	}
	unchanged("Sign")
	if err := key.Delete(r.ctx(), brought); err != nil {
		r.Errorf("Delete: %v", err)
	}
	unchanged("Delete")
}

func (r *rig) secretsWiped() {
	key := r.create(r.provider(), r.bound(r.PIN))
	brought := auth(r.PIN)
	if _, err := key.Sign(r.ctx(), digest("x"), brought); err != nil {
		r.Fatalf("Sign: %v", err)
	}
	brought.PIN.Wipe()
	signature, err := key.Sign(r.ctx(), digest("x"), brought)
	if signature != nil || !errors.Is(err, hsm.ErrWrongPIN) && !errors.Is(err, hsm.ErrBadPIN) {
		r.Errorf("Sign with a PIN that was wiped: %v", err)
	}
	r.refuse(key, "", hsm.ErrPINRequired)
	r.sign(key, r.PIN)
}

func (r *rig) secretsOfCreate() {
	t := r.bound(r.PIN)
	key := r.create(r.provider(), t)
	t.PIN.Wipe()
	t.Admin.Wipe()
	r.sign(key, r.PIN)
	r.miss(key, r.Tries-1)
}

func (r *rig) errorsHoldNoPIN() {
	p := r.provider()
	key, free := r.create(p, r.bound(r.PIN)), r.create(p, r.free())
	for _, pin := range []string{r.WrongPIN, r.PIN + "9", sevens(r.MinPIN - 1), sevens(r.MaxPIN + 1)} {
		unknown := r.bound(pin)
		unknown.Algorithm = "ES384"
		_, createErr := p.Create(r.ctx(), unknown)
		_, signErr := key.Sign(r.ctx(), digest("x"), auth(pin))
		_, digestErr := key.Sign(r.ctx(), nil, auth(pin))
		_, freeErr := free.Sign(r.ctx(), nil, auth(pin))
		for call, err := range map[string]error{
			"Create": createErr, "Sign": signErr, "Sign of nothing": digestErr, "Sign without PIN": freeErr,
		} {
			if err == nil {
				r.Errorf("%s with PIN %q is no error", call, pin)
			} else if spilled(fmt.Sprintf("%v %+v %#v", err, err, err), pin) {
				r.Errorf("%s with PIN %q: the error tells it: %v", call, pin, err)
			}
		}
		r.sign(key, r.PIN)
	}
}

// spilled reports whether a text tells a PIN, as it is or as bytes are printed.
func spilled(text, pin string) bool {
	decimal := strings.Trim(fmt.Sprintf("%d", []byte(pin)), "[]")
	for _, form := range []string{pin, hex.EncodeToString([]byte(pin)), decimal} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}
