package e2e

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"countersign/internal/testenv"
)

const pin = "493817"

// server is a Token Server in a directory of its own.
type server struct {
	tb             testing.TB
	data           string
	issuer, device string
	proc           *process
	log            *testenv.Log
	config         string
	// binary, where not "", is another version's.
	binary string
	// net, where not nil, is the network that it is in.
	net *testenv.NetNS
	// small, where not nil, is the disk that the data is on.
	small *disk
}

func startServer(tb testing.TB) *server {
	tb.Helper()
	return startServerOn(tb, "127.0.0.1:0", "127.0.0.1:0")
}

func startServerOn(tb testing.TB, listen, deviceListen string, args ...string) *server {
	tb.Helper()
	s := &server{tb: tb, data: filepath.Join(tb.TempDir(), "server"), log: new(testenv.Log)}
	s.run(append(args, "--listen", listen, "--device-listen", deviceListen)...)
	s.command("", "user", "add", "alice").ok(tb)
	return s
}

func (s *server) run(args ...string) {
	s.tb.Helper()
	args = append([]string{"serve", "--data", s.data}, args...)
	if s.config != "" {
		args = append(args, "--config", s.config)
	}
	cmd := exec.Command(s.program(), args...)
	if s.net != nil {
		cmd = s.net.Inside(cmd)
	}
	s.proc = startCommand(s.tb, s.log, cmd)
	s.read()
}

func (s *server) program() string {
	if s.binary != "" {
		return s.binary
	}
	return filepath.Join(bin, "countersign-server")
}

// read takes in what a starting server says.
func (s *server) read() {
	s.tb.Helper()
	s.issuer = s.proc.expect("issuer ")
	s.device = s.proc.expect("device ")
	s.proc.expect("pin sha256:")
	s.proc.expect("ready")
}

// again starts it once more on the addresses it had.
func (s *server) again() {
	s.tb.Helper()
	s.run("--listen", hostOf(s.tb, s.issuer), "--device-listen", hostOf(s.tb, s.device))
}

func hostOf(tb testing.TB, address string) string {
	tb.Helper()
	u, err := url.Parse(address)
	if err != nil {
		tb.Fatal(err)
	}
	return u.Host
}

func (s *server) command(stdin string, args ...string) answer {
	s.tb.Helper()
	cmd := exec.Command(s.program(), append(args, "--data", s.data)...)
	if s.small != nil {
		cmd = s.small.seenBy(cmd)
	}
	return runCommand(s.tb, stdin, cmd)
}

// link makes an enrollment link for alice.
func (s *server) link(args ...string) string {
	s.tb.Helper()
	return s.command("", append([]string{"enrollment", "create", "--user", "alice", "--json"}, args...)...).ok(s.tb).text("uri")
}

func (s *server) ca() string {
	if s.small != nil {
		return s.small.path("ca.pem")
	}
	return filepath.Join(s.data, "ca.pem")
}

// device is one computer: a TPM with a recorder in front, and the service.
type device struct {
	tb     testing.TB
	dir    string
	tpm    *testenv.SWTPM
	wire   *testenv.TPMRecorder
	proc   *process
	log    *testenv.Log
	config string
	// pcscd, where not nil, has the service use tokens.
	pcscd *testenv.PCSCD
	// noTPM leaves the TPM to the configuration.
	noTPM bool
	// system runs the service as the system's, for every local user.
	system bool
	// env is more of the service's environment.
	env []string
	// plain runs a service built without the race detector, where strace
	// watches and time is short.
	plain bool
	// binary, where not "", is another version's service.
	binary string
	// net, where not nil, is the network that it is in.
	net *testenv.NetNS
}

func (d *device) program() string {
	if d.binary != "" {
		return d.binary
	}
	if d.plain {
		return filepath.Join(bin, "plain", "countersignd")
	}
	return filepath.Join(bin, "countersignd")
}

func startDevice(tb testing.TB) *device {
	tb.Helper()
	d := newDevice(tb)
	d.start()
	return d
}

func newDevice(tb testing.TB) *device {
	tb.Helper()
	return newDeviceWith(tb, testenv.StartSWTPM(tb))
}

func newDeviceWith(tb testing.TB, tpm *testenv.SWTPM) *device {
	tb.Helper()
	dir, err := os.MkdirTemp("", "cs") // short: a socket's path has room for 107 bytes
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return &device{tb: tb, dir: dir, tpm: tpm, wire: testenv.RecordTPM(tb, tpm), log: new(testenv.Log)}
}

func (d *device) socket() string { return filepath.Join(d.dir, "agent.sock") }
func (d *device) state() string  { return filepath.Join(d.dir, "state") }

func (d *device) args() []string {
	args := []string{"--state", d.state(), "--socket", d.socket()}
	if !d.noTPM {
		args = append(args, "--tpm", d.wire.Spec())
	}
	if d.config != "" {
		args = append(args, "--config", d.config)
	}
	if d.pcscd != nil {
		args = append(args, "--piv")
	}
	if !d.system {
		args = append(args, "--user")
	}
	return args
}

func (d *device) start() {
	d.tb.Helper()
	cmd := exec.Command(d.program(), d.args()...)
	cmd.Env = append(os.Environ(), d.env...)
	if d.pcscd != nil {
		cmd.Env = append(cmd.Env, d.pcscd.Env())
	}
	if d.net != nil {
		cmd = d.net.Inside(cmd)
	}
	d.proc = startCommand(d.tb, d.log, cmd)
	d.proc.expect("ready")
}

// cli runs the user's command.
func (d *device) cli(stdin string, args ...string) answer {
	d.tb.Helper()
	return command(d.tb, stdin, "countersign", append(args, "--socket", d.socket(), "--json")...)
}

// enroll enrolls with the PIN of all tests.
func (d *device) enroll(link string) {
	d.tb.Helper()
	d.cli(pin+"\n", "enroll", link, "--pin-stdin").ok(d.tb)
}

// waitFor waits until the device lists the request as pending.
func (d *device) waitFor(id string) {
	d.tb.Helper()
	testenv.Eventually(d.tb, "the request to arrive", func() bool { return d.lists(id) })
}

// waitGone waits until it does not.
func (d *device) waitGone(id string) {
	d.tb.Helper()
	testenv.Eventually(d.tb, "the request to leave the list", func() bool { return !d.lists(id) })
}

func (d *device) lists(id string) bool {
	_, pending := d.requests()[id]
	return pending
}

// requests are the statuses of the listed requests by id.
func (d *device) requests(args ...string) map[string]string {
	d.tb.Helper()
	a := d.cli("", append([]string{"requests"}, args...)...).ok(d.tb)
	statuses := map[string]string{}
	list, _ := a.json["requests"].([]any)
	for _, r := range list {
		m := r.(map[string]any)
		statuses[m["id"].(string)] = m["status"].(string)
	}
	return statuses
}

// storedProfile is what the tests read of the state directory.
type storedProfile struct {
	ID            string   `json:"id"`
	Device        string   `json:"device"`
	DeviceURL     string   `json:"device_url"`
	Root          []byte   `json:"root"`
	DeviceChain   [][]byte `json:"device_chain"`
	ApprovalChain [][]byte `json:"approval_chain"`
	dir           string
}

// profile reads the one profile of the device.
func (d *device) profile() storedProfile {
	d.tb.Helper()
	dirs, err := filepath.Glob(filepath.Join(d.state(), "profiles", "*"))
	if err != nil || len(dirs) != 1 {
		d.tb.Fatalf("profiles: %v, %v", dirs, err)
	}
	data, err := os.ReadFile(filepath.Join(dirs[0], "profile.json"))
	if err != nil {
		d.tb.Fatal(err)
	}
	p := storedProfile{dir: dirs[0]}
	if err := json.Unmarshal(data, &p); err != nil {
		d.tb.Fatal(err)
	}
	return p
}

// approvalSigns counts the signatures that the TPM has made with the approval
// key, as seen on its wire.
func (d *device) approvalSigns() int {
	d.tb.Helper()
	cert, err := x509.ParseCertificate(d.profile().ApprovalChain[0])
	if err != nil {
		d.tb.Fatal(err)
	}
	return d.wire.SuccessfulSigns(cert.PublicKey.(*ecdsa.PublicKey))
}

// approvalKeySigned demands that it has signed the CSR and so many decisions.
func (d *device) approvalKeySigned(decisions int) {
	d.tb.Helper()
	if n := d.approvalSigns(); n != 1+decisions {
		d.tb.Errorf("the approval key signed %d times, want %d: the CSR and %d decisions", n, 1+decisions, decisions)
	}
}

func readPEM(tb testing.TB, name string) []*pem.Block {
	tb.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	var blocks []*pem.Block
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			return blocks
		}
		blocks = append(blocks, b)
	}
}

// payload decodes what a compact JWS says. Who signed it is for others to
// verify.
func payload(tb testing.TB, compact string, into any) {
	tb.Helper()
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		tb.Fatalf("not a compact JWS: %q", compact)
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		tb.Fatal(err)
	}
}
