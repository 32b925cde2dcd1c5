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

// explain turns a TPM's response code into the port's words. Errors that
// already carry a sentinel pass unchanged.
func explain(err error) error {
	if err == nil {
		return nil
	}
	switch {
	case errors.Is(err, tpm2.TPMRCObjectMemory), errors.Is(err, tpm2.TPMRCSessionMemory):
		return fmt.Errorf("%w: other programs have left it without free memory; /dev/tpmrm0 would keep them apart: %w", hsm.ErrUnavailable, err)
	case errors.Is(err, tpm2.TPMRCNVSpace):
		return fmt.Errorf("%w: no room for another PIN: %w", hsm.ErrUnavailable, err)
	case errors.Is(err, tpm2.TPMRCInitialize), errors.Is(err, tpm2.TPMRCFailure):
		return fmt.Errorf("%w: chip not in service: %w", hsm.ErrUnavailable, err)
	}
	return err
}

// ownerError explains a refusal of what only the chip's owner may do. This
// program always offers the empty owner password.
func ownerError(err error) error {
	if errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		return fmt.Errorf("%w: the TPM's owner password is set: %w", hsm.ErrPermission, err)
	}
	if errors.Is(err, tpm2.TPMRCHierarchy) {
		return fmt.Errorf("%w: the TPM's owner hierarchy is disabled: %w", hsm.ErrUnavailable, err)
	}
	return err
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
	if errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("%w: another program holds it: %w", hsm.ErrUnavailable, err)
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
