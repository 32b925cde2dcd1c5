package virtualpiv

import (
	"fmt"
	"slices"
)

// firmware is a version: major, minor, patch.
type firmware [3]byte

func parseFirmware(version string) (firmware, error) {
	var f firmware
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &f[0], &f[1], &f[2]); err != nil {
		return f, fmt.Errorf("parse firmware version %q: %w", version, err)
	}
	if !f.atLeast(4, 3) {
		return f, fmt.Errorf("firmware %s: no virtual card is older than 4.3", version)
	}
	return f, nil
}

func (f firmware) String() string { return fmt.Sprintf("%d.%d.%d", f[0], f[1], f[2]) }

func (f firmware) atLeast(major, minor byte) bool {
	return slices.Compare(f[:2], []byte{major, minor}) >= 0
}
