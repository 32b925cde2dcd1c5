package qr_test

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	rsc "rsc.io/qr"

	"countersign/session/qr"
)

const (
	code = "MFRGGZDFMZTWQ2LKNNWG23TPOA"
	link = "countersign:otp?server=https%3A%2F%2Fsign.example.com%3A8444&otp=" + code
)

// picture is a screen of w by h with the codes of texts in a row.
func picture(t testing.TB, w, h, scale int, ground, ink color.Color, texts ...string) image.Image {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.Draw(img, img.Bounds(), image.NewUniform(ground), image.Point{}, draw.Src)
	x := 40
	for _, text := range texts {
		c, err := rsc.Encode(text, rsc.M)
		if err != nil {
			t.Fatal(err)
		}
		for my := range c.Size {
			for mx := range c.Size {
				if c.Black(mx, my) {
					at := image.Rect(x+mx*scale, 40+my*scale, x+(mx+1)*scale, 40+(my+1)*scale)
					draw.Draw(img, at, image.NewUniform(ink), image.Point{}, draw.Src)
				}
			}
		}
		x += (c.Size + 8) * scale
	}
	return img
}

func asPNG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asJPEG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 60}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadFindsTheCode(t *testing.T) {
	t.Parallel()
	plain := picture(t, 500, 400, 6, color.White, color.Black, link)
	for name, data := range map[string][]byte{
		"link":           asPNG(t, plain),
		"jpeg":           asJPEG(t, plain),
		"bare code":      asPNG(t, picture(t, 400, 300, 4, color.White, color.Black, code)),
		"dark desktop":   asPNG(t, picture(t, 500, 400, 6, color.Gray{30}, color.Gray{220}, link)),
		"low contrast":   asPNG(t, picture(t, 500, 400, 6, color.Gray{180}, color.Gray{90}, link)),
		"whole screen":   asPNG(t, picture(t, 1920, 1080, 4, color.Gray{240}, color.Black, link)),
		"beside another": asPNG(t, picture(t, 900, 500, 6, color.White, color.Black, "https://example.com/", link)),
		"twice the same": asPNG(t, picture(t, 900, 500, 6, color.White, color.Black, link, link)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := link
			if name == "bare code" {
				want = code
			}
			got, err := qr.Read(t.Context(), bytes.NewReader(data))
			if err != nil || got != want {
				t.Errorf("Read = %q, %v", got, err)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	other := strings.Replace(link, code, "AAAAAAAAAAAAAAAAAAAAAAAAAA", 1)
	empty := asPNG(t, image.NewGray(image.Rect(0, 0, 300, 300)))
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"no picture":    {[]byte("<svg/>"), qr.ErrUnreadable},
		"nothing":       {nil, qr.ErrUnreadable},
		"cut off":       {empty[:len(empty)/2], qr.ErrUnreadable},
		"no code":       {empty, qr.ErrNone},
		"a web page":    {asPNG(t, picture(t, 500, 400, 6, color.White, color.Black, "https://example.com/")), qr.ErrNone},
		"an enrollment": {asPNG(t, picture(t, 500, 400, 6, color.White, color.Black, "countersign:enroll?server=https%3A%2F%2Fe.example&token=abc")), qr.ErrNone},
		"two codes":     {asPNG(t, picture(t, 900, 500, 6, color.White, color.Black, link, other)), qr.ErrSeveral},
		"too wide":      {asPNG(t, image.NewGray(image.Rect(0, 0, qr.MaxPixels+1, 1))), qr.ErrTooLarge},
		"too long":      {append(slices.Clone(empty), make([]byte, qr.MaxBytes)...), qr.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := qr.Read(t.Context(), bytes.NewReader(c.data)); !errors.Is(err, c.want) {
				t.Errorf("Read = %q, %v, want %v", got, err, c.want)
			}
		})
	}
}

// TestReadTakesAFile hands a file over by its descriptor.
func TestReadTakesAFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "code.png")
	if err := os.WriteFile(name, asPNG(t, picture(t, 500, 400, 6, color.White, color.Black, link)), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := qr.Read(t.Context(), f); err != nil || got != link {
		t.Errorf("Read = %q, %v", got, err)
	}
}

// TestReadEndsInTime: a picture that never ends is given up, with its process.
func TestReadEndsInTime(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	go func() { <-ctx.Done(); _ = w.Close() }()
	if _, err := qr.Read(ctx, r); !errors.Is(err, qr.ErrTime) {
		t.Errorf("Read = %v", err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %s", d)
	}
}

// TestConfinedProcessIsShutIn tries what somebody would who had taken the
// process over. Each attempt succeeds before confine and fails after it.
func TestConfinedProcessIsShutIn(t *testing.T) {
	t.Parallel()
	for name := range attempts("", "") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("/proc/self/exe", "escape", name)
			cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// FuzzPayload writes a text into a QR code and reads it back: only codes come
// out, unchanged.
func FuzzPayload(f *testing.F) {
	for _, seed := range []string{
		link, code, "", "https://example.com/", "countersign:otp?", linkWith("A\nB"), linkWith("\x00"),
		"countersign:enroll?server=https%3A%2F%2Fe.example&token=abc", strings.ToLower(code), code + code + code + code + code,
		"WIFI:S:x;T:WPA;P:y;;", "countersign:otp?server=\u202ehttps", code[:25],
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := rsc.Encode(text, rsc.L)
		if err != nil {
			return // too long for a QR code
		}
		got, err := qr.Decode(c.PNG())
		if err == nil && (got != text || strings.ContainsFunc(got, func(r rune) bool { return r <= ' ' || r > '~' })) {
			t.Errorf("%q was read as %q", text, got)
		}
	})
}

// FuzzPicture reads anything at all.
func FuzzPicture(f *testing.F) {
	img := picture(f, 160, 160, 2, color.White, color.Black, code)
	f.Add(asPNG(f, img))
	f.Add(asJPEG(f, img))
	f.Add([]byte("\x89PNG\r\n\x1a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, _, err := image.DecodeConfig(bytes.NewReader(data))
		if err == nil && cfg.Width*cfg.Height > 1<<20 {
			return // right, and slow
		}
		if got, err := qr.Decode(data); (err == nil) == (got == "") {
			t.Errorf("Decode = %q, %v", got, err)
		}
	})
}

func linkWith(s string) string { return "countersign:otp?server=" + s }
