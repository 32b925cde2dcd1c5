package settings

import (
	"encoding/base64"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"countersign/ipc"
)

// Ways in which a computer enrolls by itself.
const (
	EnrollByToken = "token"
	EnrollByEK    = "ek"
)

// maxSpread is the longest time over which computers spread their first call.
const maxSpread = time.Hour

// Fleet is the table [fleet].
type Fleet struct {
	// Server is the device URL, CA the pin of its TLS root as enrollment links have
	// it, "" for the system's roots.
	Server string `toml:"server"`
	CA     string `toml:"ca"`
	// Enroll is how this computer enrolls by itself: "", EnrollByToken or EnrollByEK.
	Enroll string `toml:"enroll"`
	// EnrollmentTokenFile holds the token; "" is the systemd credential of that name.
	EnrollmentTokenFile string `toml:"enrollment_token_file"`
	// EnrollURL is the page where users get their links.
	EnrollURL string `toml:"enroll_url"`
	// Report is whether the server hears how this computer stands.
	Report bool `toml:"report"`
	// Name is what the server shows; "" is the host's name.
	Name string `toml:"name"`
	// Spread is how long the first call may wait.
	Spread string `toml:"spread"`
}

// Within is how long the first call may wait.
func (f Fleet) Within() time.Duration { return known(f.Spread) }

// Pin is the SHA-256 that CA names, nil for none.
func (f Fleet) Pin() []byte {
	pin, _ := parsePin(f.CA)
	return pin
}

func parsePin(text string) ([]byte, bool) {
	digits, ok := strings.CutPrefix(text, "sha256:")
	pin, err := base64.RawURLEncoding.Strict().DecodeString(digits)
	return pin, ok && err == nil && len(pin) == 32
}

const (
	keyFleetServer = "fleet.server"
	keyFleetEnroll = "fleet.enroll"
	keyFleetToken  = "fleet.enrollment_token_file"
	maxFleetName   = 128
)

func (r *reader) fleet() {
	f := r.loaded.Fleet
	if f.Server == "" && (f.Enroll != "" || f.EnrollURL != "") {
		r.complain(keyFleetEnroll, "%s is missing: it is the device URL that the server prints", keyFleetServer)
	}
	if f.Server != "" && !isServer(f.Server) {
		r.complain(keyFleetServer, `%s is the device URL that the server prints, such as "https://auth.example.org:8443"`, keyFleetServer)
	}
	if _, ok := parsePin(f.CA); f.CA != "" && !ok {
		r.complain("fleet.ca", `fleet.ca is the pin that the server prints, "sha256:" and 43 letters, or "" for a server that the system trusts`)
	}
	if !slices.Contains([]string{"", EnrollByToken, EnrollByEK}, f.Enroll) {
		r.complain(keyFleetEnroll, `%s is "token", "ek" or "", and not %.40q`, keyFleetEnroll, f.Enroll)
	}
	if f.EnrollmentTokenFile != "" && (!filepath.IsAbs(f.EnrollmentTokenFile) || f.Enroll != EnrollByToken) {
		r.complain(keyFleetToken, `%s is an absolute path, and used only with %s = "token"`, keyFleetToken, keyFleetEnroll)
	}
	if f.EnrollURL != "" && !ipc.ValidPage(f.EnrollURL) {
		r.complain("fleet.enroll_url", "fleet.enroll_url is an https URL")
	}
	if len(f.Name) > maxFleetName || strings.ContainsFunc(f.Name, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		r.complain("fleet.name", "fleet.name is a line of at most %d bytes", maxFleetName)
	}
	r.duration("fleet.spread", f.Spread, 0, maxSpread)
}

// isServer reports whether a text is an address below which a server's paths are.
func isServer(text string) bool {
	u, err := url.Parse(text)
	return err == nil && ipc.ValidPage(text) && !strings.ContainsAny(text, "?#") && !strings.HasSuffix(u.Path, "/")
}
