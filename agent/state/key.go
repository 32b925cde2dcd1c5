package state

import "countersign/hsm"

// KeyFacts is what is known of a key without asking its chip, which may be
// absent.
type KeyFacts struct {
	// Provider is the back end that opens the key.
	Provider string `json:"provider"`
	// Counter is who counts wrong PINs, as package hsm names it.
	Counter string `json:"pin_counter,omitempty"`
	// Touch says that every use takes a touch.
	Touch bool `json:"touch,omitempty"`
	Chip  Chip `json:"chip"`
}

// Chip is the hardware that a key was made in, as it was then.
type Chip struct {
	// Identity is what hsm.Identifier said, or "".
	Identity string `json:"identity,omitempty"`
	Vendor   string `json:"vendor,omitempty"`
	Model    string `json:"model,omitempty"`
	Firmware string `json:"firmware,omitempty"`
}

// Protection is what stands between the key and its use.
func (k KeyFacts) Protection() hsm.Protection {
	return hsm.Protection{Counter: hsm.Counter(k.Counter), Touch: k.Touch}
}

// complete fills in what profiles had not written before there were several
// back ends: both keys were in the one, and a PIN had an index.
func (k *KeyFacts) complete(provider string, counter hsm.Counter) {
	if k.Provider == "" {
		*k = KeyFacts{Provider: provider, Counter: string(counter)}
	}
}
