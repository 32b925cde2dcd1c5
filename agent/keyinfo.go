package agent

import (
	"strings"

	"countersign/agent/state"
	"countersign/hsm"
	"countersign/ipc"
)

// keyInfo is what the local API says of a profile's keys.
func keyInfo(s state.Profile) ipc.Key {
	k := ipc.Key{
		Provider: s.ApprovalKey.Provider, DeviceProvider: s.DeviceKey.Provider,
		Protection: "hardware, approval key " + protectionText(s.ApprovalKey.Protection()),
		PINCounter: s.ApprovalKey.Counter, Touch: s.ApprovalKey.Touch,
		Attested: s.Verdict.Attested, Unattested: s.Unattested, Chip: chipText(s.ApprovalKey.Chip),
	}
	if !k.Attested && k.Unattested == "" {
		k.Unattested = "none was given at the enrollment"
	}
	return k
}

// protectionText says precisely who limits the guessing of a PIN.
func protectionText(p hsm.Protection) string {
	var text string
	switch p.Counter {
	case hsm.CounterNone:
		text = "without a PIN"
	case hsm.CounterIndex:
		text = "bound to a PIN; the TPM itself ends this key at the fifth wrong one"
	case hsm.CounterLockout:
		text = "bound to a PIN; wrong ones are limited only by the lockout that the whole TPM shares and its owner can reset"
	case hsm.CounterToken:
		text = "bound to the token's PIN; the token itself blocks after a few wrong ones, for all its keys"
	}
	if p.Touch {
		text += "; each use takes a touch"
	}
	return text
}

// chipText names a chip for people.
func chipText(c state.Chip) string {
	words := strings.Join([]string{c.Vendor, c.Model}, " ")
	if c.Firmware != "" {
		words += " firmware " + c.Firmware
	}
	return strings.TrimSpace(words)
}
