package protocol_test

import (
	"slices"
	"testing"

	"countersign/protocol"
)

func TestDecisionLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*protocol.Decision)
		code   string
	}{
		"whole":                      {func(*protocol.Decision) {}, ""},
		"cancelled by denying":       {func(d *protocol.Decision) { deny(d, protocol.ReasonCancelled) }, ""},
		"denied as not mine":         {func(d *protocol.Decision) { deny(d, protocol.ReasonNotMe) }, ""},
		"denied for no reason":       {func(d *protocol.Decision) { deny(d, "") }, protocol.CodeBadMessage},
		"denied otherwise":           {func(d *protocol.Decision) { deny(d, "tired") }, protocol.CodeBadMessage},
		"approved with reason":       {func(d *protocol.Decision) { d.Reason = protocol.ReasonCancelled }, protocol.CodeBadMessage},
		"undecided":                  {func(d *protocol.Decision) { d.Decision = "" }, protocol.CodeBadMessage},
		"decided otherwise":          {func(d *protocol.Decision) { d.Decision = "Approve" }, protocol.CodeBadMessage},
		"no iss":                     {func(d *protocol.Decision) { d.Issuer = "" }, protocol.CodeBadMessage},
		"no aud":                     {func(d *protocol.Decision) { d.Audience = "" }, protocol.CodeBadMessage},
		"no sub":                     {func(d *protocol.Decision) { d.Subject = "" }, protocol.CodeBadMessage},
		"no jti":                     {func(d *protocol.Decision) { d.ID = "" }, protocol.CodeBadMessage},
		"no lang":                    {func(d *protocol.Decision) { d.Language = "" }, protocol.CodeBadMessage},
		"no tz":                      {func(d *protocol.Decision) { d.TimeZone = "" }, protocol.CodeBadMessage},
		"no iat":                     {func(d *protocol.Decision) { d.IssuedAt = 0 }, protocol.CodeBadMessage},
		"no req":                     {func(d *protocol.Decision) { d.Request = "" }, protocol.CodeBadMessage},
		"short display":              {func(d *protocol.Decision) { d.Display = d.Display[1:] }, protocol.CodeBadMessage},
		"padded prev":                {func(d *protocol.Decision) { d.Prev += "=" }, protocol.CodeBadMessage},
		"prev in hex":                {func(d *protocol.Decision) { d.Prev = long(64) }, protocol.CodeBadMessage},
		"prev with spare bits":       {func(d *protocol.Decision) { d.Prev = d.Prev[:42] + "B" }, protocol.CodeBadMessage},
		"prev with line feed":        {func(d *protocol.Decision) { d.Prev = d.Prev[:20] + "\n" + d.Prev[20:] }, protocol.CodeBadMessage},
		"number of letters":          {func(d *protocol.Decision) { d.Number = "12a456" }, protocol.CodeBadMessage},
		"number of 10 digits":        {func(d *protocol.Decision) { d.Number = "1234567890" }, protocol.CodeBadMessage},
		"number of digits elsewhere": {func(d *protocol.Decision) { d.Number = "١٢٣" }, protocol.CodeBadMessage},
		"no class":                   {func(d *protocol.Decision) { d.UV.Class = 0 }, protocol.CodeBadMessage},
		"no method":                  {func(d *protocol.Decision) { d.UV.Method = "" }, protocol.CodeBadMessage},
		"method unknown":             {func(d *protocol.Decision) { d.UV.Method = "face" }, protocol.CodeBadMessage},
		"C2 without the PIN":         {func(d *protocol.Decision) { d.UV.Method = protocol.UVNone }, protocol.CodeBadMessage},
		"C2 by a fingerprint":        {func(d *protocol.Decision) { d.UV.Method = protocol.UVFingerprint }, protocol.CodeBadMessage},
		"no surface":                 {func(d *protocol.Decision) { d.UV.Surface = "" }, protocol.CodeBadMessage},
		"surface unknown":            {func(d *protocol.Decision) { d.UV.Surface = "web" }, protocol.CodeBadMessage},
		"long iss":                   {func(d *protocol.Decision) { d.Issuer = long(129) }, protocol.CodeBadText},
		"control in tz":              {func(d *protocol.Decision) { d.TimeZone = "UTC\n" }, protocol.CodeBadText},
	} {
		t.Run(name, func(t *testing.T) {
			d := decision("x.y.z", request())
			tt.change(d)
			wantCode(t, d.Validate(), tt.code)
		})
	}
}

func TestDecisionAnswers(t *testing.T) {
	compact := must(protocol.SignRequest(newTestKey("issuer"), request()))
	for name, tt := range map[string]struct {
		change func(*protocol.Decision)
		code   string
	}{
		"approved":              {func(*protocol.Decision) {}, ""},
		"by a higher class":     {func(d *protocol.Decision) { d.UV.Class = protocol.C3 }, ""},
		"denied":                {func(d *protocol.Decision) { deny(d, protocol.ReasonNotMe) }, ""},
		"denied by class C0":    {func(d *protocol.Decision) { deny(d, protocol.ReasonNotMe).UV.Class = protocol.C0 }, ""},
		"by a lower class":      {func(d *protocol.Decision) { d.UV.Class = protocol.C1 }, protocol.CodeMismatch},
		"no number":             {func(d *protocol.Decision) { d.Number = "" }, protocol.CodeMismatch},
		"short number":          {func(d *protocol.Decision) { d.Number = "12345" }, protocol.CodeMismatch},
		"other transaction":     {func(d *protocol.Decision) { d.ID = "txn-2" }, protocol.CodeMismatch},
		"other server":          {func(d *protocol.Decision) { d.Audience = "https://other.example" }, protocol.CodeMismatch},
		"other device":          {func(d *protocol.Decision) { d.Issuer = "dev-2" }, protocol.CodeMismatch},
		"other profile":         {func(d *protocol.Decision) { d.Subject = "prof-2" }, protocol.CodeMismatch},
		"other bytes":           {func(d *protocol.Decision) { d.Request = protocol.Hash(nil) }, protocol.CodeMismatch},
		"other display":         {func(d *protocol.Decision) { d.Display = protocol.Hash(nil) }, protocol.CodeMismatch},
		"shown in another zone": {func(d *protocol.Decision) { d.TimeZone = "Asia/Tokyo" }, protocol.CodeMismatch},
		"unknown zone":          {func(d *protocol.Decision) { d.TimeZone = "Mars/Olympus" }, protocol.CodeBadMessage},
		"unknown language":      {func(d *protocol.Decision) { d.Language = "tlh" }, protocol.CodeBadMessage},
		"unknown version":       {func(d *protocol.Decision) { d.DisplayVersion++ }, protocol.CodeBadMessage},
	} {
		t.Run(name, func(t *testing.T) {
			d := decision(compact, request())
			tt.change(d)
			wantCode(t, d.Validate(), "")
			wantCode(t, d.Answers(compact, request()), tt.code)
		})
	}
	resigned := newTestKey("issuer").jws(newTestKey("issuer").header(typRequest)+" ", mustJSON(request()))
	wantCode(t, decision(compact, request()).Answers(resigned, request()), protocol.CodeMismatch)
}

// TestDecisionSatisfiesMethod goes through all ways of verifying somebody and all
// methods: from C2 on they are the chip's PIN, which stands in for each.
func TestDecisionSatisfiesMethod(t *testing.T) {
	below := map[string][]string{
		protocol.MethodPush:        {protocol.UVNone},
		protocol.MethodPIN:         nil,
		protocol.MethodFingerprint: {protocol.UVFingerprint},
		protocol.MethodCustom:      {protocol.UVPolkit, protocol.UVPlugin},
		protocol.MethodOTP:         nil,
	}
	pins := []string{protocol.UVPIN, protocol.UVTouch}
	for _, method := range protocol.Methods() {
		r := request()
		r.Method, r.Class = method, protocol.C1
		compact := must(protocol.SignRequest(newTestKey("issuer"), r))
		for _, uv := range append([]string{protocol.UVNone, protocol.UVFingerprint, protocol.UVPolkit, protocol.UVPlugin}, pins...) {
			for class := protocol.C1; class <= protocol.C3; class++ {
				d := decision(compact, r)
				d.UV.Method, d.UV.Class = uv, class
				if d.Validate() != nil {
					continue
				}
				want := protocol.CodeMismatch
				if class >= protocol.C2 || slices.Contains(below[method], uv) {
					want = ""
				}
				if got := codeOf(d.Answers(compact, r)); got != want {
					t.Errorf("%s of class %s for %s: %q, want %q", uv, class, method, got, want)
				}
				wantCode(t, deny(d, protocol.ReasonNotMe).Answers(compact, r), "")
			}
		}
	}
}

func TestParseDecision(t *testing.T) {
	key := newTestKey("approval")
	d := decision("x.y.z", request())
	compact := must(protocol.SignDecision(key, d))
	got, err := protocol.ParseDecision(compact, key.keys(t))
	if err != nil || mustJSON(got) != mustJSON(d) {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = protocol.ParseDecision(compact, newTestKey("device").keys(t))
	wantCode(t, err, protocol.CodeUnknownKey)
	_, err = protocol.ParseRequest(compact, key.keys(t))
	wantCode(t, err, protocol.CodeBadJWS)
	d.Reason = protocol.ReasonNotMe
	_, err = protocol.ParseDecision(key.jws(key.header(typDecision), mustJSON(d)), key.keys(t))
	wantCode(t, err, protocol.CodeBadMessage)
}
