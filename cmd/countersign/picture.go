package main

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"countersign/ipc"
	"countersign/session/notify"
	"countersign/session/portal"
	"countersign/session/qr"
)

// Why a picture gives no code.
const (
	codePicture  = "picture_unreadable"
	codeNoCode   = "no_code"
	codeManyCode = "several_codes"
	codeNoHelper = "helper_failed"
	codeNoPortal = "no_portal"
)

// qrDecodeCommand is what this program starts itself as to read a picture. It
// is nobody's to call. The process ends at once with its answer: whoever has seen a
// picture does nothing more.
func (a *app) qrDecodeCommand() *cobra.Command {
	return &cobra.Command{
		Use: qr.Subcommand, Hidden: true, Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if err := qr.Serve(a.in, a.out); err != nil {
				return err
			}
			syscall.Exit(0)
			return nil
		},
	}
}

// codeInFile reads the code in a picture file.
func codeInFile(ctx context.Context, name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", ipc.Errorf(codePicture, "check its name and its mode", "the picture cannot be opened: %v", err)
	}
	defer f.Close()
	return codeIn(ctx, f)
}

// codeOnScreen reads the code in a picture of the screen.
func codeOnScreen(ctx context.Context) (string, error) {
	const otherwise = "save a picture of the code, and use --qr FILE"
	address := notify.Address()
	if address == "" {
		return "", ipc.Errorf(codeNoPortal, otherwise, "there is no desktop session to take a picture of")
	}
	f, err := portal.Screenshot(ctx, address)
	switch {
	case errors.Is(err, portal.ErrCancelled):
		return "", ipc.Errorf(codeNoAnswer, otherwise, "%v", portal.ErrCancelled)
	case err != nil:
		return "", ipc.Errorf(codeNoPortal, otherwise, "there is no picture of the screen: %v", err)
	}
	defer f.Close()
	return codeIn(ctx, f)
}

func codeIn(ctx context.Context, picture *os.File) (string, error) {
	code, err := qr.Read(ctx, picture)
	switch {
	case err == nil:
		return code, nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.Is(err, qr.ErrNone):
		return "", ipc.Errorf(codeNoCode, "make the code larger, or copy the link or the code as text", "%v", err)
	case errors.Is(err, qr.ErrSeveral):
		return "", ipc.Errorf(codeManyCode, "leave only the one that you mean on the picture", "%v", err)
	case errors.Is(err, qr.ErrConfine), errors.Is(err, qr.ErrHelper):
		return "", ipc.Errorf(codeNoHelper, "copy the link or the code as text", "%v", err)
	}
	return "", ipc.Errorf(codePicture, "give a PNG or JPEG picture of at most 20 MB and 8192 by 8192 pixels", "%v", err)
}

// checkPictures has the confined process read a code.
func checkPictures(ctx context.Context) ipc.Check {
	c := ipc.Check{Code: "qr", Status: ipc.CheckOK, Detail: "QR codes are read in a process that is shut in"}
	if err := qr.Check(ctx); err != nil {
		c.Status, c.Detail, c.Cure = ipc.CheckWarn, "no QR code can be read: "+err.Error(), "use a kernel with seccomp filters; codes and links work as text"
	}
	return c
}
