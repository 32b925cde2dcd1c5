package archtest

// module is this module's name with a slash.
const module = "countersign/"

// mayImport gives, for each package of this module, which others its shipped
// code may import. Tests of a package import what they like. A new package
// needs a row here, and whoever writes the row thinks about it.
func mayImport() map[string][]string {
	return map[string][]string{
		"internal/owned":   {"internal/mend"},
		"internal/secret":  {},
		"internal/version": {},
		"internal/zone":    {},
		"internal/mend":    {},

		// The two contracts know nothing of each other.
		"protocol": {"internal/secret"},
		"ipc":      {"internal/secret"},

		// A back end knows its port and nothing else.
		"hsm":         {"internal/secret"},
		"hsm/tpm":     {"hsm", "internal/secret"},
		"hsm/piv":     {"hsm", "internal/secret"},
		"hsm/hsmtest": {"hsm", "internal/secret", "internal/testenv"},

		// A card knows what a card knows.
		"hsm/hsmtest/virtualpiv": {},

		// The service reaches hardware through the port alone.
		"agent":          {"agent/audit", "agent/state", "agent/upstream", "agent/verify", "hsm", "ipc", "protocol", "internal/mend", "internal/secret", "internal/version", "agent/policy", "agent/metrics"},
		"agent/audit":    {},
		"agent/metrics":  {},
		"agent/policy":   {"protocol"},
		"agent/settings": {"agent/policy", "hsm", "internal/owned", "ipc"},
		"agent/state":    {"hsm", "protocol"},
		"agent/upstream": {"protocol", "internal/secret", "internal/version"},
		"agent/verify":   {"internal/owned"},

		// What the user runs knows the service's socket and nothing behind it.
		"session":        {"ipc", "session/logind", "session/notify", "session/prompt", "session/text", "internal/secret", "internal/zone"},
		"session/logind": {},
		"session/notify": {},
		"session/prompt": {"ipc", "session/text", "internal/secret"},
		"session/text":   {},
		// What looks at a stranger's picture, and what fetches it, know nothing.
		"session/portal":  {},
		"session/qr":      {},
		"session/desktop": {},

		// The Token Server: the parts know the store, the HTTP side knows the parts.
		"tokenserver":                   {"internal/secret", "protocol", "tokenserver/admin", "tokenserver/engine", "tokenserver/enroll", "tokenserver/fanout", "tokenserver/machines", "tokenserver/pki", "tokenserver/problem", "tokenserver/roots", "tokenserver/store", "internal/version"},
		"tokenserver/admin":             {"protocol", "tokenserver/engine", "tokenserver/fanout", "tokenserver/policy", "tokenserver/problem", "tokenserver/roots", "tokenserver/store", "internal/secret"},
		"tokenserver/attest":            {"protocol", "tokenserver/problem"},
		"tokenserver/attest/attesttest": {"protocol"},
		"tokenserver/engine":            {"internal/secret", "protocol", "tokenserver/fanout", "tokenserver/limit", "tokenserver/pki", "tokenserver/policy", "tokenserver/problem", "tokenserver/store"},
		"tokenserver/enroll":            {"protocol", "tokenserver/attest", "tokenserver/fanout", "tokenserver/pki", "tokenserver/policy", "tokenserver/problem", "tokenserver/store", "internal/secret"},
		"tokenserver/fanout":            {},
		"tokenserver/limit":             {},
		"tokenserver/machines":          {"protocol", "tokenserver/attest", "tokenserver/limit", "tokenserver/pki", "tokenserver/problem", "tokenserver/store", "internal/secret"},
		"tokenserver/pki":               {"protocol"},
		"tokenserver/policy":            {"protocol", "tokenserver/store"},
		"tokenserver/problem":           {"protocol"},
		"tokenserver/roots":             {"tokenserver/problem"},
		"tokenserver/store":             {"protocol"},
		"tokenserver/store/sqlite":      {"protocol", "tokenserver/store"},
		"tokenserver/store/storetest":   {"protocol", "tokenserver/store", "internal/testenv"},
		"tokenserver/servertest":        {"protocol", "tokenserver", "tokenserver/admin", "tokenserver/enroll", "tokenserver/fanout", "tokenserver/machines", "tokenserver/pki", "tokenserver/roots", "tokenserver/store/sqlite", "internal/secret", "internal/testenv"},

		"systemd":   {},
		"installer": {"session/desktop", "systemd", "internal/mend", "internal/version"},

		// Commands wire, and only they choose a back end.
		"cmd/countersignd":       {"agent", "agent/audit", "agent/state", "agent/upstream", "agent/verify", "hsm", "hsm/piv", "hsm/tpm", "ipc", "protocol", "systemd", "internal/mend", "internal/secret", "internal/version", "internal/zone", "agent/settings", "agent/metrics"},
		"cmd/countersign":        {"ipc", "session", "session/desktop", "session/notify", "session/portal", "session/prompt", "session/qr", "session/text", "systemd", "installer", "internal/mend", "internal/secret", "internal/version", "internal/zone"},
		"cmd/countersign-server": {"protocol", "tokenserver", "tokenserver/admin", "tokenserver/enroll", "tokenserver/fanout", "tokenserver/machines", "tokenserver/pki", "tokenserver/policy", "tokenserver/problem", "tokenserver/roots", "tokenserver/store", "tokenserver/store/sqlite", "systemd", "internal/secret", "internal/version"},

		// An example uses the published HTTP API, as anybody else would.
		"examples/relying-party": {},

		"internal/archtest":   {},
		"internal/bench":      {},
		"internal/docgen":     {"internal/testenv"},
		"internal/packaging":  {},
		"internal/e2e":        {"internal/testenv"},
		"internal/testenv":    {"internal/secret"},
		"internal/systemtest": {},
		"internal/testreport": {},

		// What the service is measured beside has nothing of it.
		"internal/bench/empty": {},
		"internal/bench/hello": {},
	}
}

// mustNotContain names, for each command we ship, the packages that must not
// be in it by any path, and why. The name covers what is below it too.
func mustNotContain() map[string]map[string]string {
	const (
		tests = "test helpers stay out of what we ship"
		noUI  = "the service never draws user interface"
		apart = "device and server share the protocol and nothing else"
	)
	return map[string]map[string]string{
		"cmd/countersign": {
			module + "agent":        "the user's program must not hold the key-using core",
			module + "hsm":          "the user's program must not be able to open a TPM or a card",
			module + "tokenserver":  apart,
			module + "hsm/hsmtest":  tests,
			module + "internal/e2e": tests, module + "internal/testenv": tests,
			"github.com/google/go-tpm": "the user's program must not be able to open a TPM or a card",
			"github.com/go-piv":        "the user's program must not be able to open a TPM or a card",
			"testing":                  tests,
		},
		"cmd/countersignd": {
			module + "session":      noUI,
			module + "tokenserver":  apart,
			module + "hsm/hsmtest":  tests,
			module + "internal/e2e": tests, module + "internal/testenv": tests,
			"testing": tests,
		},
		"cmd/countersign-server": {
			module + "agent": apart, module + "hsm": apart, module + "session": apart, module + "ipc": apart,
			module + "tokenserver/store/storetest": tests, module + "tokenserver/servertest": tests, module + "tokenserver/attest/attesttest": tests,
			module + "internal/e2e": tests, module + "internal/testenv": tests,
			"testing": tests,
		},
	}
}

// onlyHere confines modules of others to the packages that wrap them, so that
// one can be replaced in one place. Tests and their tools are free.
func onlyHere() map[string][]string {
	return map[string][]string{
		"github.com/google/go-tpm":            {"hsm/tpm", "tokenserver/attest"},
		"github.com/foxboron/go-tpm-keyfiles": {"hsm/tpm"},
		"github.com/go-piv/piv-go":            {"hsm/piv"},
		"github.com/godbus/dbus":              {"session/logind", "session/notify", "session/portal", "agent/verify"},
		"github.com/go-jose/go-jose":          {"protocol"},
		"github.com/makiuchi-d/gozxing":       {"session/qr"},
		"github.com/elastic/go-seccomp-bpf":   {"session/qr"},
		"github.com/kardianos/service":        {"installer"},
		"modernc.org/sqlite":                  {"tokenserver/store/sqlite"},
		"github.com/pressly/goose":            {"tokenserver/store/sqlite"},
		"github.com/cpuguy83/go-md2man":       {"internal/docgen"},
		"github.com/spf13/cobra":              {"cmd/countersign", "cmd/countersignd", "cmd/countersign-server", "internal/docgen"},
	}
}
