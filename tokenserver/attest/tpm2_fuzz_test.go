package attest_test

import (
	"encoding/json"
	"errors"
	"os"
	"testing"

	"countersign/protocol"
	"countersign/tokenserver/attest"
)
