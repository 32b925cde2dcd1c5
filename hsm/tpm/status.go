package tpm

import (
	"encoding/binary"
	"fmt"
	"strings"

	"countersign/hsm"

	"github.com/google/go-tpm/tpm2"
)

// describe fills in what the chip says about itself (Part 2, 6.13).
func (c *chip) describe(s *hsm.Status) error {
	rsp, err := tpm2.GetCapability{
		Capability:    tpm2.TPMCapTPMProperties,
		Property:      uint32(tpm2.TPMPTManufacturer),
		PropertyCount: uint32(tpm2.TPMPTFirmwareVersion2-tpm2.TPMPTManufacturer) + 1,
	}.Execute(c)
	if err != nil {
		return err
	}
	list, err := rsp.CapabilityData.Data.TPMProperties()
	if err != nil {
		return err
	}
	var model, firmware []byte
	for _, p := range list.TPMProperty {
		word := binary.BigEndian.AppendUint32(nil, p.Value)
		switch {
		case p.Property == tpm2.TPMPTManufacturer:
			s.Vendor = printable(word)
		case p.Property >= tpm2.TPMPTVendorString1 && p.Property < tpm2.TPMPTVendorString1+4:
			model = append(model, word...)
		case p.Property == tpm2.TPMPTFirmwareVersion1, p.Property == tpm2.TPMPTFirmwareVersion2:
			firmware = append(firmware, word...)
		}
	}
	s.Model = printable(model)
	if len(firmware) == 8 {
		v := func(i int) uint16 { return binary.BigEndian.Uint16(firmware[i:]) }
		s.Firmware = fmt.Sprintf("%d.%d.%d.%d", v(0), v(2), v(4), v(6))
	}
	return nil
}

// printable keeps the ASCII letters of a zero-padded property.
func printable(b []byte) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, string(b)))
}
