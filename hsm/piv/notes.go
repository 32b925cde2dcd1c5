//go:build cgo

package piv

import (
	"errors"
	"fmt"

	"countersign/hsm"
)

func moreTokensNote(f found) hsm.Note {
	return hsm.Note{
		Code: "piv_more_tokens",
		Text: fmt.Sprintf("there is also %s", f),
		Cure: "name the serial number of the one to use when enrolling",
	}
}

func leakNote(f found) hsm.Note {
	return hsm.Note{
		Code: "piv_old_firmware",
		Text: fmt.Sprintf("firmware %s of token %d is before 5.7: who takes it apart can learn its keys (CVE-2024-45678)", f.firmware, f.serial),
		Cure: "the firmware cannot be upgraded; where this matters, use a newer token",
	}
}

func unknownPUKNote(serial uint32) hsm.Note {
	return hsm.Note{
		Code: "piv_puk_unknown",
		Text: fmt.Sprintf("token %d does not tell whether its PUK is the one it was sold with", serial),
		Cure: fmt.Sprintf("if you never changed it: ykman --device %d piv access change-puk", serial),
	}
}

// factoryNotes names what Create would refuse the token for.
func (a *applet) factoryNotes() ([]hsm.Note, error) {
	var notes []hsm.Note
	for _, it := range a.factoryErrors() {
		m, err := a.metadata(it.reference)
		if err != nil {
			return notes, err
		}
		var factory *hsm.FactoryError
		if m.factory && errors.As(it.err, &factory) {
			notes = append(notes, hsm.Note{
				Code: "piv_factory_settings",
				Text: fmt.Sprintf("the %s of token %d is the one it was sold with", factory.What, a.serial),
				Cure: factory.Command,
			})
		}
	}
	return notes, nil
}
