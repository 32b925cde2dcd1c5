// Package problem holds every refusal of the Token Server: the stable codes
// beyond those that devices see, with the HTTP status and title of each.
package problem

import (
	"errors"
	"fmt"
	"net/http"

	"countersign/protocol"
)

// Codes of refusals that devices never see.
const (
	UserUnknown         = "user_unknown"
	UserExists          = "user_exists"
	ClientExists        = "client_exists"
	ClientUnknown       = "client_unknown"
	TypeUnknown         = "type_unknown"
	BadType             = "bad_type"
	NoDevice            = "no_device"
	DeviceUnknown       = "device_unknown"
	CallbackUnsupported = "callback_unsupported"
	CodeUnknown         = "code_unknown"
	CodeAmbiguous       = "code_ambiguous"
	NotServed           = "not_served"
	BadConfig           = "bad_config"
	BadRoot             = "bad_root"
	RootUnknown         = "root_unknown"
	ClientBlocked       = "client_blocked"
	HighValueHold       = "high_value_hold"
	ContextRequired     = "context_required"
	MachineUnknown      = "no_machine"
	BadEK               = "bad_endorsement_key"
)

// New makes a refusal. The detail is shown to whoever asked: it must not
// repeat what they sent.
func New(code, format string, args ...any) *protocol.Problem {
	status, title := kind(code)
	return &protocol.Problem{Type: "about:blank", Title: title, Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// From is the refusal that an error amounts to. What is neither a refusal nor
// a message that could not be understood is an internal error, and says no
// more.
func From(err error) *protocol.Problem {
	if p, ok := errors.AsType[*protocol.Problem](err); ok {
		return p
	}
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return New(e.Code, "%s", e.Detail)
	}
	return New(protocol.ProblemInternal, "")
}

//nolint:funlen // a table
func kind(code string) (status int, title string) {
	switch code {
	case protocol.CodeBadJWS:
		return http.StatusBadRequest, "Not a message of this protocol"
	case protocol.CodeTooLarge, protocol.ProblemBodyTooLarge:
		return http.StatusRequestEntityTooLarge, "Too large"
	case protocol.CodeUnknownKey, protocol.CodeBadSignature:
		return http.StatusUnprocessableEntity, "Signature refused"
	case protocol.CodeBadText:
		return http.StatusUnprocessableEntity, "Text refused"
	case protocol.CodeBadMessage:
		return http.StatusUnprocessableEntity, "Message refused"
	case protocol.CodeBadCert, protocol.ProblemBadCSR, protocol.ProblemAlgorithm:
		return http.StatusUnprocessableEntity, "Certificate request refused"
	case protocol.CodeMismatch, protocol.ProblemDecisionRefused:
		return http.StatusUnprocessableEntity, "Decision refused"
	case protocol.ProblemSuccession:
		return http.StatusUnprocessableEntity, "Successor refused"
	case protocol.ProblemBadRequest:
		return http.StatusBadRequest, "Bad request"
	case protocol.ProblemNotFound:
		return http.StatusNotFound, "Not found"
	case protocol.ProblemUnauthorized:
		return http.StatusUnauthorized, "Not authenticated"
	case protocol.ProblemTokenUnknown:
		return http.StatusNotFound, "Unknown enrollment token"
	case protocol.ProblemTokenUsed:
		return http.StatusConflict, "Enrollment token already used"
	case protocol.ProblemTokenExpired:
		return http.StatusGone, "Enrollment token expired"
	case protocol.ProblemAttestation, protocol.ProblemMaker:
		return http.StatusUnprocessableEntity, "Attestation refused"
	case protocol.ProblemPolicy:
		return http.StatusUnprocessableEntity, "Not allowed with this hardware"
	case protocol.ProblemUserLocked:
		return http.StatusForbidden, "User locked"
	case protocol.ProblemDeviceLimit:
		return http.StatusConflict, "No more devices allowed"
	case protocol.ProblemRevoked:
		return http.StatusGone, "Enrollment revoked"
	case protocol.ProblemUnconfirmed:
		return http.StatusForbidden, "Enrollment not confirmed yet"
	case protocol.ProblemAlreadyDecided:
		return http.StatusConflict, "Already decided"
	case protocol.ProblemWrongNumber:
		return http.StatusUnprocessableEntity, "Wrong number"
	case protocol.ProblemRoleForbidden:
		return http.StatusForbidden, "The key may not sign this"
	case protocol.ProblemCertExpired:
		return http.StatusUnauthorized, "Certificate expired"
	case protocol.ProblemKeyExpired:
		return http.StatusForbidden, "The certificate of the key has expired"
	case protocol.ProblemSuspended:
		return http.StatusForbidden, "Device suspended"
	case protocol.ProblemOTPUnknown:
		return http.StatusNotFound, "Unknown code"
	case protocol.ProblemOTPRefused:
		return http.StatusForbidden, "The code may not be used like this"
	case protocol.ProblemRateLimited:
		return http.StatusTooManyRequests, "Too often"
	case protocol.ProblemTokenRevoked:
		return http.StatusGone, "Enrollment token revoked"
	case protocol.ProblemMachineUnknown:
		return http.StatusForbidden, "Machine not registered"
	case protocol.ProblemMachineRevoked:
		return http.StatusForbidden, "Machine revoked"
	case protocol.ProblemMachinesOff:
		return http.StatusForbidden, "No machines are enrolled here"
	case BadEK:
		return http.StatusUnprocessableEntity, "Endorsement key refused"
	case protocol.ProblemStorage:
		return http.StatusServiceUnavailable, "Nothing can be stored at present"
	case ClientBlocked:
		return http.StatusUnprocessableEntity, "The user has blocked this relying party"
	case HighValueHold:
		return http.StatusUnprocessableEntity, "Too soon after an enrollment"
	case ContextRequired:
		return http.StatusUnprocessableEntity, "Context missing"
	case UserUnknown:
		return http.StatusUnprocessableEntity, "Unknown user"
	case UserExists, ClientExists:
		return http.StatusConflict, "The name is taken"
	case TypeUnknown:
		return http.StatusUnprocessableEntity, "Unknown transaction type"
	case BadType:
		return http.StatusUnprocessableEntity, "Transaction type refused"
	case NoDevice:
		return http.StatusUnprocessableEntity, "No device to ask"
	case DeviceUnknown, CodeUnknown, RootUnknown, ClientUnknown, MachineUnknown:
		return http.StatusNotFound, "Not found"
	case CodeAmbiguous:
		return http.StatusConflict, "The code is not of one device alone"
	case CallbackUnsupported:
		return http.StatusUnprocessableEntity, "Not supported"
	case NotServed:
		return http.StatusConflict, "The server has not run yet"
	case BadRoot:
		return http.StatusUnprocessableEntity, "Root certificate refused"
	case BadConfig:
		return http.StatusUnprocessableEntity, "Configuration refused"
	}
	return http.StatusInternalServerError, "Internal error"
}
