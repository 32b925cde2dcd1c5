package protocol_test

import (
	"strings"
	"testing"

	"countersign/internal/secret"
	"countersign/protocol"
)

func TestOTPURIRoundTrip(t *testing.T) {
	for _, u := range []protocol.OTPURI{
		{Server: "https://auth.example", OTP: secret.New([]byte("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))},
		{Server: "https://auth.example:8443/a%20b", OTP: secret.New([]byte(strings.Repeat("7", protocol.MaxOTP)))},
	} {
		got, err := protocol.ParseOTPURI(u.String())
		if err != nil || got.Server != u.Server || string(got.OTP.Reveal()) != string(u.OTP.Reveal()) {
			t.Errorf("%s: %+v, %v", u, got, err)
		}
	}
}

func TestOTPURIRefuses(t *testing.T) {
	const good = "countersign:otp?server=https%3A%2F%2Fauth.example&otp=ABCDEFGH"
	if _, err := protocol.ParseOTPURI(good); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]string{
		"empty": "", "bare code": "ABCDEFGH", "enrollment": "countersign:enroll?server=https://x&token=A", "capitals": strings.Replace(good, "otp?", "OTP?", 1),
		"no server": "countersign:otp?otp=ABCDEFGH", "http": strings.Replace(good, "https", "http", 1), "no code": "countersign:otp?server=https%3A%2F%2Fauth.example",
		"code twice": good + "&otp=ABCDEFGH", "stranger": good + "&x=1", "fragment": good + "#x", "small letters": strings.Replace(good, "ABCD", "abcd", 1),
		"a digit of none": strings.Replace(good, "ABCD", "ABC1", 1), "too long a code": good + strings.Repeat("A", protocol.MaxOTP), "too long": good + strings.Repeat("A", 5000),
		"user in server": strings.Replace(good, "auth.example", "a%40auth.example", 1), "space": good + " ", "percent": good + "%zz",
	} {
		_, err := protocol.ParseOTPURI(s)
		wantCode(t, err, protocol.CodeBadMessage)
		if err != nil && strings.Contains(err.Error(), "ABCD") {
			t.Errorf("%s: the error repeats the code: %v", name, err)
		}
	}
}

func FuzzParseOTPURI(f *testing.F) {
	f.Add("countersign:otp?server=https%3A%2F%2Fauth.example&otp=ABCDEFGH")
	f.Add("countersign:otp?server=https://x&otp=A&otp=B#")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := protocol.ParseOTPURI(s)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		again, err := protocol.ParseOTPURI(u.String())
		if err != nil || again.Server != u.Server || string(again.OTP.Reveal()) != string(u.OTP.Reveal()) {
			t.Errorf("%q is %+v, and that again %+v, %v", s, u, again, err)
		}
	})
}
