package prompt_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"countersign/internal/secret"
	"countersign/session/prompt"
	"countersign/session/text"
)

// TestChoosePINInWindows types what is too short and what is not the same, and
// is asked again; what stands at the end is what was typed twice.
func TestChoosePINInWindows(t *testing.T) {
	d, p := gtk(t)
	type chosen struct {
		pin secret.Value
		err error
	}
	done := make(chan chosen, 1)
	go func() {
		pin, err := p.ChoosePIN(t.Context(), text.In("nl"), "https://sign.example.com")
		done <- chosen{pin, err}
	}()
	d.Answerable("Countersign registratie")
	d.XdoKey("shift+Tab", "Return")
	for _, step := range []struct{ page, typed string }{
		{"nieuwe pincode", "12345"},
		{"nieuwe pincode", "493817"},
		{"pincode nogmaals", "493818"},
		{"nieuwe pincode", "493817"},
		{"pincode nogmaals", "493817"},
	} {
		d.Answerable("Countersign " + step.page)
		d.XdoType(step.typed)
		d.XdoKey("Return")
	}
	select {
	case c := <-done:
		if c.err != nil || string(c.pin.Reveal()) != "493817" {
			t.Errorf("%q, %v", c.pin.Reveal(), c.err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the windows do not end")
	}
}

// TestNobodyAnswersAboutALink: the end of the context is no answer, and takes
// the window away.
func TestNobodyAnswersAboutALink(t *testing.T) {
	d, p := gtk(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := p.ChoosePIN(ctx, text.Printer{}, "https://sign.example.com")
		done <- err
	}()
	d.WaitWindow("Countersign enrollment")
	cancel()
	if err := <-done; !errors.Is(err, prompt.ErrNoAnswer) {
		t.Errorf("ChoosePIN = %v", err)
	}
	d.WaitNoWindow("Countersign enrollment")
}
