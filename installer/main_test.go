package installer

import (
	"fmt"
	"os"
	"strconv"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(envKill) == "" {
		os.Exit(m.Run())
	}
	last, err := strconv.Atoi(os.Getenv(envKill))
	if err == nil {
		err = act(os.Getenv(envAction), os.Getenv(envRoot), os.Getenv(envPrograms), last)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
