package main

import (
	"errors"

	"countersign/protocol"
	"countersign/tokenserver/problem"
)

// Exit statuses.
const (
	exitDone     = 0
	exitRefused  = 1
	exitUsage    = 2
	exitNotFound = 3
)

// failure is what to tell about an error: what failed and why, and what to do.
type failure struct {
	exit                int
	code, message, cure string
}

func (f failure) Error() string { return f.message }

func explain(err error) failure {
	if _, ok := errors.AsType[ran](err); !ok {
		return failure{exitUsage, "usage", err.Error(), "See countersign-server --help."}
	}
	if f, ok := errors.AsType[failure](err); ok {
		return f
	}
	if p, ok := errors.AsType[*protocol.Problem](err); ok {
		return failure{exitOf(p.Code), p.Code, p.Detail, cure(p.Code)}
	}
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return failure{exitRefused, e.Code, e.Detail, ""}
	}
	// Here the operator stands before the machine, and may know everything.
	return failure{exitRefused, protocol.ProblemInternal, err.Error(), ""}
}

func exitOf(code string) int {
	switch code {
	case problem.UserUnknown, problem.DeviceUnknown, problem.CodeUnknown, problem.RootUnknown, problem.MachineUnknown, protocol.ProblemNotFound:
		return exitNotFound
	}
	return exitRefused
}

func cure(code string) string {
	switch code {
	case problem.UserUnknown:
		return "Add the user with countersign-server user add, or see user list."
	case problem.DeviceUnknown:
		return "See countersign-server device list."
	case problem.MachineUnknown:
		return "See countersign-server machine list, and machine token list."
	case problem.BadEK:
		return "See countersign-server machine add --help for how to get it."
	case problem.CodeUnknown:
		return "Compare the code with the one that the new device shows."
	case problem.RootUnknown:
		return "See countersign-server attestation root list."
	case problem.BadRoot:
		return "Use the vendor's file of CA certificates, PEM or DER."
	case problem.NotServed:
		return "Start countersign-server serve with this directory once."
	case problem.ClientExists, problem.UserExists:
		return "Choose another name."
	}
	return ""
}
