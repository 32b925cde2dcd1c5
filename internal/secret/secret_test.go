package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"countersign/internal/secret"
)

func TestValueIsNeverPrinted(t *testing.T) {
	v := struct{ PIN secret.Value }{secret.New([]byte("493817"))}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "pin", v.PIN)
	for _, out := range []string{
		fmt.Sprint(v.PIN), fmt.Sprintf("%v %+v %#v %s %q %x %d", v, v, v, v, v, v, v),
		fmt.Sprintf("%v", &v), fmt.Errorf("oops: %v", v.PIN).Error(), log.String(),
	} {
		if strings.Contains(out, "493817") || strings.Contains(out, "343933") || strings.Contains(out, "52 57") {
			t.Errorf("the secret was printed: %s", out)
		}
	}
	if _, err := json.Marshal(v); !errors.Is(err, secret.ErrMarshal) {
		t.Errorf("json.Marshal: got %v, want ErrMarshal", err)
	}
}

func TestWipe(t *testing.T) {
	b := []byte("493817")
	v := secret.New(b)
	v.Wipe()
	if !bytes.Equal(b, make([]byte, 6)) {
		t.Errorf("after Wipe the bytes are %q", b)
	}
}
