package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"countersign/ipc"
)

// policyLines says what the administrator of this computer has locked.
func policyLines(p *ipc.Policy) (lines []string) {
	if p == nil {
		return nil // a service that has none
	}
	add := func(locked bool, format string, args ...any) {
		if locked {
			lines = append(lines, fmt.Sprintf(format, args...))
		}
	}
	add(p.ClassFloor != "", "every approval is of class %s at least", p.ClassFloor)
	add(!slices.Equal(p.Servers, []string{"*"}), "servers: %s", strings.Join(p.Servers, ", "))
	add(p.PINMinLength > chipPIN, "a new PIN has %d characters at least", p.PINMinLength)
	add(p.MuteMaxSeconds == 0, "prompts are not muted")
	most := time.Duration(p.MuteMaxSeconds) * time.Second
	add(p.MuteMaxSeconds > 0 && most < maxMute, "prompts are muted for %v at most", most)
	add(p.LocalApprovals == "terminal", "approvals are made in prompts and on terminals")
	add(p.LocalApprovals == "prompt", "approvals are made in prompts of the desktop")
	add(len(p.Keys) == 1, "keys are in: %s", strings.Join(p.Keys, ", "))
	add(p.AttestationRequired, "the chip proves its keys to the server")
	return lines
}
