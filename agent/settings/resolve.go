package settings

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"countersign/agent/policy"
	"countersign/hsm"
	"countersign/ipc"
)

const (
	keyFloor      = "floor"
	keyForbidCLI  = "forbid_cli"
	keyClassFloor = "policy.class_floor"
	keyApprovals  = "policy.local_approvals"

	// maxPluginTimeout is how long a plug-in may have: requests live for minutes.
	maxPluginTimeout = 5 * time.Minute
	// MaxMute is the longest that anybody may mute prompts.
	MaxMute = 24 * time.Hour
	// Metrics are written this often, at most and at least.
	minInterval = 15 * time.Second
	maxInterval = time.Hour
)

// resolve checks what the values mean, and makes the policy of them.
func (r *reader) resolve() {
	r.places()
	r.verify()
	r.network()
	r.fleet()
	r.metrics()
	r.policy()
}

// oldNames takes what policies were before there was a table for them. Both the
// old name and the new one may be there as long as they agree.
func (r *reader) oldNames() {
	s := r.loaded
	if from, ok := s.Origins[keyFloor]; ok {
		r.succeed(keyFloor, keyClassFloor, s.Floor, from)
	}
	if from, ok := s.Origins[keyForbidCLI]; ok {
		means := policy.Anywhere
		if s.ForbidCLI {
			means = policy.OnTerminals
		}
		r.succeed(keyForbidCLI, keyApprovals, means, from)
	}
}

func (r *reader) succeed(old, key, means string, from Origin) {
	other, both := r.loaded.Origins[key]
	if !both {
		r.set(key, means, from)
		return
	}
	if now := r.value(r.schema.byKey[key]); now != means {
		r.complain(old, "%s is the old name of %s, which says something else in %v: leave one of them", old, key, other)
	}
}

func (r *reader) places() {
	s := r.loaded
	if s.State == "" {
		r.complain("state", "there is no state directory: name it with --state")
	}
}

func (r *reader) verify() {
	v := r.loaded.Verify
	if !slices.Contains([]string{"", ipc.VerifyPolkit, ipc.VerifyPlugin}, v.Custom) {
		r.complain("verify.custom", `verify.custom is "", "polkit" or "plugin", and not %.40q`, v.Custom)
	} else if v.Plugin != "" && v.Custom != ipc.VerifyPlugin {
		r.complain("verify.plugin", `verify.plugin is set and not used: set verify.custom = "plugin"`)
	}
	if v.Custom == ipc.VerifyPlugin {
		r.duration("verify.plugin_timeout", v.PluginTimeout, time.Second, maxPluginTimeout)
	}
}

func (r *reader) metrics() {
	m := r.loaded.Metrics
	if m.Textfile != "" && (!filepath.IsAbs(m.Textfile) || filepath.Clean(m.Textfile) != m.Textfile || !strings.HasSuffix(m.Textfile, ".prom")) {
		r.complain("metrics.textfile", "metrics.textfile is a plain absolute path that ends in .prom, which is what node_exporter reads")
	}
	r.duration("metrics.interval", m.Interval, minInterval, maxInterval)
}

func (r *reader) policy() {
	p, locks := r.loaded.Policy, &r.loaded.Locks
	if p.ClassFloor != "" && locks.ClassFloor.UnmarshalText([]byte(p.ClassFloor)) != nil {
		r.complain(keyClassFloor, `%s is a consent class, "C0" to "C3", or "" for whatever the server says, and not %.40q`, keyClassFloor, p.ClassFloor)
	}
	var err error
	if locks.Servers, err = policy.ParseServers(p.Servers); err != nil {
		r.complain("policy.servers", "policy.servers: %v", err)
	}
	if p.PINMinLength < hsm.MinPIN || p.PINMinLength > hsm.MaxPIN {
		r.complain("policy.pin_min_length", "policy.pin_min_length is %d to %d characters, and not %d", hsm.MinPIN, hsm.MaxPIN, p.PINMinLength)
	} else if p.PINMinLength > hsm.MinPIN {
		// The least is what the chips ask for, in bytes.
		locks.PINMinLength = p.PINMinLength
	}
	mute := r.duration("policy.mute_max", p.MuteMax, 0, MaxMute)
	locks.MuteMax = &mute
	if locks.LocalApprovals = p.LocalApprovals; !slices.Contains(policy.Approvals(), p.LocalApprovals) {
		r.complain(keyApprovals, `%s is "any", "terminal" or "prompt", and not %.40q`, keyApprovals, p.LocalApprovals)
	}
	locks.Keys, locks.AttestationRequired = r.keys(p.Keys), p.AttestationRequired
}

func (r *reader) keys(list []string) []string {
	all := Defaults().Policy.Keys
	bad := slices.ContainsFunc(list, func(k string) bool { return !slices.Contains(all, k) })
	if bad || len(list) == 0 {
		r.complain("policy.keys", `policy.keys is a list of "tpm" and "piv" with one of them at least`)
	}
	return list
}

// duration reads a time as Go writes it, within bounds.
func (r *reader) duration(key, value string, least, most time.Duration) time.Duration {
	d, err := time.ParseDuration(value)
	if err != nil || d < least || d > most {
		r.complain(key, `%s is a time from %s to %s, such as "90s", "5m" or "2h", and not %.40q`, key, brief(least), brief(most), value)
	}
	return d
}

// brief is a time as people write it.
func brief(d time.Duration) string {
	s := d.String()
	for _, rest := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, rest) {
			s = s[:len(s)-2]
		}
	}
	return s
}

// Timeout is how long the plug-in may take.
func (v Verify) Timeout() time.Duration { return known(v.PluginTimeout) }

// Every is how often metrics are written.
func (m Metrics) Every() time.Duration { return known(m.Interval) }

// known reads a duration that was checked.
func known(s string) time.Duration {
	d, _ := time.ParseDuration(s)
	return d
}
