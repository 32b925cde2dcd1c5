package protocol

import (
	"net/url"
	"slices"
	"strings"

	"countersign/internal/secret"
)

// PathOTP is where a device turns a code into an approval request.
const PathOTP = "/device/v1/otp"

// Where the code came from that brought a request to a device, as its agent
// says.
const (
	OriginTyped  = "typed"  // typed, pasted or piped
	OriginLink   = "link"   // opened by a link, which anybody can send
	OriginImage  = "image"  // read from an image file
	OriginScreen = "screen" // read from the screen
)

// ValidOrigin reports whether s is one of the origins.
func ValidOrigin(s string) bool {
	return slices.Contains([]string{OriginTyped, OriginLink, OriginImage, OriginScreen}, s)
}

// OTPRedemption is the body of POST PathOTP. The first device to redeem a code
// is the one that is asked; the same device may ask again.
type OTPRedemption struct {
	OTP    string `json:"otp"`
	Origin string `json:"origin"`
}

// OTPRedeemed answers it with 200: the one approval request, which from now on
// is also among Requests. Now is the server's clock.
type OTPRedeemed struct {
	Now     int64  `json:"now"`
	Request string `json:"request"`
}

// OTPURI is what the link or the QR code of a transaction without a user says.
type OTPURI struct {
	// Server is the device URL, https. It only picks the profile: nothing is
	// ever asked of a server that the device is not enrolled at.
	Server string
	OTP    secret.Value
}

const otpPrefix = "countersign:otp?"

// MaxOTP is the length in bytes over which a code is refused.
const MaxOTP = 128

// String is the link, with its code.
func (u OTPURI) String() string {
	return otpPrefix + "server=" + url.QueryEscape(u.Server) + "&otp=" + url.QueryEscape(string(u.OTP.Reveal()))
}

// ParseOTPURI reads a link. Its errors never repeat the link.
func ParseOTPURI(s string) (OTPURI, error) {
	query, ok := strings.CutPrefix(s, otpPrefix)
	if !ok || len(s) > 4096 {
		return OTPURI{}, errorf(CodeBadMessage, "not a link with a code: it does not begin with %s or is too long", otpPrefix)
	}
	q, err := strictQuery(query, "server", "otp")
	if err != nil {
		return OTPURI{}, errorf(CodeBadMessage, "not a link with a code: %s", err.Detail)
	}
	u := OTPURI{Server: strings.TrimSuffix(q.Get("server"), "/"), OTP: secret.New([]byte(q.Get("otp")))}
	if !ValidIssuer(u.Server) || len(u.Server) > maxValue {
		return OTPURI{}, errorf(CodeBadMessage, "not a link with a code: server is not an https URL")
	}
	return u, CheckOTP(q.Get("otp"))
}

// CheckOTP refuses what cannot be a code, without repeating it.
func CheckOTP(s string) error {
	if s == "" || len(s) > MaxOTP || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return errorf(CodeBadMessage, "not a code: it has letters and the digits 2 to 7 alone")
	}
	return nil
}

// strictQuery reads a query in which each member is known and given once.
func strictQuery(query string, known ...string) (url.Values, *Error) {
	if strings.Contains(query, "#") {
		return nil, errorf(CodeBadMessage, "it has a fragment")
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return nil, errorf(CodeBadMessage, "its query is malformed")
	}
	for name, values := range q {
		if len(values) != 1 || !slices.Contains(known, name) {
			return nil, errorf(CodeBadMessage, "a member is unknown or given twice")
		}
	}
	return q, nil
}
