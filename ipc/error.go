package ipc

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Error is a refusal in words that are safe to show, with a stable code. It is
// the only kind of error that crosses the socket; every other error crosses it
// as "internal_error".
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// Cure says what to do about it.
	Cure string `json:"cure"`
	// TriesLeft is set for wrong_pin and wrong_number, where it is known.
	TriesLeft *int `json:"tries_left,omitempty"`
	// Until is set for pin_locked where the lock ends by itself.
	Until *time.Time `json:"until,omitempty"`
	// Status is the final status, for a request that is over.
	Status string `json:"status,omitempty"`
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Codes of the local API. They are stable: programs branch on them.
const (
	CodeBadRequest        = "bad_request"
	CodeNotFound          = "not_found"
	CodeNotEnrolled       = "not_enrolled"
	CodeForbidden         = "forbidden"
	CodeInternal          = "internal_error"
	CodeUnreachable       = "service_unreachable"
	CodeServer            = "server_unreachable"
	CodeServerRefused     = "server_refused"
	CodeNameUnresolved    = "name_unresolved"
	CodeProxyUnreachable  = "proxy_unreachable"
	CodeProxyRefused      = "proxy_refused"
	CodeProxyAuth         = "proxy_authentication"
	CodeCaptivePortal     = "captive_portal"
	CodeIntercepted       = "intercepted"
	CodeClock             = "clock"
	CodeServerCertificate = "server_certificate"
	CodeNotDecidable      = "not_pending"
	CodeMismatch          = "display_mismatch"
	CodeMethodUnsupported = "method_unsupported"
	CodeNumberRequired    = "number_required"
	CodeWrongNumber       = "wrong_number"
	CodePINRequired       = "pin_required"
	CodeBadPIN            = "bad_pin"
	CodeWrongPIN          = "wrong_pin"
	CodePINDelayed        = "pin_delayed"
	CodePINLocked         = "pin_locked"
	CodeChipUnavailable   = "chip_unavailable"
	CodeChipPermission    = "chip_permission"
	CodeChipBusy          = "chip_busy"
	CodeChipNoMemory      = "chip_no_memory"
	CodeChipReset         = "chip_reset"
	CodeChipService       = "chip_service_down"
	CodeTokenAbsent       = "token_absent"
	CodeManyTokens        = "many_tokens"
	CodeNoTouch           = "no_touch"
	CodeAdminRequired     = "admin_required"
	CodeFactorySettings   = "factory_settings"
	CodeNoRoom            = "no_room"
	CodeKeyUnsupported    = "key_unsupported"
	CodeForeignKey        = "foreign_key"
	CodeBusy              = "busy"
	CodeProfileActive     = "profile_active"
	CodeSurfaceForbidden  = "surface_forbidden"
	CodeServerForbidden   = "server_forbidden"
	CodeKeyForbidden      = "key_forbidden"
	CodeMuteForbidden     = "mute_forbidden"
	CodePINTooShort       = "pin_too_short"
	CodeVerifyFailed      = "verify_failed"
	CodeVerifyDismissed   = "verify_dismissed"
	CodeVerifyTimeout     = "verify_timeout"
	CodeVerifyUnavailable = "verify_unavailable"
	CodeTooLarge          = "body_too_large"
	CodeStorage           = "storage_failed"
	CodeUndelivered       = "decisions_undelivered"
	CodeNotRenewable      = "key_not_renewable"
	CodeTooManyProfiles   = "too_many_profiles"
	CodeTooManyEnrolling  = "too_many_enrollments"
	CodeRateLimited       = "rate_limited"
	CodeDegraded          = "service_degraded"
	// CodeAttestationRequired is the policy of this computer; a server's is
	// another.
	CodeAttestationRequired = "attestation_required"
)

func httpStatus(code string) int {
	switch code {
	case CodeBadRequest:
		return http.StatusBadRequest
	case CodeNotFound, CodeNotEnrolled:
		return http.StatusNotFound
	case CodeForbidden, CodeSurfaceForbidden, CodeServerForbidden, CodeKeyForbidden, CodeMuteForbidden, CodeAttestationRequired:
		return http.StatusForbidden
	case CodeInternal:
		return http.StatusInternalServerError
	}
	if NotReached(code) {
		return http.StatusBadGateway
	}
	switch code {
	case CodeNotDecidable, CodeMismatch, CodeProfileActive, CodeBusy, CodeUndelivered:
		return http.StatusConflict
	case CodeChipUnavailable, CodeChipPermission, CodeChipBusy, CodeChipNoMemory, CodeChipReset, CodeChipService, CodeTokenAbsent, CodeStorage, CodeDegraded:
		return http.StatusServiceUnavailable
	case CodeRateLimited:
		return http.StatusTooManyRequests
	case CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusUnprocessableEntity
}

// Errorf makes an Error of a code, a cure and a message.
func Errorf(code, cure, format string, args ...any) *Error {
	return &Error{Code: code, Cure: cure, Message: fmt.Sprintf(format, args...)}
}

// AsError returns the Error in err's chain, or the one that stands for every
// error whose text may not cross the socket.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return Errorf(CodeInternal, "see the log of countersignd", "internal error")
}

type errorBody struct {
	Error *Error `json:"error"`
}

func writeError(w http.ResponseWriter, e *Error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(httpStatus(e.Code))
	_ = json.NewEncoder(w).Encode(errorBody{e})
}

// NotReached reports whether a code says that the Token Server was not reached,
// whatever stands in the way.
func NotReached(code string) bool {
	return slices.Contains([]string{
		CodeServer, CodeNameUnresolved, CodeProxyUnreachable, CodeProxyRefused, CodeProxyAuth, CodeCaptivePortal, CodeIntercepted,
		CodeClock, CodeServerCertificate,
	}, code)
}
