package agent

import (
	"context"
	"errors"
	"fmt"

	"countersign/agent/state"
	"countersign/hsm"
	"countersign/ipc"
)

// degraded says in words what does not work, of the chips and of the profiles
// within a scope.
func (a *Agent) degraded(ctx context.Context, s ipc.Scope) []string {
	ctx, cancel := context.WithTimeout(ctx, chipTimeout)
	defer cancel()
	reasons := []string{}
	absent := map[string]bool{}
	for _, p := range a.chips {
		if _, err := p.Status(ctx); err != nil {
			absent[p.Name()] = true
			reasons = append(reasons, p.Name()+": "+chipError(onChip(p.Name(), err)).Message)
		}
	}
	if trouble := a.machine.trouble(); trouble != "" {
		reasons = append(reasons, trouble)
	}
	for _, p := range a.visible(s) {
		for _, reason := range p.degraded(ctx, absent) {
			reasons = append(reasons, fmt.Sprintf("%s: %s", p.account(), reason))
		}
	}
	return reasons
}

// degraded says what does not work of one profile, the worst first.
func (p *profile) degraded(ctx context.Context, absent map[string]bool) (reasons []string) {
	s := p.get()
	if s.State == state.Revoked {
		return []string{p.trouble()}
	}
	for _, k := range []*lazyKey{p.device(), p.approval()} {
		if absent[k.facts.Provider] {
			continue // said once already
		}
		if _, err := k.probe(ctx); errors.Is(err, hsm.ErrForeignKey) {
			return []string{chipError(err).Message}
		}
	}
	if left := p.triesLeft(ctx); left != nil && *left == 0 {
		reasons = append(reasons, "the PIN of its approval key is locked after too many wrong ones; see countersign doctor")
	}
	if s.DeviceKey.Provider == kindPIV {
		reasons = append(reasons, "its device key is on the token too: while the token is not inserted nothing is received")
	}
	reasons = append(reasons, p.stale(p.serverNow())...)
	if trouble := p.trouble(); trouble != "" {
		reasons = append(reasons, trouble)
	}
	return reasons
}
