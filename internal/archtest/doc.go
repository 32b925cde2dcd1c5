// Package archtest holds the rules of the house that a compiler does not know:
// which package may import which, what a shipped command must never contain,
// and that every error code and every needed tool is written down. The rules
// are its tests; see rules_test.go.
package archtest
