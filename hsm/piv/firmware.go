//go:build cgo

package piv

import "fmt"

// firmware is the version that a token tells of itself.
type firmware [3]byte

func (f firmware) String() string { return fmt.Sprintf("%d.%d.%d", f[0], f[1], f[2]) }

// since reports whether f is this version or a later one.
func (f firmware) since(major, minor byte) bool {
	return f[0] > major || f[0] == major && f[1] >= minor
}

// Which firmware can do what, by Yubico's "PIV: Yubico extensions".
func (f firmware) attests() bool     { return f.since(4, 3) }
func (f firmware) hasMetadata() bool { return f.since(5, 3) }
func (f firmware) deletesKeys() bool { return f.since(5, 7) }

// leaks reports CVE-2024-45678: who holds such a token and opens it can learn
// an ECDSA key from its emanations.
func (f firmware) leaks() bool { return !f.since(5, 7) }
