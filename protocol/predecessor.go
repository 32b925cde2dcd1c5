package protocol

import "crypto"

// Predecessor says in an EnrollmentStart that a device which is enrolled already
// enrolls once more, as for another PIN or with other keys. It gives the new
// enrollment no right that it would not have without it: it tells whoever reads
// the records that the new device is where the old one was.
type Predecessor struct {
	// Device is the old enrollment's device id.
	Device string `json:"device"`
	// Word is the old device key's, by SignPredecessor.
	Word string `json:"word"`
}

// SignPredecessor has the old device key name the new one. The members of s are
// those of the old enrollment, its role is RoleDevice.
func SignPredecessor(old crypto.Signer, s *Succession) (string, error) {
	return s.sign(old, typPredecessor)
}

// ParsePredecessor verifies such a word with the one key that may have signed it.
func ParsePredecessor(word string, old crypto.PublicKey) (*Succession, error) {
	return parseSuccession(word, typPredecessor, old)
}
