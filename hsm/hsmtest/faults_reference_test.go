package hsmtest_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"

	"countersign/hsm"
)

func referenceFaults() []fault {
	return []fault{
		{"opens the key that was made last", "each reference opens its own key", opensLast()},
		{"opens a key with another reference", "a reopened key is the same key", opens(func(honest func([]byte) (hsm.Key, error), reference []byte) (hsm.Key, error) {
			k, err := honest(reference)
			if err != nil {
				return nil, err
			}
			return &crookedKey{
				honest: k, public: k.Public, protection: k.Protection, sign: k.Sign, remove: k.Delete,
				reference: func() []byte { return append(k.Reference(), '\n') },
			}, nil
		})},
		{"writes a reference anew each time", "a reference stays as it is", bends(func(k *crookedKey) {
			n := 0
			k.reference = func() []byte {
				n++
				return append(k.honest.Reference(), bytes.Repeat([]byte{'\n'}, n)...)
			}
		})},
		{"shares its reference", "references are the caller's to change", bends(func(k *crookedKey) {
			shared := k.honest.Reference()
			k.reference = func() []byte { return shared }
		})},
		{"calls another chip's key unreadable", "another chip's reference is refused as such", opens(func(honest func([]byte) (hsm.Key, error), reference []byte) (hsm.Key, error) {
			k, err := honest(reference)
			if errors.Is(err, hsm.ErrForeignKey) {
				err = hsm.ErrBadReference
			}
			return k, err
		})},
		{"keeps the key in the reference", "a reference is not the key", provides(func(c *crooked) {
			c.create = func(context.Context, hsm.Template) (hsm.Key, error) { return softKey() }
		})},
		{"keeps the PIN in the reference", "a reference holds no PIN", provides(func(c *crooked) {
			honest := c.create
			c.create = func(ctx context.Context, t hsm.Template) (hsm.Key, error) {
				pin := bytes.Clone(t.PIN.Reveal())
				k, err := c.key(honest(ctx, t))
				if err == nil {
					k.(*crookedKey).reference = func() []byte { return append(k.(*crookedKey).honest.Reference(), pin...) }
				}
				return k, err
			}
		})},
		{"panics at an empty reference", "an empty reference is unreadable", opens(func(honest func([]byte) (hsm.Key, error), reference []byte) (hsm.Key, error) {
			_ = reference[0]
			return honest(reference)
		})},
		{"takes garbage for another chip's key", "garbage is unreadable", opens(func(honest func([]byte) (hsm.Key, error), reference []byte) (hsm.Key, error) {
			k, err := honest(reference)
			if errors.Is(err, hsm.ErrBadReference) {
				err = hsm.ErrForeignKey
			}
			return k, err
		})},
		{"does not read to the end", "a reference with more behind is unreadable", readsNoFurther(func(reference []byte) bool {
			return bytes.HasSuffix(reference, []byte("more"))
		})},
		{"reads the first of two references", "two references in one are unreadable", readsNoFurther(func(reference []byte) bool { return true })},
		{"repairs what is cut by a guess", "a truncated reference opens nothing else", guessesFor(hsm.ErrBadReference)},
		{"repairs a flipped bit by a guess", "no flipped bit opens another key", guessesFor(hsm.ErrForeignKey)},
		{"fails at zeros with an error of its own", "no byte set to zero opens another key", opens(func(honest func([]byte) (hsm.Key, error), reference []byte) (hsm.Key, error) {
			if bytes.Contains(reference, []byte{0}) {
				return nil, errors.New("unexpected zero")
			}
			return honest(reference)
		})},
	}
}

func opensLast() planting {
	return provides(func(c *crooked) {
		honest := c.create
		var last hsm.Key
		c.create = func(ctx context.Context, t hsm.Template) (k hsm.Key, err error) {
			k, err = honest(ctx, t)
			last = k
			return k, err
		}
		c.open = func(context.Context, []byte) (hsm.Key, error) { return last, nil }
	})
}

// guessesFor opens the key that was made first instead of failing.
func guessesFor(failure error) planting {
	return provides(func(c *crooked) {
		create, open := c.create, c.open
		var first hsm.Key
		c.create = func(ctx context.Context, t hsm.Template) (hsm.Key, error) {
			k, err := create(ctx, t)
			if first == nil {
				first = k
			}
			return k, err
		}
		c.open = func(ctx context.Context, reference []byte) (hsm.Key, error) {
			k, err := open(ctx, reference)
			if errors.Is(err, failure) {
				return first, nil
			}
			return k, err
		}
	})
}

// readsNoFurther ignores what stands behind a reference it has given out.
func readsNoFurther(when func(reference []byte) bool) planting {
	return provides(func(c *crooked) {
		var known memory[[]byte]
		c.bend = func(k *crookedKey) { known.put(k.honest.Reference(), k.honest.Reference()) }
		honest := c.open
		c.open = func(ctx context.Context, reference []byte) (hsm.Key, error) {
			for _, r := range known.all() {
				if when(reference) && bytes.HasPrefix(reference, r) {
					reference = r
				}
			}
			return honest(ctx, reference)
		}
	})
}

// softKey is a key in no chip at all.
func softKey() (hsm.Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	return &crookedKey{
		public: private.Public, protection: func() hsm.Protection { return hsm.Protection{} },
		sign: func(_ context.Context, digest []byte, _ hsm.Auth) ([]byte, error) {
			return ecdsa.SignASN1(rand.Reader, private, digest)
		},
		reference: func() []byte { return der },
		remove:    func(context.Context, hsm.Auth) error { return nil },
	}, nil
}
