package audit_test

import (
	"fmt"
	"os"
	"testing"

	"countersign/agent/audit"
	"countersign/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.RunOrLive(m, live)) }

// live is a short life of a log that is opened twice. What is printed has returned.
func live(dir string) error {
	for range 2 {
		l, err := audit.Open(dir, clock())
		if err != nil {
			return err
		}
		for n := range 2 {
			if err := l.Append(event(n)); err != nil {
				return err
			}
			fmt.Println("appended")
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}
