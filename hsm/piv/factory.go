//go:build cgo

package piv

import (
	"bytes"
	"fmt"

	"countersign/hsm"
)

// The values that every token is sold with.
const factoryPIN = "123456"

func factoryManagementKey() []byte { return bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7, 8}, 3) }

// The errors about factory settings name ykman for all firmware:
// yubico-piv-tool cannot administer the AES keys of 5.7.

func factoryPINError(serial uint32) error {
	return &hsm.FactoryError{What: "PIN", Command: fmt.Sprintf("ykman --device %d piv access change-pin", serial)}
}

func factoryPUKError(serial uint32) error {
	return &hsm.FactoryError{What: "PUK", Command: fmt.Sprintf("ykman --device %d piv access change-puk", serial)}
}

func factoryManagementKeyError(serial uint32) error {
	return &hsm.FactoryError{
		What:    "management key",
		Command: fmt.Sprintf("ykman --device %d piv access change-management-key --generate --protect", serial),
	}
}
