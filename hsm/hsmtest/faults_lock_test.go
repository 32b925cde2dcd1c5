package hsmtest_test

import (
	"context"
	"errors"

	"countersign/hsm"
	"countersign/hsm/hsmtest"
)

// counts makes a back end count wrong PINs itself and never ask the chip about
// them. of names the count that a key uses.
func counts(of func(k *crookedKey) []byte, also func(*memory[int], *hsmtest.Chip)) planting {
	return func(c *crooked, chip *hsmtest.Chip, _ <-chan struct{}) {
		spent := &memory[int]{}
		also(spent, chip)
		c.bend = func(k *crookedKey) {
			honest, count := k.sign, of(k)
			k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				n := spent.get(count)
				switch {
				case !k.bound():
				case n >= tries:
					return nil, hsm.ErrPINLocked
				case string(a.PIN.Reveal()) == wrongPIN:
					spent.put(count, n+1)
					return nil, &hsm.PINError{TriesLeft: tries - n - 1}
				default:
					spent.put(count, 0)
				}
				return honest(ctx, digest, a)
			}
		}
	}
}

func itsOwn(k *crookedKey) []byte { return k.honest.Reference() }

func nothingElse(*memory[int], *hsmtest.Chip) {}

// forgetsAtRestart makes the count one of this process, as it were.
func forgetsAtRestart(spent *memory[int], chip *hsmtest.Chip) {
	honest := chip.Restart
	chip.Restart = func() {
		spent.forget()
		honest()
	}
}

func lockFaults() []fault {
	handles := byte(0)
	eachHandle := func(*crookedKey) []byte { handles++; return []byte{handles} }
	return []fault{
		{"locks one wrong PIN too late", "wrong PINs lock after the promised number", bends(func(k *crookedKey) {
			honest, late := k.sign, false
			k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				signature, err := honest(ctx, digest, a)
				if errors.Is(err, hsm.ErrPINLocked) && !late {
					late, err = true, &hsm.PINError{}
				}
				return signature, err
			}
		})},
		{"counts in memory", "a locked key stays locked through a restart", counts(itsOwn, forgetsAtRestart)},
		{"counts in memory, one try earlier", "tries stay spent through a restart", counts(itsOwn, forgetsAtRestart)},
		{"counts by handle", "a locked key stays locked when opened again", counts(eachHandle, nothingElse)},
		{"counts by handle, one try earlier", "tries stay spent when the key is opened again", counts(eachHandle, nothingElse)},
		{"counts for the whole chip", "a locked key locks no other", counts(func(*crookedKey) []byte { return []byte("all") }, nothingElse)},
		{"says of a locked key that the PIN is wrong", "a locked key refuses the right PIN", signs(func(honest signing) signing {
			return func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				signature, err := honest(ctx, digest, a)
				if errors.Is(err, hsm.ErrPINLocked) {
					err = &hsm.PINError{}
				}
				return signature, err
			}
		})},
		{"takes an unclean stop for a wrong PIN", "restarts lock nobody out", restarts(func(k *crookedKey) { guess(context.Background(), k) })},
		{"never gives the tries back", "the right PIN gives the tries back", bends(func(k *crookedKey) {
			honest, spent := k.sign, 0
			k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				if string(a.PIN.Reveal()) == wrongPIN {
					spent++
					return nil, &hsm.PINError{TriesLeft: tries - spent}
				}
				return honest(ctx, digest, a)
			}
		})},
		{"locks every key when one is", "a key without PIN works beside a locked one", provides(func(c *crooked) {
			locked := false
			c.bend = func(k *crookedKey) {
				honest := k.sign
				k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
					if locked {
						return nil, hsm.ErrPINLocked
					}
					signature, err := honest(ctx, digest, a)
					refused := (*hsm.PINError)(nil)
					locked = errors.As(err, &refused) && refused.TriesLeft == 0
					return signature, err
				}
			}
		})},
	}
}
