package testenv

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"testing"
)

// xwdHeader is the header of an X window dump, as XWDFile.h says.
type xwdHeader struct {
	HeaderSize, FileVersion, PixmapFormat, PixmapDepth, PixmapWidth, PixmapHeight, XOffset,
	ByteOrder, BitmapUnit, BitmapBitOrder, BitmapPad, BitsPerPixel, BytesPerLine,
	VisualClass, RedMask, GreenMask, BlueMask, BitsPerRGB, ColormapEntries, NColors,
	WindowWidth, WindowHeight, WindowX, WindowY, WindowBorder uint32
}

// fromXWD reads what xwd wrote of a screen of 24 bits, which takes three bytes
// to a pixel while a window with an alpha channel is there, and four else.
func fromXWD(tb testing.TB, dump []byte) image.Image {
	tb.Helper()
	var h xwdHeader
	if err := binary.Read(bytes.NewReader(dump), binary.BigEndian, &h); err != nil || h.BitsPerPixel < 24 || h.ByteOrder != 0 {
		tb.Fatalf("xwd: %v, %+v", err, h)
	}
	pixels := dump[h.HeaderSize+12*h.NColors:]
	img := image.NewRGBA(image.Rect(0, 0, int(h.PixmapWidth), int(h.PixmapHeight)))
	for y := range int(h.PixmapHeight) {
		for x := range int(h.PixmapWidth) {
			p := pixels[y*int(h.BytesPerLine)+x*int(h.BitsPerPixel)/8:]
			img.Set(x, y, color.RGBA{p[2], p[1], p[0], 255})
		}
	}
	return img
}

// toXWD is a picture as xwud shows it.
func toXWD(tb testing.TB, img image.Image) []byte {
	tb.Helper()
	w, h := uint32(img.Bounds().Dx()), uint32(img.Bounds().Dy())
	head := xwdHeader{
		HeaderSize: 101, FileVersion: 7, PixmapFormat: 2, PixmapDepth: 24, PixmapWidth: w, PixmapHeight: h,
		BitmapUnit: 32, BitmapPad: 32, BitsPerPixel: 32, BytesPerLine: 4 * w,
		VisualClass: 4, RedMask: 0xff0000, GreenMask: 0xff00, BlueMask: 0xff, BitsPerRGB: 8,
		WindowWidth: w, WindowHeight: h,
	}
	var out bytes.Buffer
	if err := binary.Write(&out, binary.BigEndian, head); err != nil {
		tb.Fatal(err)
	}
	out.WriteByte(0) // no name
	for y := range int(h) {
		for x := range int(w) {
			r, g, b, _ := img.At(x, y).RGBA()
			out.Write([]byte{byte(b >> 8), byte(g >> 8), byte(r >> 8), 0})
		}
	}
	return out.Bytes()
}
