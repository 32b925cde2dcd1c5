package protocol

import (
	"crypto"
	"net/url"
	"strings"
)

const typRequest = "approval-request+jwt"

// Limits of an approval request's strings, in bytes.
const (
	maxID          = 128
	maxName        = 128
	maxMessageText = 1024
	maxDetails     = 20
	maxLabel       = 64
	maxValue       = 512
	maxContext     = 512
	maxSigning     = 16 << 10
)

// MaxLifetime is the longest an approval request may live, in seconds.
const MaxLifetime = 24 * 60 * 60

// Client is the relying party as the server knows it.
type Client struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Detail is one labeled value of what is approved.
type Detail struct {
	Label string `json:"label"`
	Value string `json:"value"`
}

// Context is where the relying party says the wish came from. It is shown as
// reported, never as fact.
type Context struct {
	IP        string `json:"ip,omitempty"`
	Place     string `json:"place,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
	Device    string `json:"device,omitempty"`
}

// NumberMatch says how many digits the person must type. The number itself
// is never in the request.
type NumberMatch struct {
	Digits int `json:"digits"`
}

// Request is an approval request: what one device asks one person. Times are
// integer seconds since the epoch, by the server's clock.
type Request struct {
	// Issuer is the Token Server's https URL.
	Issuer string `json:"iss"`
	// Audience is the device id, Subject the profile id, ID the transaction id.
	Audience  string `json:"aud"`
	Subject   string `json:"sub"`
	ID        string `json:"jti"`
	IssuedAt  int64  `json:"iat"`
	ExpiresAt int64  `json:"exp"`
	// Type is the transaction type's name, Method one of the methods.
	Type   string `json:"type"`
	Method string `json:"method"`
	// Class is the least that approving takes.
	Class       Class        `json:"class"`
	Client      Client       `json:"client"`
	Message     string       `json:"message"`
	Details     []Detail     `json:"details,omitempty"`
	Context     *Context     `json:"context,omitempty"`
	NumberMatch *NumberMatch `json:"number_match,omitempty"`
	HighValue   bool         `json:"high_value,omitempty"`
	SigningData string       `json:"signing_data,omitempty"`
	// Origin is where the code came from that brought the request, one of the
	// Origin constants; "" for a request that was pushed.
	Origin string `json:"origin,omitempty"`
}

// SignRequest validates r and signs it with the server's key.
func SignRequest(key crypto.Signer, r *Request) (string, error) {
	if err := r.Validate(); err != nil {
		return "", err
	}
	return sign(key, typRequest, r)
}

// ParseRequest verifies a compact JWS with the server's keys and returns a
// valid request. Audience and expiry are the caller's to check.
func ParseRequest(compact string, keys Keys) (*Request, error) {
	r := new(Request)
	if err := verify(compact, typRequest, keys, r); err != nil {
		return nil, err
	}
	if err := r.Validate(); err != nil {
		return nil, err
	}
	return r, nil
}

// Digits is how many digits approving takes; 0 for class C0.
func (r *Request) Digits() int {
	if r.NumberMatch == nil {
		return 0
	}
	return r.NumberMatch.Digits
}

// Validate checks every member against the protocol's limits.
func (r *Request) Validate() error {
	if err := r.validateText(); err != nil {
		return err
	}
	switch {
	case !ValidIssuer(r.Issuer):
		return errorf(CodeBadMessage, "iss is not an https URL")
	case !validTime(r.IssuedAt) || !validTime(r.ExpiresAt) || r.ExpiresAt <= r.IssuedAt || r.ExpiresAt-r.IssuedAt > MaxLifetime:
		return errorf(CodeBadMessage, "iat and exp do not make a lifetime of at most %d seconds", MaxLifetime)
	case !ValidMethod(r.Method):
		return errorf(CodeBadMessage, "method is unknown")
	case r.Origin != "" && !ValidOrigin(r.Origin):
		return errorf(CodeBadMessage, "origin is unknown")
	case !r.Class.Valid():
		return errorf(CodeBadMessage, "class is missing")
	case r.Class > C0 && r.NumberMatch == nil:
		return errorf(CodeBadMessage, "class %s without number_match", r.Class)
	case r.NumberMatch != nil && (r.NumberMatch.Digits < 4 || r.NumberMatch.Digits > 9):
		return errorf(CodeBadMessage, "number_match is not 4 to 9 digits")
	}
	return nil
}

type textRule struct {
	name, value string
	limit       int
	required    bool
}

func (r *Request) validateText() error {
	rules := []textRule{
		{"iss", r.Issuer, maxValue, true},
		{"aud", r.Audience, maxID, true},
		{"sub", r.Subject, maxID, true},
		{"jti", r.ID, maxID, true},
		{"type", r.Type, maxName, true},
		{"client.id", r.Client.ID, maxID, true},
		{"client.name", r.Client.Name, maxName, true},
		{"message", r.Message, maxMessageText, true},
		{"signing_data", r.SigningData, maxSigning, false},
	}
	if len(r.Details) > maxDetails {
		return errorf(CodeBadMessage, "details has over %d entries", maxDetails)
	}
	for _, d := range r.Details {
		rules = append(rules, textRule{"details.label", d.Label, maxLabel, true}, textRule{"details.value", d.Value, maxValue, true})
	}
	if c := r.Context; c != nil {
		rules = append(
			rules,
			textRule{"context.ip", c.IP, maxContext, false},
			textRule{"context.place", c.Place, maxContext, false},
			textRule{"context.user_agent", c.UserAgent, maxContext, false},
			textRule{"context.device", c.Device, maxContext, false},
		)
	}
	return checkTexts(rules)
}

func checkTexts(rules []textRule) error {
	for _, t := range rules {
		if t.required && strings.TrimSpace(t.value) == "" {
			return errorf(CodeBadMessage, "%s is missing", t.name)
		}
		if err := CheckText(t.name, t.value, t.limit); err != nil {
			return err
		}
	}
	return nil
}

// ValidIssuer reports whether s can name a Token Server: an https URL without
// user, query or fragment. It is ASCII, as RFC 3986 says, so that a host name
// in another script shows as the Punycode it is.
func ValidIssuer(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '?' || c == '#' {
			return false
		}
	}
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Hostname() != "" && u.User == nil
}

// maxTime is the end of the year 9999, the last that a date shows in 4 digits.
const maxTime = 253402300799

func validTime(t int64) bool { return t > 0 && t <= maxTime }
