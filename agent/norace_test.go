//go:build !race

package agent

const slowdown = 1
