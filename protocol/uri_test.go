package protocol_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"countersign/internal/secret"
	"countersign/protocol"
)

func TestEnrollURIRoundTrip(t *testing.T) {
	pin := sha256.Sum256([]byte("root"))
	for _, u := range []protocol.EnrollURI{
		{Server: "https://auth.example", Token: secret.New([]byte("AbC-123_x"))},
		{Server: "https://auth.example:8443/countersign", Token: secret.New([]byte("a+b&c=d %")), CA: pin[:]},
		{Server: "https://[2001:db8::1]:8443", Token: secret.New([]byte("ключ"))},
	} {
		got, err := protocol.ParseEnrollURI(u.String())
		if err != nil {
			t.Errorf("%s: %v", u.String(), err)
			continue
		}
		if got.Server != u.Server || !bytes.Equal(got.Token.Reveal(), u.Token.Reveal()) || !bytes.Equal(got.CA, u.CA) {
			t.Errorf("%s became %s", u.String(), got.String())
		}
	}
}

func TestParseEnrollURI(t *testing.T) {
	const start, token = "countersign:enroll?server=https%3A%2F%2Fauth.example", "&token=sesame"
	pin := protocol.Pin(make([]byte, 32))
	for name, tt := range map[string]struct {
		in string
		ok bool
	}{
		"whole":                  {start + token + "&ca=" + pin, true},
		"without ca":             {start + token, true},
		"other order":            {"countersign:enroll?token=sesame&server=https://auth.example", true},
		"trailing slash":         {start + "%2F" + token, true},
		"empty":                  {"", false},
		"another scheme":         {strings.Replace(start, "countersign", "https", 1) + token, false},
		"scheme in capitals":     {strings.Replace(start, "countersign", "COUNTERSIGN", 1) + token, false},
		"another action":         {strings.Replace(start, "enroll", "approve", 1) + token, false},
		"as authority":           {strings.Replace(start, "countersign:", "countersign://", 1) + token, false},
		"leading space":          {" " + start + token, false},
		"no query":               {"countersign:enroll?", false},
		"no server":              {"countersign:enroll?token=sesame", false},
		"no token":               {start, false},
		"empty token":            {start + "&token=", false},
		"long token":             {start + "&token=" + long(129), false},
		"control in token":       {start + "&token=a%00b", false},
		"bidi in token":          {start + "&token=%E2%80%AE", false},
		"token twice":            {start + token + token, false},
		"server twice":           {start + "&server=https://evil.example" + token, false},
		"unknown member":         {start + token + "&next=x", false},
		"member in capitals":     {start + "&Token=sesame", false},
		"semicolon":              {start + ";token=sesame", false},
		"bad escape":             {start + token + "%zz", false},
		"fragment":               {start + token + "#x", false},
		"http":                   {"countersign:enroll?server=http://auth.example" + token, false},
		"server without host":    {"countersign:enroll?server=https://" + token, false},
		"server with a user":     {"countersign:enroll?server=https://auth.example@evil.example" + token, false},
		"server with a query":    {"countersign:enroll?server=https://auth.example%3Fx" + token, false},
		"server with bidi":       {"countersign:enroll?server=https://auth.example/%E2%80%AEmoc" + token, false},
		"server with a newline":  {"countersign:enroll?server=https://auth.example/%0Ax" + token, false},
		"server in other script": {"countersign:enroll?server=https://%D0%B0uth.example" + token, false},
		"long server":            {"countersign:enroll?server=https://" + long(600) + token, false},
		"empty ca":               {start + token + "&ca=", false},
		"ca without sha256":      {start + token + "&ca=" + strings.TrimPrefix(pin, "sha256:"), false},
		"ca of another hash":     {start + token + "&ca=" + strings.Replace(pin, "256", "512", 1), false},
		"short ca":               {start + token + "&ca=" + pin[:len(pin)-1], false},
		"padded ca":              {start + token + "&ca=" + pin + "%3D", false},
		"ca with spare bits":     {start + token + "&ca=" + pin[:len(pin)-1] + "B", false},
		"over 4 KiB":             {start + token + "&ca=" + pin + strings.Repeat("&", 4096), false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := protocol.ParseEnrollURI(tt.in)
			want := protocol.CodeBadMessage
			if tt.ok {
				want = ""
			}
			wantCode(t, err, want)
			if err != nil && strings.Contains(err.Error(), "sesame") {
				t.Errorf("the error repeats the token: %v", err)
			}
		})
	}
}

func TestEnrollURIHidesItsToken(t *testing.T) {
	u := must(protocol.ParseEnrollURI("countersign:enroll?server=https://auth.example&token=sesame"))
	if s := fmt.Sprintf("%v %+v", struct{ T secret.Value }{u.Token}, u.Token); strings.Contains(s, "sesame") {
		t.Error(s)
	}
}

func TestSPKI(t *testing.T) {
	ca := newTestCA("root", nil)
	sum := sha256.Sum256(must(x509.MarshalPKIXPublicKey(ca.key.Public())))
	if !bytes.Equal(protocol.SPKI(ca.cert), sum[:]) {
		t.Error("not the hash of the subject public key info")
	}
}

func TestConfirmationCode(t *testing.T) {
	device, approval := newTestKey("device"), newTestKey("approval")
	got := must(protocol.ConfirmationCode(device.Public(), approval.Public()))
	sum := sha256.Sum256([]byte("countersign confirmation\n" + device.kid() + "\n" + approval.kid()))
	if want := fmt.Sprintf("%06d", binary.BigEndian.Uint64(sum[:])%1000000); got != want {
		t.Errorf("code %s, want %s", got, want)
	}
	for _, other := range []string{
		must(protocol.ConfirmationCode(approval.Public(), device.Public())),
		must(protocol.ConfirmationCode(device.Public(), newTestKey("stranger").Public())),
		must(protocol.ConfirmationCode(newTestKey("stranger").Public(), approval.Public())),
	} {
		if other == got {
			t.Errorf("other keys, same code %s", got)
		}
	}
}
