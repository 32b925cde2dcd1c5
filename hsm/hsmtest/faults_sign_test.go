package hsmtest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"

	"countersign/hsm"
)

func signFaults() []fault {
	return []fault{
		{"wants a PIN for every key", "a key without PIN signs for the zero Auth", signs(func(honest signing) signing {
			return func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				if a.PIN.Empty() {
					return nil, hsm.ErrPINRequired
				}
				return honest(ctx, digest, a)
			}
		})},
		{"hashes what is a digest already", "signatures verify", signsInstead(func(digest []byte) []byte {
			again := sha256.Sum256(digest)
			return again[:]
		})},
		{"loses a zero byte in front", "digests of all zeros and all ones are signed", signsInstead(func(digest []byte) []byte {
			if len(digest) == sha256.Size && digest[0] == 0 {
				return append(digest[1:len(digest):len(digest)], 0)
			}
			return digest
		})},
		{"signs the digest it was first given", "a signature is for its digest alone", func() planting {
			var first []byte
			return signsInstead(func(digest []byte) []byte {
				if first == nil {
					first = bytes.Clone(digest)
				}
				return first
			})
		}()},
		{"gives out a signature it has made before", "two signatures of one digest differ", bends(func(k *crookedKey) {
			honest, made := k.sign, memory[[]byte]{}
			k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) (signature []byte, err error) {
				if signature = made.get(digest); signature == nil {
					signature, err = honest(ctx, digest, a)
					made.put(digest, signature)
				}
				return signature, err
			}
		})},
		{"hashes a digest of another size until it fits", "digests of another size are refused", signsInstead(func(digest []byte) []byte {
			if len(digest) != sha256.Size {
				fit := sha256.Sum256(digest)
				return fit[:]
			}
			return digest
		})},
		{"wipes the digest", "the caller's digest is not changed", signs(func(honest signing) signing {
			return func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				defer clear(digest)
				return honest(ctx, digest, a)
			}
		})},
		{"signs with the key that was used last", "keys in turns sign as themselves", func() planting {
			var last *crookedKey
			return bends(func(k *crookedKey) {
				k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
					by := k
					if last != nil && last.bound() == k.bound() {
						by = last
					}
					last = k
					return by.honest.Sign(ctx, digest, a)
				}
			})
		}()},
		{"runs out of slots after some signatures", "a hundred signatures leave a hundred more", signs(func(honest signing) signing {
			n := 0
			return func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				if n++; n > 40 {
					return nil, hsm.ErrNoMemory
				}
				return honest(ctx, digest, a)
			}
		})},
		{"checks a PIN that nobody asked for", "a PIN means nothing to a key without one", bends(func(k *crookedKey) {
			honest := k.sign
			k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				if !k.bound() && string(a.PIN.Reveal()) == wrongPIN {
					return nil, &hsm.PINError{TriesLeft: tries - 1}
				}
				return honest(ctx, digest, a)
			}
		})},
		{"asks for a touch each time", "nobody is told to touch without a touch", signs(func(honest signing) signing {
			return func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				if a.Touch != nil {
					a.Touch()
				}
				return honest(ctx, digest, a)
			}
		})},
		{"shows another key than it signs with", "a certificate request verifies", func() planting {
			var first *crookedKey
			return bends(func(k *crookedKey) {
				if first == nil {
					first = k
				}
				k.public = first.honest.Public
			})
		}()},
		{"refuses a message that is not signed with a PIN", "a TLS client proves its key", bends(func(k *crookedKey) {
			honest := k.sign
			k.sign = func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				if !k.bound() {
					return nil, errors.New("not a decision")
				}
				return honest(ctx, digest, a)
			}
		})},
		{"signs on for a signer that has ended", "a signer ends with its context", signs(func(honest signing) signing {
			return func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
				return honest(context.WithoutCancel(ctx), digest, a)
			}
		})},
	}
}

// signsInstead signs another digest than the one that was given.
func signsInstead(f func(digest []byte) []byte) planting {
	return signs(func(honest signing) signing {
		return func(ctx context.Context, digest []byte, a hsm.Auth) ([]byte, error) {
			return honest(ctx, f(digest), a)
		}
	})
}
