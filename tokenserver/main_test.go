package tokenserver_test

import (
	"testing"

	"go.uber.org/goleak"
)

// No test may leave a poll, a connection or a background task behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
