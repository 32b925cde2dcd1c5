package protocol

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// Where a machine enrolls itself and reports, below the device URL. A machine is
// not a device: it belongs to nobody, is asked nothing and decides nothing.
const (
	// PathMachines: POST a MachineStart, then a MachineActivation to
	// PathMachines/{id}/activation. Nobody need be known.
	PathMachines = "/device/v1/machines"
	// PathMachine and what is below it take the machine's certificate. GET answers
	// MachineState.
	PathMachine = "/device/v1/machine"
	// PathMachineReport: PUT a MachineReport, answered with 204.
	PathMachineReport = PathMachine + "/report"
	// PathMachineCertificate: POST an empty document, answered with
	// MachineCertificate, for the key of the certificate that was shown. One whose
	// time is over is good for this for as long as the machine is enrolled.
	PathMachineCertificate = PathMachine + "/certificate"
)

// MachineFacts is what a machine says of itself. Nothing of it is proven.
type MachineFacts struct {
	// Name is for people, e.g. the host's name.
	Name string `json:"name"`
	// Platform is e.g. "linux/amd64", Agent the agent's version.
	Platform string `json:"platform"`
	Agent    string `json:"agent"`
	Chip     Chip   `json:"chip"`
}

// Validate checks every member against the protocol's limits.
func (f MachineFacts) Validate() error {
	err := checkTexts([]textRule{
		{"machine.name", f.Name, maxName, true},
		{"machine.platform", f.Platform, maxLabel, true},
		{"machine.agent", f.Agent, maxLabel, true},
	})
	if err != nil {
		return err
	}
	return f.Chip.validate("machine.chip")
}

// MachineStart is the first step: one key in a TPM, which proves itself by the
// TPM's endorsement key. The same body gets the same answer until the second
// step is done or another key of this TPM starts.
type MachineStart struct {
	// Token allows the enrollment; without one the endorsement key must be among
	// those that the operator registered.
	Token   string       `json:"token,omitempty"`
	Machine MachineFacts `json:"machine"`
	// CSR is DER (RFC 2986), signed by the machine's key.
	CSR Blob `json:"csr"`
	// EK is the endorsement key's SubjectPublicKeyInfo, DER, whose other
	// properties are those of the TCG EK Credential Profile's template L-1 or
	// L-2; EKChain its certificate and what leads towards the root, where the chip
	// has one: DER, leaf first, the root not sent.
	EK      Blob   `json:"ek"`
	EKChain []Blob `json:"ek_chain,omitempty"`
	// AK is the attestation key, a TPMT_PUBLIC.
	AK Blob `json:"ak"`
}

// MachineStarted answers the first step with 201.
type MachineStarted struct {
	ID string `json:"id"`
	// Challenge is the nonce that the second step's attestation covers.
	Challenge  Blob       `json:"challenge"`
	Credential Credential `json:"credential"`
}

// MachineActivation is the second step. It may be repeated.
type MachineActivation struct {
	// Secret is what was in the Credential.
	Secret Blob    `json:"secret"`
	Key    TPM2Key `json:"key"`
}

// MachineEnrolled answers the second step with 200.
type MachineEnrolled struct {
	Machine   string `json:"machine"`
	Issuer    string `json:"issuer"`
	DeviceURL string `json:"device_url"`
	// Chain is DER, leaf first, root last.
	Chain []Blob `json:"chain"`
	// JWKS are the server's keys as PathJWKS answers them: with them the machine
	// verifies what the server says of its own names and keys.
	JWKS []byte `json:"jwks"`
	// Endorsement is one of the constants below.
	Endorsement string `json:"endorsement"`
}

// What vouches for the TPM of a machine.
const (
	// EndorsedByMaker: its endorsement key has a certificate under a root that the
	// operator trusts.
	EndorsedByMaker = "certificate"
	// EndorsedByOperator: the operator registered its endorsement key.
	EndorsedByOperator = "registered"
	// NotEndorsed: nothing does. The key behaves like a TPM's, and a program can
	// behave so too.
	NotEndorsed = "none"
)

// MachineCertificate is a new certificate of a machine's key.
type MachineCertificate struct {
	Chain []Blob `json:"chain"`
}

// MachineState answers GET PathMachine. A machine that is revoked, or has enrolled
// anew with another key, is answered with 410 and ProblemRevoked.
type MachineState struct {
	Machine     string `json:"machine"`
	Endorsement string `json:"endorsement"`
}

// MachineReport is how a machine stands. It has room for nothing about persons:
// no names, no relying parties, no texts.
type MachineReport struct {
	Agent string `json:"agent"`
	// OS and OSVersion are ID and VERSION_ID of os-release(5), Kernel the
	// kernel's release.
	OS        string `json:"os"`
	OSVersion string `json:"os_version,omitempty"`
	Kernel    string `json:"kernel,omitempty"`
	Chip      Chip   `json:"chip"`
	// Checks are the agent's own, each code once, with the worst it found.
	Checks []MachineCheck `json:"checks"`
	Counts MachineCounts  `json:"counts"`
	Policy MachinePolicy  `json:"policy"`
}

// MachineCheck is one finding.
type MachineCheck struct {
	Code   string `json:"code"`
	Status string `json:"status"`
}

// How a MachineCheck stands.
const (
	CheckOK   = "ok"
	CheckWarn = "warn"
	CheckFail = "fail"
)

// MachineCounts are counts of what is on a machine.
type MachineCounts struct {
	// Users is how many of the machine's users have an enrollment that works.
	Users int `json:"users"`
	// Profiles by state.
	Active      int `json:"active"`
	Unconfirmed int `json:"unconfirmed"`
	Suspended   int `json:"suspended"`
	Revoked     int `json:"revoked"`
	// Decisions is how many the machine keeps the record of.
	Decisions int `json:"decisions"`
}

// MachinePolicy is what the machine's own configuration adds to the server's
// demands.
type MachinePolicy struct {
	// Hash names the configuration, "" where there is none to name.
	Hash string `json:"hash,omitempty"`
	// Floor is the least class that approving takes there, "" where there is none.
	Floor string `json:"floor,omitempty"`
}

const (
	// maxChecks is more than an agent has.
	maxChecks = 128
	// maxCount bounds what is counted.
	maxCount = 1 << 31
)

// ParseMachineReport reads a report, strictly.
func ParseMachineReport(data []byte) (MachineReport, error) {
	var r MachineReport
	if err := DecodeStrict(data, &r); err != nil {
		return MachineReport{}, err
	}
	if err := r.Validate(); err != nil {
		return MachineReport{}, err
	}
	return r, nil
}

// Validate checks every member against the protocol's limits.
func (r MachineReport) Validate() error {
	err := checkTexts([]textRule{
		{"agent", r.Agent, maxLabel, true},
		{"os", r.OS, maxLabel, true},
		{"os_version", r.OSVersion, maxLabel, false},
		{"kernel", r.Kernel, maxName, false},
		{"policy.hash", r.Policy.Hash, maxName, false},
	})
	if err != nil {
		return err
	}
	if err := r.Chip.validate("chip"); err != nil {
		return err
	}
	if err := r.Policy.validate(); err != nil {
		return err
	}
	if err := r.Counts.validate(); err != nil {
		return err
	}
	return validateChecks(r.Checks)
}

func (p MachinePolicy) validate() error {
	var floor Class
	if p.Floor != "" && floor.UnmarshalText([]byte(p.Floor)) != nil {
		return errorf(CodeBadMessage, "policy.floor is not a consent class")
	}
	return nil
}

func (c MachineCounts) validate() error {
	for _, n := range []int{c.Users, c.Active, c.Unconfirmed, c.Suspended, c.Revoked, c.Decisions} {
		if n < 0 || n > maxCount {
			return errorf(CodeBadMessage, "a count is negative or over %d", maxCount)
		}
	}
	return nil
}

func validateChecks(list []MachineCheck) error {
	if list == nil {
		return errorf(CodeBadMessage, "checks is missing")
	}
	if len(list) > maxChecks {
		return errorf(CodeBadMessage, "checks has over %d entries", maxChecks)
	}
	seen := map[string]bool{}
	for _, c := range list {
		if !isWord(c.Code) || seen[c.Code] || !slices.Contains([]string{CheckOK, CheckWarn, CheckFail}, c.Status) {
			return errorf(CodeBadMessage, "a check is malformed, or there twice")
		}
		seen[c.Code] = true
	}
	return nil
}

// isWord reports whether s looks like a code of ours.
func isWord(s string) bool {
	return s != "" && len(s) <= maxLabel && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// EKName is how an endorsement key is named in lists: the SHA-256 of its
// SubjectPublicKeyInfo (RFC 5280, 4.1.2.7), in hexadecimal behind "sha256:".
func EKName(spki []byte) string {
	sum := sha256.Sum256(spki)
	return ekPrefix + hex.EncodeToString(sum[:])
}

const ekPrefix = "sha256:"

// ParseEKName reads what EKName writes, or a person or a tool would: in capital
// letters, or with colons between the bytes.
func ParseEKName(s string) (string, error) {
	digits, ok := strings.CutPrefix(strings.ToLower(s), ekPrefix)
	digits = strings.ReplaceAll(digits, ":", "")
	if raw, err := hex.DecodeString(digits); !ok || err != nil || len(raw) != sha256.Size {
		return "", errorf(CodeBadMessage, "not the name of an endorsement key: sha256: and 64 hexadecimal digits")
	}
	return ekPrefix + digits, nil
}
