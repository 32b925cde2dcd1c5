package tpm

import "github.com/google/go-tpm/tpm2"

// What the attacks in the tests must know that no user of the package may.
var (
	AuthValue = authValue
	DialError = dialError
)

// IndexOf names the PIN index of a reference.
func IndexOf(encoded []byte) (tpm2.NamedHandle, error) {
	ref, err := decode(encoded)
	if err != nil {
		return tpm2.NamedHandle{}, err
	}
	name, err := ref.index.name()
	return tpm2.NamedHandle{Handle: ref.index.public.NVIndex, Name: name}, err
}
