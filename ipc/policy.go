package ipc

// Policy is what the administrator of this computer allows, and users cannot
// change.
type Policy struct {
	// ClassFloor is the least class that approving takes, "C1" to "C3"; "" leaves
	// it to the server.
	ClassFloor string `json:"class_floor"`
	// Servers are those that may be enrolled at: hosts, "*." and a host, or issuers;
	// "*" alone is every server.
	Servers []string `json:"servers"`
	// PINMinLength is the least length of a new PIN, in characters.
	PINMinLength int `json:"pin_min_length"`
	// MuteMaxSeconds is how long prompts may be muted at most; 0 is not at all.
	MuteMaxSeconds int64 `json:"mute_max_seconds"`
	// LocalApprovals is where approvals are made: "any", "terminal" or "prompt".
	LocalApprovals string `json:"local_approvals"`
	// Keys are the providers that may keep keys.
	Keys []string `json:"keys"`
	// AttestationRequired says that the chip must prove its keys to the server.
	AttestationRequired bool `json:"attestation_required"`
}
