package protocol

// Where a device says how its person stands towards being asked, below the
// device URL.
const (
	// PathQuiet: PUT a Quiet.
	PathQuiet = "/device/v1/quiet"
	// PathBlocks: GET answers Blocks; DELETE PathBlocks/{client id} lifts one,
	// and is answered with 204 whether or not there was one. A denial with
	// ReasonNotMe makes one.
	PathBlocks = "/device/v1/blocks"
)

// Why a device is quiet.
const (
	QuietMuted   = "muted"
	QuietTooMany = "too_many"
)

// Quiet tells the server that the device lists requests and prompts for none
// until a time, integer seconds by the server's clock as far as the device
// knows it; 0 says that it prompts again.
type Quiet struct {
	Until  int64  `json:"until"`
	Reason string `json:"reason,omitempty"`
}

// Blocks are the relying parties that may not ask this device: its person has
// said of one of their requests that it was not theirs.
type Blocks struct {
	Clients []Client `json:"clients"`
}
