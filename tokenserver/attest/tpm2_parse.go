package attest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"github.com/google/go-tpm/tpm2"
)

// maxStructure is more than any structure takes that a TPM sends in one
// response.
const maxStructure = 4096

// parse reads a structure of TPM 2.0 Part 2 that has one encoding: what a TPM
// would write. The library's reader is more lenient than that.
func parse[T tpm2.Marshallable, P interface {
	*T
	tpm2.Unmarshallable
}](what string, raw []byte) (*T, error) {
	if len(raw) > maxStructure {
		return nil, refused("the %s is too long", what)
	}
	v, err := tpm2.Unmarshal[T, P](raw)
	if err != nil || !bytes.Equal(tpm2.Marshal(*v), raw) {
		return nil, refused("the %s cannot be read", what)
	}
	return v, nil
}

// nameOf is the Name of a public area whose nameAlg is SHA-256 (Part 1, 16).
func nameOf(area []byte) []byte {
	sum := sha256.Sum256(area)
	return append(binary.BigEndian.AppendUint16(nil, uint16(tpm2.TPMAlgSHA256)), sum[:]...)
}

// primaryName is the Qualified Name of a primary object of a hierarchy (Part 1,
// 16).
func primaryName(hierarchy tpm2.TPMHandle, name []byte) []byte {
	return nameOf(append(binary.BigEndian.AppendUint32(nil, uint32(hierarchy)), name...))
}
