package tpm

import (
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// properties asks for count properties from first on (Part 2, 6.13). The chip
// leaves out what it does not have.
func (c *chip) properties(first tpm2.TPMPT, count uint32) (map[tpm2.TPMPT]uint32, error) {
	rsp, err := tpm2.GetCapability{
		Capability: tpm2.TPMCapTPMProperties, Property: uint32(first), PropertyCount: count,
	}.Execute(c)
	if err != nil {
		return nil, err
	}
	list, err := rsp.CapabilityData.Data.TPMProperties()
	if err != nil {
		return nil, err
	}
	values := map[tpm2.TPMPT]uint32{}
	for _, p := range list.TPMProperty {
		values[p.Property] = p.Value
	}
	return values, nil
}

func (c *chip) property(name tpm2.TPMPT) (uint32, error) {
	values, err := c.properties(name, 1)
	if err != nil {
		return 0, err
	}
	value, ok := values[name]
	if !ok {
		return 0, fmt.Errorf("the TPM does not tell property %#x", uint32(name))
	}
	return value, nil
}
