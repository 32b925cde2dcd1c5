package policy_test

import (
	"testing"

	"countersign/protocol"
	"countersign/tokenserver/policy"
	"countersign/tokenserver/store"
)

func chip(vendor, firmware string) protocol.Verdict {
	return protocol.Verdict{Format: "tpm2", Attested: true, Chip: protocol.Chip{Vendor: vendor, Firmware: firmware}}
}

func TestFirmware(t *testing.T) {
	for _, c := range []struct {
		have, least string
		meets       bool
	}{
		{"5.7.0", "5.7", true},
		{"5.7", "5.7.0", true},
		{"5.10.1", "5.9.9", true},
		{"5.9.9", "5.10", false},
		{"05.7", "5.7", true},
		{"10", "9.9.9.9", true},
		{"7.2.1.0", "7.2.1.1", false},
		{"18446744073709551615", "18446744073709551615", true},
		{"", "0", false},
		{"5.7b", "5.7", false},
		{"5..7", "5", false},
		{"+5.8", "5.7", false},
		{"18446744073709551616", "1", false},
		{"1.2.3.4.5.6.7.8.9", "1", false},
		{"5.7", "", false},
		{"5.7", "x", false},
	} {
		typ := store.Type{MinFirmware: map[string]string{"Yubico": c.least}}
		if got := policy.Unmet(chip("yubico", c.have), typ) == ""; got != c.meets {
			t.Errorf("%q meets %q: %v", c.have, c.least, got)
		}
	}
}

func TestUnmet(t *testing.T) {
	all := chip("IBM", "1")
	all.PINBound, all.TouchBound = true, true
	words := all
	words.Attested, words.Format = false, "none"
	for name, c := range map[string]struct {
		verdict protocol.Verdict
		typ     store.Type
		want    string
	}{
		"no demands":                   {protocol.Verdict{}, store.Type{}, ""},
		"everything":                   {all, store.Type{Require: []string{"attested", "pin-bound", "touch-bound"}, DenyVendors: []string{"AMD"}}, ""},
		"not attested":                 {words, store.Type{Require: []string{"attested"}}, "the key is not attested"},
		"not bound to a PIN":           {chip("IBM", "1"), store.Type{Require: []string{"pin-bound"}}, "the key is not pin-bound"},
		"not bound to touch":           {chip("IBM", "1"), store.Type{Require: []string{"touch-bound"}}, "the key is not touch-bound"},
		"a denied vendor":              {all, store.Type{DenyVendors: []string{"ibm"}}, "the vendor of the key's chip is denied"},
		"no vendor to deny":            {words, store.Type{DenyVendors: []string{"AMD"}}, "the key's chip has not proved which it is"},
		"no vendor to have a firmware": {words, store.Type{MinFirmware: map[string]string{"AMD": "1"}}, "the key's chip has not proved which it is"},
		"old":                          {all, store.Type{MinFirmware: map[string]string{"AMD": "9", "IBM": "1.1"}}, "the firmware of the key's chip is older than 1.1"},
	} {
		if got := policy.Unmet(c.verdict, c.typ); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
