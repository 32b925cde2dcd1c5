package protocol_test

import (
	"testing"

	"countersign/protocol"
)

func TestReceiptRoundTrip(t *testing.T) {
	key := newTestKey("issuer")
	d := decision("x.y.z", request())
	r := receipt("a.b.c", d, protocol.StateApproved)
	got, err := protocol.ParseReceipt(must(protocol.SignReceipt(key, r)), key.keys(t))
	if err != nil || *got != *r {
		t.Fatalf("got %+v, %v", got, err)
	}
	wantCode(t, got.Acknowledges("a.b.c", d), "")
	wantCode(t, got.Acknowledges("a.b.d", d), protocol.CodeMismatch)
	for _, change := range []func(*protocol.Decision){
		func(d *protocol.Decision) { d.Audience = "https://other.example" },
		func(d *protocol.Decision) { d.Issuer = "dev-2" },
		func(d *protocol.Decision) { d.ID = "txn-2" },
	} {
		other := *d
		change(&other)
		wantCode(t, got.Acknowledges("a.b.c", &other), protocol.CodeMismatch)
	}
}

func TestReceiptLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*protocol.Receipt)
		code   string
	}{
		"whole":              {func(*protocol.Receipt) {}, ""},
		"expired":            {func(r *protocol.Receipt) { r.State = protocol.StateExpired }, ""},
		"unattested":         {func(r *protocol.Receipt) { r.Attestation = protocol.Verdict{Format: "none", Isolation: "user"} }, ""},
		"pending":            {func(r *protocol.Receipt) { r.State = protocol.StatePending }, protocol.CodeBadMessage},
		"no state":           {func(r *protocol.Receipt) { r.State = "" }, protocol.CodeBadMessage},
		"state unknown":      {func(r *protocol.Receipt) { r.State = "done" }, protocol.CodeBadMessage},
		"no iss":             {func(r *protocol.Receipt) { r.Issuer = "" }, protocol.CodeBadMessage},
		"no aud":             {func(r *protocol.Receipt) { r.Audience = "" }, protocol.CodeBadMessage},
		"no jti":             {func(r *protocol.Receipt) { r.ID = "" }, protocol.CodeBadMessage},
		"no iat":             {func(r *protocol.Receipt) { r.IssuedAt = 0 }, protocol.CodeBadMessage},
		"no decision":        {func(r *protocol.Receipt) { r.Decision = "" }, protocol.CodeBadMessage},
		"no format":          {func(r *protocol.Receipt) { r.Attestation.Format = "" }, protocol.CodeBadMessage},
		"format unknown":     {func(r *protocol.Receipt) { r.Attestation.Format = "trust-me" }, protocol.CodeBadMessage},
		"none, and attested": {func(r *protocol.Receipt) { r.Attestation.Format = protocol.AttestationNone }, protocol.CodeBadMessage},
		"no isolation":       {func(r *protocol.Receipt) { r.Attestation.Isolation = "" }, protocol.CodeBadMessage},
		"isolation unknown":  {func(r *protocol.Receipt) { r.Attestation.Isolation = "vm" }, protocol.CodeBadMessage},
		"control in chip":    {func(r *protocol.Receipt) { r.Attestation.Chip.Model = "a\nb" }, protocol.CodeBadText},
		"long chip":          {func(r *protocol.Receipt) { r.Attestation.Chip.Vendor = long(129) }, protocol.CodeBadText},
		"long jti":           {func(r *protocol.Receipt) { r.ID = long(129) }, protocol.CodeBadText},
	} {
		t.Run(name, func(t *testing.T) {
			key := newTestKey("issuer")
			r := receipt("a.b.c", decision("x.y.z", request()), protocol.StateApproved)
			tt.change(r)
			_, err := protocol.SignReceipt(key, r)
			wantCode(t, err, tt.code)
			got, err := protocol.ParseReceipt(key.jws(key.header(typReceipt), mustJSON(r)), key.keys(t))
			wantCode(t, err, tt.code)
			if err != nil && got != nil {
				t.Error("refused and yet returned")
			}
		})
	}
}

func TestRejectionLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*protocol.Rejection)
		code   string
	}{
		"two left":           {func(*protocol.Rejection) {}, ""},
		"none left":          {func(r *protocol.Rejection) { r.TriesLeft, r.State = 0, protocol.StateFailed }, ""},
		"fewer than none":    {func(r *protocol.Rejection) { r.TriesLeft, r.State = -1, protocol.StateFailed }, protocol.CodeBadMessage},
		"none left, pending": {func(r *protocol.Rejection) { r.TriesLeft = 0 }, protocol.CodeBadMessage},
		"failed with tries":  {func(r *protocol.Rejection) { r.State = protocol.StateFailed }, protocol.CodeBadMessage},
		"approved":           {func(r *protocol.Rejection) { r.State = protocol.StateApproved }, protocol.CodeBadMessage},
		"no state":           {func(r *protocol.Rejection) { r.State = "" }, protocol.CodeBadMessage},
		"no iss":             {func(r *protocol.Rejection) { r.Issuer = "" }, protocol.CodeBadMessage},
		"no aud":             {func(r *protocol.Rejection) { r.Audience = "" }, protocol.CodeBadMessage},
		"no jti":             {func(r *protocol.Rejection) { r.ID = "" }, protocol.CodeBadMessage},
		"no iat":             {func(r *protocol.Rejection) { r.IssuedAt = 0 }, protocol.CodeBadMessage},
		"no decision":        {func(r *protocol.Rejection) { r.Decision = "" }, protocol.CodeBadMessage},
		"no code":            {func(r *protocol.Rejection) { r.Code = "" }, protocol.CodeBadMessage},
		"control in code":    {func(r *protocol.Rejection) { r.Code = "a\nb" }, protocol.CodeBadText},
		"long jti":           {func(r *protocol.Rejection) { r.ID = long(129) }, protocol.CodeBadText},
		"long code":          {func(r *protocol.Rejection) { r.Code = long(65) }, protocol.CodeBadText},
		"replacement in aud": {func(r *protocol.Rejection) { r.Audience = "\ufffd" }, protocol.CodeBadText},
	} {
		t.Run(name, func(t *testing.T) {
			key := newTestKey("issuer")
			r := rejection("a.b.c", decision("x.y.z", request()), 2)
			tt.change(r)
			_, err := protocol.SignRejection(key, r)
			wantCode(t, err, tt.code)
			got, err := protocol.ParseRejection(key.jws(key.header(typRejection), mustJSON(r)), key.keys(t))
			wantCode(t, err, tt.code)
			if err != nil && got != nil {
				t.Error("refused and yet returned")
			}
			if err == nil && *got != *r {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestReceiptIsNoRejection(t *testing.T) {
	key := newTestKey("issuer")
	d := decision("x.y.z", request())
	_, err := protocol.ParseRejection(must(protocol.SignReceipt(key, receipt("a.b.c", d, protocol.StateDenied))), key.keys(t))
	wantCode(t, err, protocol.CodeBadJWS)
	_, err = protocol.ParseReceipt(must(protocol.SignRejection(key, rejection("a.b.c", d, 1))), key.keys(t))
	wantCode(t, err, protocol.CodeBadJWS)
}

func TestDeviceFacts(t *testing.T) {
	whole := protocol.DeviceFacts{
		Name: "laptop", Platform: "linux/amd64", Agent: "1.0", Isolation: "service", Provider: "tpm",
		Chip: protocol.Chip{Vendor: "IFX"},
	}
	wantCode(t, whole.Validate(), "")
	for name, tt := range map[string]struct {
		change func(*protocol.DeviceFacts)
		code   string
	}{
		"no name":           {func(f *protocol.DeviceFacts) { f.Name = "" }, protocol.CodeBadMessage},
		"bidi in name":      {func(f *protocol.DeviceFacts) { f.Name = "\u202e" }, protocol.CodeBadText},
		"long platform":     {func(f *protocol.DeviceFacts) { f.Platform = long(65) }, protocol.CodeBadText},
		"no agent":          {func(f *protocol.DeviceFacts) { f.Agent = "" }, protocol.CodeBadMessage},
		"no provider":       {func(f *protocol.DeviceFacts) { f.Provider = "" }, protocol.CodeBadMessage},
		"isolation unknown": {func(f *protocol.DeviceFacts) { f.Isolation = "vm" }, protocol.CodeBadMessage},
		"control in chip":   {func(f *protocol.DeviceFacts) { f.Chip.Firmware = "\x00" }, protocol.CodeBadText},
	} {
		t.Run(name, func(t *testing.T) {
			f := whole
			tt.change(&f)
			wantCode(t, f.Validate(), tt.code)
		})
	}
}
