package tpm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"countersign/hsm"

	"github.com/google/go-tpm/tpm2"
)

// explain gives every failure of a chip a name that callers can branch on. What
// already carries one passes unchanged, and so does what a caller's own function
// returned. The rest is a chip that talks nonsense, or says what it should not.
func explain(err error) error {
	var own *callerError
	switch {
	case err == nil, errors.As(err, &own), named(err):
		return err
	case outOfMemory(err):
		return fmt.Errorf("%w; other programs have left it none, and /dev/tpmrm0 would keep them apart: %w", hsm.ErrNoMemory, err)
	case errors.Is(err, tpm2.TPMRCNVSpace):
		return fmt.Errorf("%w: no space for another PIN index: %w", hsm.ErrNoRoom, err)
	case errors.Is(err, tpm2.TPMRCInitialize), errors.Is(err, tpm2.TPMRCFailure):
		return fmt.Errorf("%w: chip not in service: %w", hsm.ErrUnavailable, err)
	}
	return fmt.Errorf("%w: unexpected answer: %w", hsm.ErrUnavailable, err)
}

// callerError is what a function of the caller's returned.
type callerError struct{ error }

func (e *callerError) Unwrap() error { return e.error }

func named(err error) bool {
	for _, name := range []error{
		context.Canceled, hsm.ErrUnavailable, hsm.ErrForeignKey, hsm.ErrBadReference, hsm.ErrWrongPIN, hsm.ErrPINLocked,
		hsm.ErrAdminRequired, hsm.ErrNoRoom, hsm.ErrUnsupported, hsm.ErrNoAttestation,
	} {
		if errors.Is(err, name) {
			return true
		}
	}
	return false
}

// outOfMemory reports that the chip has no free slot (Part 2, 6.6.3).
func outOfMemory(err error) bool {
	return errors.Is(err, tpm2.TPMRCObjectMemory) || errors.Is(err, tpm2.TPMRCSessionMemory) ||
		errors.Is(err, tpm2.TPMRCMemory)
}

// dialError says why there is no connection.
func dialError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return wireError(ctx, err)
	}
	if path := (*fs.PathError)(nil); errors.Is(err, fs.ErrPermission) && errors.As(err, &path) {
		return fmt.Errorf("%w: %w%s", hsm.ErrPermission, err, groupHint(path.Path))
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w", hsm.ErrPermission, err)
	}
	if errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EAGAIN) { // a device; swtpm's socket
		return fmt.Errorf("%w: %w", hsm.ErrBusy, err)
	}
	return fmt.Errorf("%w: %w", hsm.ErrUnavailable, err)
}

// groupHint names the group that may open a device, or says nothing.
func groupHint(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	name := strconv.FormatUint(uint64(stat.Gid), 10)
	if group, err := user.LookupGroupId(name); err == nil {
		name = group.Name
	}
	return fmt.Sprintf(" (members of group %s may open it)", name)
}

// wireError says why an exchange failed. A caller who gave up learns just that.
func wireError(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case cause == nil:
		return fmt.Errorf("%w: connection lost: %w", hsm.ErrUnavailable, err)
	case errors.Is(cause, hsm.ErrUnavailable), errors.Is(cause, context.Canceled):
		return fmt.Errorf("talking to the TPM: %w", cause)
	}
	return fmt.Errorf("%w: no answer in time: %w", hsm.ErrUnavailable, cause)
}
