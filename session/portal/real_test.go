package portal_test

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"

	rsc "rsc.io/qr"

	"countersign/internal/testenv"
	"countersign/session/portal"
	"countersign/session/qr"
)

const link = "countersign:otp?server=https%3A%2F%2Fsign.example.com&otp=MFRGGZDFMZTWQ2LKNNWG23TPOA"

type shot struct {
	file *os.File
	err  error
}

func takePicture(t *testing.T, desk *testenv.Desktop) <-chan shot {
	t.Helper()
	done := make(chan shot, 1)
	go func() {
		f, err := portal.Screenshot(t.Context(), desk.BusAddress)
		done <- shot{f, err}
	}()
	return done
}

// TestScreenshotThroughTheRealPortal has a person asked by the real dialog, who
// allows it.
func TestScreenshotThroughTheRealPortal(t *testing.T) {
	t.Parallel()
	desk := testenv.StartDesktop(t)
	desk.StartPortal()
	code, err := rsc.Encode(link, rsc.M)
	if err != nil {
		t.Fatal(err)
	}
	code.Scale = 5
	desk.ShowPicture(code.PNG())
	done := takePicture(t, desk)
	desk.AnswerPortal(true)
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	defer r.file.Close()
	data, err := io.ReadAll(r.file)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := qr.Decode(data); err != nil || got != link {
		t.Errorf("the picture says %q, %v", got, err)
	}
	if _, err := os.Stat(r.file.Name()); !os.IsNotExist(err) {
		t.Error("the picture was left on the disk")
	}
}

// TestScreenshotDenied is the same person, who does not.
func TestScreenshotDenied(t *testing.T) {
	t.Parallel()
	desk := testenv.StartDesktop(t)
	desk.StartPortal()
	done := takePicture(t, desk)
	desk.AnswerPortal(false)
	if r := <-done; !errors.Is(r.err, portal.ErrCancelled) || errors.Is(r.err, context.DeadlineExceeded) {
		t.Errorf("Screenshot = %v", r.err)
	}
}
