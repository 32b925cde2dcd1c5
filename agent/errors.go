package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"countersign/agent/upstream"
	"countersign/ipc"
	"countersign/protocol"
)

func errNoRequest(id string) *ipc.Error {
	return ipc.Errorf(ipc.CodeNotFound, "list them with: countersign requests --all", "there is no request %.40q for you", id)
}

// errNotPending refuses a decision on a request that is over, or decided and
// not yet confirmed, with its status.
func errNotPending(status string) *ipc.Error {
	e := ipc.Errorf(ipc.CodeNotDecidable, "if it should be decided, have it started again", "the request is not pending any more: %s", status)
	if status == statusUnconfirmed {
		e.Cure = "wait: it is decided, and the decision goes on being delivered"
	}
	e.Status = status
	return e
}

// errBusy refuses a decision while somebody else makes one.
func errBusy() *ipc.Error {
	e := ipc.Errorf(ipc.CodeNotDecidable, "wait, and see: countersign requests --all", "the request is being decided elsewhere at this moment")
	e.Status = statusPending
	return e
}

func errPINNeeded() *ipc.Error {
	return ipc.Errorf(ipc.CodePINRequired, "type the PIN of the approval key", "this takes the PIN")
}

// told is e for the caller and, where e says no more than that there was an
// error, the cause for the log.
func told(e *ipc.Error, cause error) error {
	if e.Code == ipc.CodeInternal {
		return errors.Join(e, cause)
	}
	return e
}

// serverError puts a failed call to the server into words.
func serverError(err error) *ipc.Error {
	if e, ok := errors.AsType[*ipc.Error](err); ok {
		return e
	}
	if p, ok := errors.AsType[*protocol.Problem](err); ok {
		return &ipc.Error{Code: p.Code, Message: fmt.Sprintf("the server refused: %v", p), Cure: serverCure(p.Code)}
	}
	if errors.Is(err, upstream.ErrUnreachable) || errors.Is(err, context.DeadlineExceeded) {
		return faultOf(err, diagnosis{})
	}
	return ipc.AsError(err)
}

func serverCure(code string) string {
	switch code {
	case protocol.ProblemTokenUnknown, protocol.ProblemTokenUsed, protocol.ProblemTokenExpired:
		return "ask for a new enrollment link"
	case protocol.ProblemDeviceLimit:
		return "have an old device revoked, or a link issued that replaces it"
	case protocol.ProblemUserLocked:
		return "ask the administrator of the server"
	case protocol.ProblemAttestation:
		return "enroll with hardware that proves itself, of a maker whose root the server has: countersign-server attestation root add FILE"
	case protocol.ProblemAlgorithm:
		return "enroll with the other --algorithm, ES256 or RS256"
	case protocol.ProblemOTPUnknown:
		return "start again where the code came from, and be quick: a code lives two minutes at most"
	case protocol.ProblemOTPRefused:
		return "read the code from the screen, or type it"
	case protocol.ProblemRateLimited:
		return "wait a minute, and try again"
	case protocol.ProblemSuspended:
		return "see: countersign doctor"
	case protocol.ProblemCertExpired:
		return "for 30 days after its end: countersign renew PROFILE; later, enroll again"
	case protocol.ProblemKeyExpired:
		return "countersign renew PROFILE, and decide again"
	case protocol.ProblemPolicy:
		return "enroll with hardware that meets the server's policy"
	}
	return "see the list of errors in the documentation"
}

// reachText says why the server is not reached, without its inner workings.
func reachText(err error) string {
	if p, ok := errors.AsType[*protocol.Problem](err); ok {
		return "the server refused: " + p.Error()
	}
	if errors.Is(err, errNeverReached) {
		return "the server has not been reached yet"
	}
	// The text of a certificate error holds names out of the certificate.
	return strings.Map(printable, err.Error())
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return '?'
}

func asProblem(err error) (*protocol.Problem, bool) { return errors.AsType[*protocol.Problem](err) }
