package tpm

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// target is where a TPM is reached and how.
type target struct {
	dial func(ctx context.Context) (wire, error)
	// private says that nobody else uses this TPM, so that whatever is loaded
	// at connect was left behind by a client that died.
	private bool
}

func parseSpec(spec string) (target, error) {
	kind, path, _ := strings.Cut(spec, ":")
	if !filepath.IsAbs(path) {
		return target{}, fmt.Errorf("tpm %q: want device:/dev/tpmrm0 or swtpm:/path/to/socket, with an absolute path", spec)
	}
	switch kind {
	case "device":
		return target{dial: func(context.Context) (wire, error) { return openDevice(path) }}, nil
	case "swtpm":
		return target{
			dial:    func(ctx context.Context) (wire, error) { return dialSocket(ctx, path) },
			private: true,
		}, nil
	}
	return target{}, fmt.Errorf("tpm %q: unknown kind %q, want device or swtpm", spec, kind)
}
