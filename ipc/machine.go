package ipc

import (
	"context"
	"net/url"
	"time"
)

// Inventory is what this computer is to a fleet, answered by GET /v1/inventory.
type Inventory struct {
	Version string `json:"version"`
	// Mode is "system" or "user".
	Mode string `json:"mode"`
	// OS and OSVersion are ID and VERSION_ID of os-release(5), Kernel the kernel's
	// release.
	OS        string `json:"os"`
	OSVersion string `json:"os_version,omitempty"`
	Kernel    string `json:"kernel,omitempty"`
	// Chips are those that answer.
	Chips []Chip `json:"chips"`
	// Machine is missing where the computer is to enroll nowhere.
	Machine *Machine `json:"machine,omitempty"`
}

// Chip is a security chip in its own words.
type Chip struct {
	Provider string `json:"provider"`
	Vendor   string `json:"vendor,omitempty"`
	Model    string `json:"model,omitempty"`
	Firmware string `json:"firmware,omitempty"`
}

// States of a Machine.
const (
	MachineEnrolled     = "enrolled"
	MachineEnrolling    = "enrolling"
	MachineNoToken      = "token_missing"
	MachineTokenRefused = "token_refused"
	MachineUnregistered = "unregistered"
	MachineRevoked      = "revoked"
	MachineRefused      = "refused"
	MachineNoTPM        = "waiting_tpm"
	MachineNoEK         = "endorsement_unusable"
	MachineNoServer     = "waiting_server"
	MachineNoNetwork    = "waiting_network"
	MachineNoDisk       = "storage_failed"
)

// Machine is how the computer's own enrollment stands, which belongs to no user.
type Machine struct {
	Server string `json:"server"`
	// Enroll is "token" or "ek".
	Enroll string `json:"enroll"`
	State  string `json:"state"`
	Detail string `json:"detail"`
	// ID is the server's name for the computer, once it is enrolled, and Endorsement
	// who vouches for its TPM: "certificate", "registered" or "none".
	ID          string     `json:"id,omitempty"`
	Endorsement string     `json:"endorsement,omitempty"`
	EnrolledAt  *time.Time `json:"enrolled_at,omitempty"`
	// ReportedAt is when the server last took a report of this service.
	ReportedAt *time.Time `json:"reported_at,omitempty"`
	// EKs name the endorsement keys of the TPM, as far as they were asked for. They
	// name the hardware, and only root reads them.
	EKs []string `json:"endorsement_keys,omitempty"`
}

// Setup says that this computer belongs to a fleet, and that the caller has no
// enrollment there, or has got one: Done.
type Setup struct {
	// Server is the host of the fleet's server, for people.
	Server string `json:"server"`
	// URL is the page with the caller's enrollment link, "" where the administrator
	// hands them out.
	URL  string `json:"url,omitempty"`
	Done bool   `json:"done"`
}

// Inventory asks what this computer is to a fleet.
func (c *Caller) Inventory(ctx context.Context) (i Inventory, err error) {
	return i, c.call(ctx, "GET", "/v1/inventory", nil, &i)
}

// ValidPage reports whether s is an address that a browser may be sent to: https,
// in ASCII, without a password.
func ValidPage(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	u, err := url.Parse(s)
	return err == nil && len(s) <= maxPage && u.Scheme == "https" && u.Hostname() != "" && u.User == nil
}

const maxPage = 2048
