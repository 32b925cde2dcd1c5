package protocol

// MediaTypeProblem is the content type of a Problem.
const MediaTypeProblem = "application/problem+json"

// Problem is how the server refuses, as RFC 9457 says, with a stable code that
// programs branch on. It implements error.
type Problem struct {
	// Type is "about:blank": the code below names the problem.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   string `json:"code"`
	// State is the transaction's state, where the refusal is about one.
	State State `json:"state,omitempty"`
	// TriesLeft and Rejection come with wrong_number.
	TriesLeft *int   `json:"tries_left,omitempty"`
	Rejection string `json:"rejection,omitempty"`
	// Successor comes with enrollment_revoked where another device took the
	// place of this one: its id.
	Successor string `json:"successor,omitempty"`
	// RetryAfter is the header of that name, in seconds; 0 where there is none.
	RetryAfter int `json:"-"`
}

func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Title + ": " + p.Detail
}

// Codes of the device API's problems, beside those of Error.
const (
	ProblemBadRequest   = "bad_request"
	ProblemNotFound     = "not_found"
	ProblemUnauthorized = "unauthorized"
	ProblemBodyTooLarge = "body_too_large"
	ProblemInternal     = "internal_error"
	ProblemTokenUnknown = "token_unknown"
	ProblemTokenUsed    = "token_used"
	ProblemTokenExpired = "token_expired"
	ProblemBadCSR       = "bad_csr"
	ProblemAlgorithm    = "algorithm_refused"
	// ProblemMaker: the proof may be sound, and the server does not know whose
	// chip it is. A device may then go without proof, where the server takes it.
	ProblemMaker           = "maker_unknown"
	ProblemAttestation     = "attestation_refused"
	ProblemPolicy          = "policy_unmet"
	ProblemUserLocked      = "user_locked"
	ProblemDeviceLimit     = "device_limit"
	ProblemRevoked         = "enrollment_revoked"
	ProblemUnconfirmed     = "enrollment_unconfirmed"
	ProblemAlreadyDecided  = "already_decided"
	ProblemWrongNumber     = "wrong_number"
	ProblemRoleForbidden   = "key_role_forbidden"
	ProblemDecisionRefused = "decision_refused"
	ProblemSuccession      = "succession_refused"
	// ProblemCertExpired: the client certificate's time is over; for a while it
	// is still taken where it is renewed.
	ProblemCertExpired = "certificate_expired"
	// ProblemKeyExpired: the certificate of the key that signed has expired.
	ProblemKeyExpired = "key_expired"
	// ProblemSuspended: the device is held off until somebody has looked at it.
	ProblemSuspended   = "device_suspended"
	ProblemOTPUnknown  = "otp_unknown"
	ProblemOTPRefused  = "otp_refused"
	ProblemRateLimited = "rate_limited"
	// ProblemTokenRevoked: the operator has taken a machine token back.
	ProblemTokenRevoked = "token_revoked"
	// ProblemMachineUnknown: the operator has not registered this endorsement key.
	ProblemMachineUnknown = "machine_unknown"
	// ProblemMachineRevoked: the operator has put the machine out, and it stays out
	// until its endorsement key is registered.
	ProblemMachineRevoked = "machine_revoked"
	// ProblemMachinesOff: this server enrolls no machines.
	ProblemMachinesOff = "machines_disabled"
	// ProblemStorage: the server can keep nothing at present, and has changed
	// nothing. What was refused with it is to be sent again.
	ProblemStorage = "storage_failed"
)
