package protocol

// Paths of the device API, below the device URL.
const (
	PathEnrollments = "/device/v1/enrollments"
	PathEnrollment  = "/device/v1/enrollment"
	PathRequests    = "/device/v1/requests"
	PathJWKS        = "/.well-known/jwks.json"
)

// MaxWait is the longest a caller may ask a server to wait, in seconds, with
// "Prefer: wait" (RFC 7240 section 4.3).
const MaxWait = 60

// DeviceFacts is what a device says of itself. Nothing of it is proven.
type DeviceFacts struct {
	// Name is for people, e.g. the host's name.
	Name string `json:"name"`
	// Platform is e.g. "linux/amd64", Agent the agent's version.
	Platform string `json:"platform"`
	Agent    string `json:"agent"`
	// Isolation is "service" or "user".
	Isolation string `json:"isolation"`
	// Provider is the key back end, "tpm" or "piv".
	Provider string `json:"provider"`
	Chip     Chip   `json:"chip"`
}

// Validate checks every member against the protocol's limits.
func (f DeviceFacts) Validate() error {
	err := checkTexts([]textRule{
		{"device.name", f.Name, maxName, true},
		{"device.platform", f.Platform, maxLabel, true},
		{"device.agent", f.Agent, maxLabel, true},
		{"device.provider", f.Provider, maxLabel, true},
	})
	if err != nil {
		return err
	}
	return Verdict{Format: AttestationNone, Isolation: f.Isolation, Chip: f.Chip}.validate()
}

// EnrollmentStart is the first step, POST PathEnrollments. The CSRs are DER
// (RFC 2986), each signed by the key that asks for a certificate. The same
// body again gets the same answer while the enrollment is not yet active.
type EnrollmentStart struct {
	Token       string           `json:"token"`
	Device      DeviceFacts      `json:"device"`
	DeviceCSR   []byte           `json:"device_csr"`
	ApprovalCSR []byte           `json:"approval_csr"`
	Attestation StartAttestation `json:"attestation"`
	// Succeeds is there where the device has an enrollment of the same user
	// already. It is not part of what must be the same again.
	Succeeds *Predecessor `json:"succeeds,omitempty"`
}

// EnrollmentStarted answers the first step with 201.
type EnrollmentStarted struct {
	ID string `json:"id"`
	// Challenge is the nonce that the second step's attestation covers.
	Challenge []byte `json:"challenge"`
	// Credential is there where StartAttestation had its member tpm2.
	Credential *Credential `json:"credential,omitempty"`
}

// Activation is the second step, POST PathEnrollments/{id}/activation. It is
// idempotent: a device that lost the answer asks again.
type Activation struct {
	// Token is the enrollment token again: it authenticates this step too.
	Token string `json:"token"`
	// Attestation is missing with AttestationNone.
	Attestation *ProofAttestation `json:"attestation,omitempty"`
}

// Enrolled answers the second step with 200: all that a device needs.
type Enrolled struct {
	Profile string `json:"profile"`
	Device  string `json:"device"`
	User    string `json:"user"`
	// Issuer is the server's name in every message, DeviceURL where the
	// device API is.
	Issuer    string `json:"issuer"`
	DeviceURL string `json:"device_url"`
	// The chains are DER, leaf first, root last.
	DeviceChain   [][]byte `json:"device_chain"`
	ApprovalChain [][]byte `json:"approval_chain"`
	// JWKS are the server's keys as PathJWKS answers them.
	JWKS        []byte  `json:"jwks"`
	Attestation Verdict `json:"attestation"`
	// Confirm says that the issuing page must confirm ConfirmationCode before
	// the profile is active.
	Confirm bool `json:"confirm"`
}

// EnrollmentSuspended is the state of an enrollment that is held off.
const EnrollmentSuspended = "suspended"

// EnrollmentState answers GET PathEnrollment.
type EnrollmentState struct {
	Profile string `json:"profile"`
	// State is "active", "unconfirmed" or "suspended"; a revoked enrollment is
	// answered with 410 and ProblemRevoked.
	State string `json:"state"`
	// Reason says why it is suspended, for people.
	Reason string `json:"reason,omitempty"`
}

// Requests answers GET PathRequests: everything that is pending for the
// device, each as the very bytes first sent. The ETag names the list; a device
// that sends it in If-None-Match is answered when the list has become another.
type Requests struct {
	// Now is the server's clock, integer seconds.
	Now      int64    `json:"now"`
	Requests []string `json:"requests"`
}

// RequestState answers GET PathRequests/{id}.
type RequestState struct {
	ID    string `json:"id"`
	State State  `json:"state"`
}

// Accepted answers a decision with 200.
type Accepted struct {
	Receipt string `json:"receipt"`
}
