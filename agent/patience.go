package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"countersign/hsm"
)

// chipPatience is how long a person is kept waiting for a chip that says
// nothing. One that waits to be touched is waited for as long as that takes.
const chipPatience = 4 * time.Second

var errOutOfPatience = fmt.Errorf("%w: no answer within %v", hsm.ErrUnavailable, chipPatience)

// patient is ctx for as long as the patience with the chip lasts. The function
// touched keeps it from running out, and stop releases what it holds.
func patient(ctx context.Context) (waiting context.Context, touched, stop func()) {
	waiting, lose := context.WithCancelCause(ctx)
	timer := time.AfterFunc(chipPatience, func() { lose(errOutOfPatience) })
	touched = func() { timer.Stop() }
	return waiting, touched, func() {
		timer.Stop()
		lose(nil)
	}
}

// outOfPatience is why a patient context ended, if that is why.
func outOfPatience(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), errOutOfPatience) {
		return errOutOfPatience
	}
	return nil
}
