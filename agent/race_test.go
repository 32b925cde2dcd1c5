//go:build race

package agent

// The race detector makes everything several times as slow.
const slowdown = 10
