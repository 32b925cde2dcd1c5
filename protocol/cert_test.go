package protocol_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"testing"

	"countersign/protocol"
)

func TestKeyInfoRoundTrip(t *testing.T) {
	for _, info := range []protocol.KeyInfo{
		{Role: protocol.RoleDevice, Attestation: "none"},
		{Role: protocol.RoleApproval, PINBound: true, Attestation: "tpm2"},
		{Role: protocol.RoleApproval, PINBound: true, TouchBound: true, Attestation: "piv"},
		{Role: protocol.RoleIssuer},
		{Role: protocol.RoleMachine, Attestation: "tpm2"},
	} {
		ext := must(info.Extension())
		if ext.Critical {
			t.Error("critical: OpenSSL would refuse the chain")
		}
		got, err := protocol.ParseKeyInfo(&x509.Certificate{Extensions: []pkix.Extension{ext}})
		if err != nil || got != info {
			t.Errorf("%+v became %+v, %v", info, got, err)
		}
	}
}

func TestParseKeyInfoRefuses(t *testing.T) {
	good := must(protocol.KeyInfo{Role: protocol.RoleDevice, Attestation: "none"}.Extension())
	value := func(v any) pkix.Extension { return pkix.Extension{Id: good.Id, Value: must(asn1.Marshal(v))} }
	type info struct {
		Role        string `asn1:"utf8"`
		PIN, Touch  bool
		Attestation string `asn1:"utf8"`
	}
	printable := struct {
		Role       string `asn1:"printable"`
		PIN, Touch bool
		A          string `asn1:"utf8"`
	}{Role: "device", A: "none"}
	longer := struct {
		Role       string `asn1:"utf8"`
		PIN, Touch bool
		A          string `asn1:"utf8"`
		More       int
	}{Role: "device", A: "none", More: 7}
	raw := func(h string) pkix.Extension { return pkix.Extension{Id: good.Id, Value: must(hex.DecodeString(h))} }
	for name, ext := range map[string]pkix.Extension{
		"another extension":      {Id: asn1.ObjectIdentifier{1, 2, 3}, Value: good.Value},
		"empty":                  {Id: good.Id},
		"something follows":      {Id: good.Id, Value: append(append([]byte{}, good.Value...), 0)},
		"cut":                    {Id: good.Id, Value: good.Value[:len(good.Value)-1]},
		"one member too many":    value(longer),
		"another kind of string": value(printable),
		"unknown role":           value(info{Role: "admin", Attestation: "none"}),
		"no role":                value(info{Attestation: "none"}),
		"control in attestation": value(info{Role: "device", Attestation: "a\nb"}),
		"long attestation":       value(info{Role: "device", Attestation: long(65)}),
		"BER boolean":            raw("30140c066465766963650101010101000c046e6f6e65"),
		"BER length":             raw("3081140c066465766963650101000101000c046e6f6e65"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := protocol.ParseKeyInfo(&x509.Certificate{Extensions: []pkix.Extension{ext}})
			wantCode(t, err, protocol.CodeBadCert)
		})
	}
	if want := "30140c066465766963650101000101000c046e6f6e65"; hex.EncodeToString(good.Value) != want {
		t.Errorf("the extension is %x, want %s", good.Value, want)
	}
}

func TestMaySign(t *testing.T) {
	device := protocol.KeyInfo{Role: protocol.RoleDevice}
	approval := protocol.KeyInfo{Role: protocol.RoleApproval}
	touch := protocol.KeyInfo{Role: protocol.RoleApproval, TouchBound: true}
	issuer := protocol.KeyInfo{Role: protocol.RoleIssuer, PINBound: true, TouchBound: true}
	type cell struct{ device, approval, touch bool }
	matrix := map[string]map[protocol.Class]cell{
		protocol.Approve: {
			protocol.C0: {device: true}, protocol.C1: {device: true},
			protocol.C2: {approval: true, touch: true}, protocol.C3: {touch: true},
		},
		protocol.Deny: {
			protocol.C0: {device: true}, protocol.C1: {device: true},
			protocol.C2: {device: true}, protocol.C3: {device: true},
		},
	}
	for what, row := range matrix {
		for class, want := range row {
			d := &protocol.Decision{Decision: what, UV: protocol.UV{Class: class}}
			got := cell{device.MaySign(d) == nil, approval.MaySign(d) == nil, touch.MaySign(d) == nil}
			if got != want {
				t.Errorf("%s at %s: %+v, want %+v", what, class, got, want)
			}
			wantCode(t, issuer.MaySign(d), protocol.CodeMismatch)
			if role := protocol.RoleFor(what, class); (role == protocol.RoleDevice) != want.device {
				t.Errorf("%s at %s is signed by the %s key", what, class, role)
			}
		}
	}
}
