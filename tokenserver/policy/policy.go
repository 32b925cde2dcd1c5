// Package policy says what an operator demands of the keys that approve, and
// whether a key meets it.
//
// A key is judged by the verdict on that very key. What a chip did not prove
// meets no demand: a rule about vendors or firmware is met only by a chip that
// proved which it is. What cannot be compared is not met.
package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"countersign/protocol"
	"countersign/tokenserver/store"
)

// requirements are the Require constants of store, in the order of telling.
func requirements() []string {
	return []string{store.RequireAttested, store.RequirePINBound, store.RequireTouchBound}
}

// CheckRequire refuses what a key cannot be required to be.
func CheckRequire(require []string) error {
	for _, r := range require {
		if !slices.Contains(requirements(), r) {
			return fmt.Errorf("a key can be required to be %s", strings.Join(requirements(), ", "))
		}
	}
	return nil
}

// Lacks says what a key lacks of what is required, or is "".
func Lacks(v protocol.Verdict, require []string) string {
	has := map[string]bool{
		store.RequireAttested:   v.Attested,
		store.RequirePINBound:   v.PINBound,
		store.RequireTouchBound: v.TouchBound,
	}
	for _, want := range requirements() {
		if slices.Contains(require, want) && !has[want] {
			return "the key is not " + want
		}
	}
	return ""
}

// Unmet says which demand of a type a key does not meet, or is "".
func Unmet(v protocol.Verdict, t store.Type) string {
	if lacks := Lacks(v, t.Require); lacks != "" {
		return lacks
	}
	if len(t.MinFirmware)+len(t.DenyVendors) == 0 {
		return ""
	}
	if !v.Attested {
		return "the key's chip has not proved which it is"
	}
	if slices.ContainsFunc(t.DenyVendors, func(name string) bool { return strings.EqualFold(name, v.Chip.Vendor) }) {
		return "the vendor of the key's chip is denied"
	}
	for _, vendor := range slices.Sorted(maps.Keys(t.MinFirmware)) {
		if strings.EqualFold(vendor, v.Chip.Vendor) && !atLeast(v.Chip.Firmware, t.MinFirmware[vendor]) {
			return "the firmware of the key's chip is older than " + t.MinFirmware[vendor]
		}
	}
	return ""
}

// atLeast compares versions part by part as numbers.
func atLeast(have, want string) bool {
	h, err := parseVersion(have)
	if err != nil {
		return false
	}
	w, err := parseVersion(want)
	return err == nil && slices.Compare(h, w) >= 0
}

const maxParts = 8

// parseVersion reads numbers between dots, at most eight; those not written are
// zero.
func parseVersion(s string) ([]uint64, error) {
	texts := strings.Split(s, ".")
	if len(texts) > maxParts {
		return nil, fmt.Errorf("a version has at most %d numbers", maxParts)
	}
	out := make([]uint64, maxParts)
	for i, text := range texts {
		var err error
		// ParseUint takes digits alone, without a sign.
		if out[i], err = strconv.ParseUint(text, 10, 64); err != nil {
			return nil, errors.New("a version is numbers with dots between them, such as 5.7.1")
		}
	}
	return out, nil
}

// CheckChips refuses rules about chips that could not be meant.
func CheckChips(minFirmware map[string]string, denyVendors []string) error {
	seen := map[string]bool{}
	for vendor, version := range minFirmware {
		if _, err := parseVersion(version); err != nil {
			return err
		}
		fold := strings.ToLower(vendor)
		if seen[fold] {
			return errors.New("a vendor has two minimum versions")
		}
		seen[fold] = true
	}
	for _, vendor := range slices.Concat(slices.Collect(maps.Keys(minFirmware)), denyVendors) {
		if strings.TrimSpace(vendor) == "" {
			return errors.New("a vendor has no name")
		}
		if err := protocol.CheckText("a vendor", vendor, 128); err != nil {
			return err
		}
	}
	return nil
}
