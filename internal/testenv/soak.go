package testenv

import (
	"math/rand/v2"
	"os"
)

// Soaking says that tests take all the time they need.
func Soaking() bool { return os.Getenv("COUNTERSIGN_SOAK") != "" }

// Stride is how many steps on the next kill comes: one in a soak, which kills at
// each; else some are left out, at most most less one and each time others.
func Stride(most int) int {
	if Soaking() {
		return 1
	}
	return 1 + rand.IntN(most)
}
