package testenv

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
	"slices"
)

// ShotsDir names the environment variable with the directory that Shot writes
// to; make shots sets it.
const ShotsDir = "COUNTERSIGN_SHOTS"

// maxShot is how large a picture for the documents may be, in bytes.
const maxShot = 20 << 10

// Shot writes a part of the screen to NAME.png, small enough for documents,
// where ShotsDir is set.
func (d *Desktop) Shot(name string, part func() Area) {
	d.tb.Helper()
	dir := os.Getenv(ShotsDir)
	if dir == "" {
		return
	}
	wait(2 * meant) // windows fade and slide in
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&out, fewColors(d.Screen(), part())); err != nil {
		d.tb.Fatal(err)
	}
	if out.Len() > maxShot {
		d.tb.Errorf("the picture %s takes %d bytes", name, out.Len())
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), out.Bytes(), 0o600); err != nil {
		d.tb.Fatal(err)
	}
}

// Screenshot writes the whole screen to a PNG file.
func (d *Desktop) Screenshot(path string) {
	d.tb.Helper()
	var out bytes.Buffer
	if err := png.Encode(&out, d.Screen()); err != nil {
		d.tb.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		d.tb.Fatal(err)
	}
}

// Screen returns what the X server shows, from the file that it draws in: an
// X window dump with a header of big-endian numbers.
func (d *Desktop) Screen() *image.RGBA {
	d.tb.Helper()
	dump, err := os.ReadFile(filepath.Join(d.dir, "Xvfb_screen0"))
	if err != nil {
		d.tb.Fatal(err)
	}
	field := func(n int) int { return int(binary.BigEndian.Uint32(dump[4*n:])) }
	const headerSize, width, height, order, pixelBits, lineBytes, colors, colorBytes = 0, 4, 5, 7, 11, 12, 19, 12
	if field(order) != 0 || field(pixelBits) != 32 {
		d.tb.Fatal("the X server draws in a way that is not known here")
	}
	pixels := dump[field(headerSize)+field(colors)*colorBytes:]
	screen := image.NewRGBA(image.Rect(0, 0, field(width), field(height)))
	for y := range field(height) {
		for x := range field(width) {
			p := pixels[y*field(lineBytes)+4*x:]
			screen.SetRGBA(x, y, color.RGBA{p[2], p[1], p[0], 255})
		}
	}
	return screen
}

// fewColors cuts a part out of a picture and draws it with the 16 colors that
// are most of it and not nearly the same.
func fewColors(from *image.RGBA, part Area) *image.Paletted {
	r := image.Rect(part.X, part.Y, part.X+part.Width, part.Y+part.Height).Intersect(from.Bounds())
	counts := map[color.RGBA]int{}
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			counts[from.RGBAAt(x, y)]++
		}
	}
	all := []color.RGBA{}
	for c := range counts {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b color.RGBA) int {
		return cmp.Or(counts[b]-counts[a], cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	palette := color.Palette{}
	for _, c := range all {
		if len(palette) < 16 && !slices.ContainsFunc(palette, func(p color.Color) bool { return alike(p, c) }) {
			palette = append(palette, c)
		}
	}
	out := image.NewPaletted(image.Rect(0, 0, r.Dx(), r.Dy()), palette)
	draw.Draw(out, out.Bounds(), from, r.Min, draw.Src)
	return out
}

// alike reports whether two opaque colors are hard to tell apart.
func alike(p color.Color, c color.RGBA) bool {
	r, g, b, _ := p.RGBA()
	far := func(x uint32, y uint8) int { return max(int(x>>8)-int(y), int(y)-int(x>>8)) }
	return far(r, c.R)+far(g, c.G)+far(b, c.B) < 24
}
