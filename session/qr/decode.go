package qr

import (
	"bytes"
	"fmt"
	"image"
	_ "image/jpeg" // one of the two formats that are read
	_ "image/png"  // the other

	"github.com/makiuchi-d/gozxing"
	multi "github.com/makiuchi-d/gozxing/multi/qrcode"
	single "github.com/makiuchi-d/gozxing/qrcode"
)

// Decode returns the one code in a picture. It is what the confined process
// does; nothing else calls it with a picture of somebody else's.
func Decode(picture []byte) (code string, err error) {
	// The decoder answers some malformed codes with an index out of range.
	defer func() {
		if r := recover(); r != nil {
			code, err = "", fmt.Errorf("%w: the decoder gave up", ErrUnreadable)
		}
	}()
	cfg, _, err := image.DecodeConfig(bytes.NewReader(picture))
	switch {
	case err != nil:
		return "", ErrUnreadable
	case cfg.Width > MaxPixels || cfg.Height > MaxPixels:
		return "", ErrTooLarge
	}
	img, _, err := image.Decode(bytes.NewReader(picture))
	if err != nil {
		return "", ErrUnreadable
	}
	return theOne(texts(img))
}

// theOne is the code among what QR codes say.
func theOne(texts []string) (string, error) {
	code := ""
	for _, text := range texts {
		switch {
		case !isCode(text) || text == code:
		case code != "":
			return "", ErrSeveral
		default:
			code = text
		}
	}
	if code == "" {
		return "", ErrNone
	}
	return code, nil
}

// texts are the contents of all QR codes that are found. Two ways of finding
// them look at the picture and at its negative: a dark desktop shows light
// codes on dark ground.
func texts(img image.Image) []string {
	source := gozxing.NewLuminanceSourceFromImage(img)
	var found []string
	for _, s := range []gozxing.LuminanceSource{source, gozxing.NewInvertedLuminanceSource(source)} {
		bitmap, err := gozxing.NewBinaryBitmap(gozxing.NewHybridBinarizer(s))
		if err != nil {
			continue
		}
		found = append(found, read(bitmap)...)
	}
	return found
}

func read(bitmap *gozxing.BinaryBitmap) []string {
	var found []string
	hints := map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true}
	results, _ := multi.NewQRCodeMultiReader().DecodeMultiple(bitmap, hints)
	if one, err := single.NewQRCodeReader().Decode(bitmap, hints); err == nil {
		results = append(results, one)
	}
	for _, r := range results {
		found = append(found, r.GetText())
	}
	return found
}
