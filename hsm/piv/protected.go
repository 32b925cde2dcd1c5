//go:build cgo

package piv

// The data object in which ykman notes how a token is administered, and the
// flag in it that says: the management key is kept under the PIN.
func pivmanObject() [3]byte { return [3]byte{0x5f, 0xff, 0x00} }

const (
	pivmanTag    = 0x80
	flagsTag     = 0x81
	keepsKeyFlag = 0x02
)

// keepsKeyUnderPIN reports what ykman, or we, noted on the card.
func (a *applet) keepsKeyUnderPIN() (bool, error) {
	b, err := a.object(pivmanObject())
	if err != nil || b == nil {
		return false, err
	}
	return pivmanFlags(b)&keepsKeyFlag != 0, nil
}

// noteKeyUnderPIN makes the note, and keeps what else stands there. It takes
// the management key.
func (a *applet) noteKeyUnderPIN() error {
	b, err := a.object(pivmanObject())
	if err != nil {
		return err
	}
	flags := pivmanFlags(b) | keepsKeyFlag
	content := appendTLV(nil, flagsTag, []byte{flags})
	if inner, err := unwrapTLV(b, pivmanTag); err == nil {
		for len(inner) > 0 {
			tag, value, rest, err := cutTLV(inner)
			if err != nil {
				return err
			}
			if tag != flagsTag {
				content = appendTLV(content, tag, value)
			}
			inner = rest
		}
	}
	return a.putObject(pivmanObject(), appendTLV(nil, pivmanTag, content))
}

// pivmanFlags is 0 where the object says nothing.
func pivmanFlags(b []byte) byte {
	inner, err := unwrapTLV(b, pivmanTag)
	if err != nil {
		return 0
	}
	objects, err := splitTLV(inner)
	if flags := objects[flagsTag]; err == nil && len(flags) == 1 {
		return flags[0]
	}
	return 0
}
