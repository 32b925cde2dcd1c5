package tpm

import (
	"encoding/asn1"
	"encoding/pem"

	"github.com/google/go-tpm/tpm2"
)

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

// AsVersion1 is a reference as it was written before creation data was kept.
func AsVersion1(encoded []byte) ([]byte, error) {
	first, rest := pem.Decode(encoded)
	second, _ := pem.Decode(rest)
	var now appendix
	if _, err := asn1.Unmarshal(second.Bytes, &now); err != nil {
		return nil, err
	}
	der, err := asn1.Marshal(struct {
		Version                                              int
		Root, CreationHash, CreationTicket, Index, Authority []byte
	}{1, now.Root, now.CreationHash, now.CreationTicket, now.Index, now.Authority})
	second.Bytes = der
	return append(pem.EncodeToMemory(first), pem.EncodeToMemory(second)...), err
}
