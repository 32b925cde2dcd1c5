package protocol_test

import (
	"math"
	"strings"
	"testing"

	"countersign/protocol"
)

// long is n bytes of text.
func long(n int) string { return strings.Repeat("x", n) }

func TestRequestLimits(t *testing.T) {
	type change = func(*protocol.Request)
	for name, tt := range map[string]struct {
		change change
		code   string
	}{
		"whole": {func(*protocol.Request) {}, ""},
		"bare C0": {func(r *protocol.Request) {
			r.Class, r.NumberMatch, r.Context, r.Details, r.SigningData = protocol.C0, nil, nil, nil, ""
		}, ""},
		"C0 with number":         {func(r *protocol.Request) { r.Class = protocol.C0 }, ""},
		"C1 without number":      {func(r *protocol.Request) { r.Class, r.NumberMatch = protocol.C1, nil }, protocol.CodeBadMessage},
		"no class":               {func(r *protocol.Request) { r.Class = 0 }, protocol.CodeBadMessage},
		"class beyond":           {func(r *protocol.Request) { r.Class = protocol.C3 + 1 }, protocol.CodeBadMessage},
		"3 digits":               {func(r *protocol.Request) { r.NumberMatch.Digits = 3 }, protocol.CodeBadMessage},
		"4 digits":               {func(r *protocol.Request) { r.NumberMatch.Digits = 4 }, ""},
		"9 digits":               {func(r *protocol.Request) { r.NumberMatch.Digits = 9 }, ""},
		"10 digits":              {func(r *protocol.Request) { r.NumberMatch.Digits = 10 }, protocol.CodeBadMessage},
		"method unknown":         {func(r *protocol.Request) { r.Method = "sms" }, protocol.CodeBadMessage},
		"no method":              {func(r *protocol.Request) { r.Method = "" }, protocol.CodeBadMessage},
		"no iss":                 {func(r *protocol.Request) { r.Issuer = "" }, protocol.CodeBadMessage},
		"iss http":               {func(r *protocol.Request) { r.Issuer = "http://auth.example" }, protocol.CodeBadMessage},
		"no aud":                 {func(r *protocol.Request) { r.Audience = "" }, protocol.CodeBadMessage},
		"no sub":                 {func(r *protocol.Request) { r.Subject = "" }, protocol.CodeBadMessage},
		"no jti":                 {func(r *protocol.Request) { r.ID = "" }, protocol.CodeBadMessage},
		"blank jti":              {func(r *protocol.Request) { r.ID = " \u00a0\u3000" }, protocol.CodeBadMessage},
		"no type":                {func(r *protocol.Request) { r.Type = "" }, protocol.CodeBadMessage},
		"no client id":           {func(r *protocol.Request) { r.Client.ID = "" }, protocol.CodeBadMessage},
		"no client name":         {func(r *protocol.Request) { r.Client.Name = "" }, protocol.CodeBadMessage},
		"no message":             {func(r *protocol.Request) { r.Message = "" }, protocol.CodeBadMessage},
		"blank message":          {func(r *protocol.Request) { r.Message = "  " }, protocol.CodeBadMessage},
		"no iat":                 {func(r *protocol.Request) { r.IssuedAt = 0 }, protocol.CodeBadMessage},
		"iat before the epoch":   {func(r *protocol.Request) { r.IssuedAt = -1 }, protocol.CodeBadMessage},
		"no exp":                 {func(r *protocol.Request) { r.ExpiresAt = 0 }, protocol.CodeBadMessage},
		"exp at iat":             {func(r *protocol.Request) { r.ExpiresAt = r.IssuedAt }, protocol.CodeBadMessage},
		"a day":                  {func(r *protocol.Request) { r.ExpiresAt = r.IssuedAt + protocol.MaxLifetime }, ""},
		"over a day":             {func(r *protocol.Request) { r.ExpiresAt = r.IssuedAt + protocol.MaxLifetime + 1 }, protocol.CodeBadMessage},
		"last second of 9999":    {func(r *protocol.Request) { r.IssuedAt, r.ExpiresAt = 253402300798, 253402300799 }, ""},
		"year 10000":             {func(r *protocol.Request) { r.IssuedAt, r.ExpiresAt = 253402300799, 253402300800 }, protocol.CodeBadMessage},
		"end of time":            {func(r *protocol.Request) { r.IssuedAt, r.ExpiresAt = math.MaxInt64-1, math.MaxInt64 }, protocol.CodeBadMessage},
		"20 details":             {func(r *protocol.Request) { r.Details = details(20) }, ""},
		"21 details":             {func(r *protocol.Request) { r.Details = details(21) }, protocol.CodeBadMessage},
		"empty label":            {func(r *protocol.Request) { r.Details[1].Label = "" }, protocol.CodeBadMessage},
		"empty value":            {func(r *protocol.Request) { r.Details[1].Value = "" }, protocol.CodeBadMessage},
		"empty context":          {func(r *protocol.Request) { r.Context = &protocol.Context{} }, ""},
		"control in label":       {func(r *protocol.Request) { r.Details[0].Label = "a\nServer" }, protocol.CodeBadText},
		"bidi in context device": {func(r *protocol.Request) { r.Context.Device = "\u202e" }, protocol.CodeBadText},
		"control in name":        {func(r *protocol.Request) { r.Client.Name = "a\x1bb" }, protocol.CodeBadText},
		"decomposed type":        {func(r *protocol.Request) { r.Type = "e\u0301" }, protocol.CodeBadText},
		"control in signing":     {func(r *protocol.Request) { r.SigningData = "a\nb" }, protocol.CodeBadText},
	} {
		t.Run(name, func(t *testing.T) {
			r := request()
			tt.change(r)
			wantCode(t, r.Validate(), tt.code)
		})
	}
}

func details(n int) []protocol.Detail {
	var d []protocol.Detail
	for range n {
		d = append(d, protocol.Detail{Label: "l", Value: "v"})
	}
	return d
}

func TestRequestStringLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		limit int
		set   func(*protocol.Request, string)
	}{
		"aud":          {128, func(r *protocol.Request, s string) { r.Audience = s }},
		"sub":          {128, func(r *protocol.Request, s string) { r.Subject = s }},
		"jti":          {128, func(r *protocol.Request, s string) { r.ID = s }},
		"type":         {128, func(r *protocol.Request, s string) { r.Type = s }},
		"client.id":    {128, func(r *protocol.Request, s string) { r.Client.ID = s }},
		"client.name":  {128, func(r *protocol.Request, s string) { r.Client.Name = s }},
		"message":      {1024, func(r *protocol.Request, s string) { r.Message = s }},
		"label":        {64, func(r *protocol.Request, s string) { r.Details[0].Label = s }},
		"value":        {512, func(r *protocol.Request, s string) { r.Details[0].Value = s }},
		"ip":           {512, func(r *protocol.Request, s string) { r.Context.IP = s }},
		"place":        {512, func(r *protocol.Request, s string) { r.Context.Place = s }},
		"user_agent":   {512, func(r *protocol.Request, s string) { r.Context.UserAgent = s }},
		"device":       {512, func(r *protocol.Request, s string) { r.Context.Device = s }},
		"signing_data": {16384, func(r *protocol.Request, s string) { r.SigningData = s }},
	} {
		t.Run(name, func(t *testing.T) {
			r := request()
			tt.set(r, long(tt.limit))
			wantCode(t, r.Validate(), "")
			tt.set(r, long(tt.limit+1))
			wantCode(t, r.Validate(), protocol.CodeBadText)
		})
	}
}

func TestValidIssuer(t *testing.T) {
	for _, good := range []string{"https://auth.example", "https://auth.example:8443/cs", "https://[2001:db8::1]/", "https://xn--mnchen-3ya.example"} {
		if !protocol.ValidIssuer(good) {
			t.Errorf("%s is refused", good)
		}
	}
	for _, bad := range []string{
		"", "auth.example", "http://auth.example", "https:auth.example", "https://", "https:///x", "https://:443",
		"https://user@auth.example", "https://@auth.example", "https://user:pw@auth.example", "https://auth.example?x=1",
		"https://auth.example?", "https://auth.example#x", "https://auth.example#", "https://auth.example/\u202ex",
		"https://аuth.example", "https://auth.example/a b", "https://auth.example\n", "https://auth.example/%zz",
	} {
		if protocol.ValidIssuer(bad) {
			t.Errorf("%q is accepted", bad)
		}
	}
}
