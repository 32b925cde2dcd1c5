package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countersign/internal/testenv"
)

// internet is three networks: a device's, a server's, and what lies between them.
type internet struct {
	t                      *testing.T
	device, middle, server *testenv.NetNS
}

const (
	serverIP  = "10.77.0.2"
	serverIP6 = "fd77::2"
	gateway   = "10.78.0.1"
	gateway6  = "fd78::1"
)

func newInternet(t *testing.T) *internet {
	t.Helper()
	n := &internet{t, testenv.NewNetNS(t), testenv.NewNetNS(t), testenv.NewNetNS(t)}
	n.device.Connect("eth0", n.middle, "device0")
	n.middle.Connect("server0", n.server, "eth0")
	n.device.Address("eth0", "10.78.0.2/24", "fd78::2/64")
	n.middle.Address("device0", gateway+"/24", gateway6+"/64")
	n.middle.Address("server0", "10.77.0.1/24", "fd77::1/64")
	n.server.Address("eth0", serverIP+"/24", serverIP6+"/64")
	n.server.IP("route", "add", "default", "via", "10.77.0.1")
	n.server.IP("route", "add", "default", "via", "fd77::1")
	return n
}

// open has what lies in between pass everything on.
func (n *internet) open() {
	n.t.Helper()
	n.middle.Sysctl("net/ipv4/ip_forward", "1")
	n.middle.Sysctl("net/ipv6/conf/all/forwarding", "1")
	n.device.IP("route", "add", "default", "via", gateway)
	n.device.IP("route", "add", "default", "via", gateway6)
}

// serve starts a server at an address of its network.
func (n *internet) serve(host string, args ...string) *server {
	n.t.Helper()
	s := &server{tb: n.t, data: filepath.Join(n.t.TempDir(), "server"), log: new(testenv.Log), net: n.server}
	return s.begin(net.JoinHostPort(host, "0"), net.JoinHostPort(host, "0"), args...)
}

// begin runs a new server with a user.
func (s *server) begin(listen, deviceListen string, args ...string) *server {
	s.tb.Helper()
	s.run(append(args, "--listen", listen, "--device-listen", deviceListen)...)
	s.command("", "user", "add", "alice").ok(s.tb)
	return s
}

// computer is a device in its network, with a configuration.
func (n *internet) computer(config string) *device {
	n.t.Helper()
	d := newDevice(n.t)
	d.net = n.device
	d.configure(config)
	return d
}

func (d *device) configure(text string) {
	d.tb.Helper()
	d.config = filepath.Join(d.dir, "countersignd.toml")
	if err := os.WriteFile(d.config, []byte(text), 0o600); err != nil {
		d.tb.Fatal(err)
	}
}

// fails waits until doctor has a finding of this code that fails.
func (d *device) fails(code string) {
	d.tb.Helper()
	testenv.Eventually(d.tb, "doctor to find "+code, func() bool { return d.checks()[code] == "fail" })
}

// finding is what doctor says by a code.
func (d *device) finding(code string) (detail, cure string) {
	d.tb.Helper()
	list, _ := d.cli("", "doctor").json["checks"].([]any)
	for _, c := range list {
		if m := c.(map[string]any); m["code"] == code {
			detail, _ = m["detail"].(string)
			cure, _ = m["cure"].(string)
			return detail, cure
		}
	}
	d.tb.Fatalf("doctor does not find %s: %v", code, d.checks())
	return "", ""
}

// told fails where a secret is in what a service has logged, in its arguments or
// environment, or in what its status says.
func (d *device) told(secret string) {
	d.tb.Helper()
	texts := map[string]string{"log": d.log.String(), "status": d.cli("", "status").stdout + d.cli("", "doctor").stdout}
	for _, name := range []string{"cmdline", "environ"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", d.proc.cmd.Process.Pid, name))
		if err != nil {
			d.tb.Fatal(err)
		}
		texts[name] = string(data)
	}
	for where, text := range texts {
		if strings.Contains(text, secret) {
			d.tb.Errorf("the password is in the %s", where)
		}
	}
}

// TestProxy enrolls and approves through a proxy that asks for a password and lets one
// port through, where there is no other way; and each of its refusals has a name.
func TestProxy(t *testing.T) {
	t.Parallel()
	n := newInternet(t)
	s := n.serve(serverIP)
	port := s.device[strings.LastIndex(s.device, ":")+1:]
	const password = "sesame-4711"
	address := gateway + ":3128"
	proxy := testenv.StartTinyproxy(t, n.middle, address, "BasicAuth alice "+password, "ConnectPort "+port)
	config := "[network]\nproxy = \"http://" + address + "\"\n"
	d := n.computer(config)
	d.start()
	if a := d.cli(pin+"\n", "enroll", s.link(), "--pin-stdin").want(t, 4); a.code() != "proxy_authentication" || !strings.Contains(a.stdout, "proxy_user") {
		t.Errorf("without a password: %s", a.stdout)
	}
	d.proc.stop()
	file := writeFile(t, "password", []byte(password+"\n"))
	config += "proxy_user = \"alice\"\nproxy_password_file = \"" + file + "\"\n"
	d.configure(config)
	d.start()
	d.enroll(s.link())
	p := newPortal(t, s)
	d.confirms(p)
	if !strings.Contains(proxy.Log(), serverIP+":"+port) {
		t.Error("the proxy has seen nothing")
	}
	d.told(password)

	proxy.Stop()
	d.fails("proxy_unreachable")
	if detail, cure := d.finding("proxy_unreachable"); !strings.Contains(detail, "proxy") || !strings.Contains(cure, "network.proxy") {
		t.Errorf("without the proxy: %s: %s", detail, cure)
	}
	proxy.Start()
	d.connected()
	d.confirms(p)

	if err := os.WriteFile(file, []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	proxy.Stop()
	proxy.Start()
	d.fails("proxy_authentication")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.connected() // the password is read anew

	proxy.Stop()
	testenv.StartTinyproxy(t, n.middle, address, "BasicAuth alice "+password, "ConnectPort 443")
	d.fails("proxy_refused")
	if a := d.cli("", "enrolled", d.profile().ID, "--check").want(t, 4); a.code() != "proxy_refused" {
		t.Errorf("asked by a person: %s", a.stdout)
	}
	d.told(password)
}

// TestProxyOfTheEnvironment is used where the configuration names none, and "direct"
// is none.
func TestProxyOfTheEnvironment(t *testing.T) {
	t.Parallel()
	n := newInternet(t)
	s := n.serve(serverIP)
	testenv.StartTinyproxy(t, n.middle, gateway+":3128")
	d := n.computer("")
	d.env = []string{"HTTPS_PROXY=http://" + gateway + ":3128"}
	d.start()
	d.enroll(s.link())
	d.confirms(newPortal(t, s))
	d.proc.stop()
	d.configure("[network]\nproxy = \"direct\"\n")
	d.start()
	d.fails("server")
	if detail, _ := d.finding("server"); strings.Contains(detail, "proxy") {
		t.Errorf("without a proxy: %s", detail)
	}
}

// TestProxyThatIsIdleForLittle keeps a connection for less time than a poll takes.
// Pings in it keep it from being idle.
func TestProxyThatIsIdleForLittle(t *testing.T) {
	t.Parallel()
	n := newInternet(t)
	s := n.serve(serverIP)
	proxy := testenv.StartTinyproxy(t, n.middle, gateway+":3128", "Timeout 40")
	d := n.computer("[network]\nproxy = \"http://" + gateway + ":3128\"\n")
	d.start()
	d.enroll(s.link())
	s.learned(d)
	d.connected()
	before := strings.Count(proxy.Log(), "CONNECT")
	<-time.After(50 * time.Second)
	d.confirms(newPortal(t, s))
	if after := strings.Count(proxy.Log(), "CONNECT"); after != before || strings.Contains(d.log.String(), "poll failed") {
		t.Errorf("%d connections were made and then %d:\n%s", before, after, d.log)
	}
}

// authority makes a certificate for an address, with a CA of its own in a file.
func authority(t *testing.T, ip string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "somebody"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(ip)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, writeFile(t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// tlsFront is a TLS server before a proxy. It says how many certificates it was shown,
// -1 for who comes without TLS.
func tlsFront(n *internet, address string, cert tls.Certificate, proxy string) <-chan int {
	n.t.Helper()
	certificates := make(chan int, 64)
	front := n.middle.Listen(address)
	go func() {
		for {
			conn, err := front.Accept()
			if err != nil {
				return
			}
			go func() {
				outer := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12})
				defer outer.Close()
				if outer.HandshakeContext(n.t.Context()) != nil {
					certificates <- -1
					return
				}
				certificates <- len(outer.ConnectionState().PeerCertificates)
				inner, err := n.middle.Dial(n.t.Context(), "tcp", proxy)
				if err != nil {
					return
				}
				defer inner.Close()
				go func() { _, _ = io.Copy(inner, outer) }()
				_, _ = io.Copy(outer, inner)
			}()
		}
	}()
	return certificates
}

// TestProxyThatSpeaksTLS is trusted by the system's roots, where the server is by its
// own; it sees no certificate of the device's.
func TestProxyThatSpeaksTLS(t *testing.T) {
	t.Parallel()
	n := newInternet(t)
	s := n.serve(serverIP)
	plain := testenv.StartTinyproxy(t, n.middle, gateway+":3128")
	cert, ca := authority(t, gateway)
	certificates := tlsFront(n, gateway+":3129", cert, plain.Address)
	d := n.computer("[network]\nproxy = \"https://" + gateway + ":3129\"\n")
	d.start()
	if a := d.cli(pin+"\n", "enroll", s.link(), "--pin-stdin").want(t, 4); a.code() != "proxy_unreachable" || !strings.Contains(a.stdout, "TLS with the proxy") {
		t.Errorf("a proxy that the system does not know: %s", a.stdout)
	}
	d.proc.stop()
	d.env = []string{"SSL_CERT_FILE=" + ca}
	d.start()
	d.enroll(s.link())
	d.confirms(newPortal(t, s))
	if !strings.Contains(plain.Log(), serverIP) {
		t.Error("the proxy was not used")
	}
	for len(certificates) > 0 {
		if n := <-certificates; n > 0 {
			t.Error("the device showed its certificate to the proxy")
		}
	}
}

// TestProxyByTheWrongScheme is told by all that tells: what it is, and what is to be
// written instead.
func TestProxyByTheWrongScheme(t *testing.T) {
	t.Parallel()
	n := newInternet(t)
	s := n.serve(serverIP)
	plain := testenv.StartTinyproxy(t, n.middle, "["+gateway6+"]:3128")
	cert, _ := authority(t, gateway)
	tlsFront(n, gateway+":3129", cert, plain.Address)
	d := n.computer("[network]\nproxy = \"http://" + plain.Address + "\"\n") // a literal of IPv6
	d.start()
	d.enroll(s.link())
	d.connected()
	for wrong, right := range map[string]string{
		"http://" + gateway + ":3129": "https://" + gateway + ":3129",
		"https://" + plain.Address:    "http://" + plain.Address,
	} {
		d.proc.stop()
		d.configure("[network]\nproxy = \"" + wrong + "\"\n")
		d.start()
		if a := d.cli(pin+"\n", "enroll", s.link(), "--pin-stdin").want(t, 4); a.code() != "proxy_unreachable" || !strings.Contains(a.stdout, right) {
			t.Errorf("%s: who enrolls is told: %s", wrong, a.stdout)
		}
		d.fails("proxy_unreachable")
		if detail, cure := d.finding("proxy_unreachable"); !strings.Contains(detail, "wrong scheme") || !strings.Contains(cure, "write "+right+" in network.proxy") {
			t.Errorf("%s: doctor says: %s: %s", wrong, detail, cure)
		}
		d.statusSays("the proxy is named with the wrong scheme")
		if log := d.log.String(); !strings.Contains(log, "and is named with "+wrong[:strings.Index(wrong, "//")+2]) {
			t.Errorf("%s: the log says: %s", wrong, log)
		}
	}
}

// TestProxyInOtherLetters is spoken to as its URL says: its password goes nowhere
// without TLS.
func TestProxyInOtherLetters(t *testing.T) {
	t.Parallel()
	n := newInternet(t)
	n.device.Hosts(gateway + " xn--e1afmkfd.test")
	s := n.serve(serverIP)
	first := make(chan []byte, 64)
	front := n.middle.Listen(gateway + ":3129")
	go func() {
		for {
			conn, err := front.Accept()
			if err != nil {
				return
			}
			start := make([]byte, 5)
			_, _ = io.ReadFull(conn, start)
			first <- start
			_ = conn.Close()
		}
	}()
	password := writeFile(t, "password", []byte("sesame\n"))
	d := n.computer("[network]\nproxy = \"https://пример.test:3129\"\nproxy_user = \"alice\"\nproxy_password_file = \"" + password + "\"\n")
	d.start()
	d.cli(pin+"\n", "enroll", s.link(), "--pin-stdin").want(t, 4)
	if start := <-first; start[0] != 22 {
		t.Errorf("it is spoken to without TLS: %q", start)
	}
}

// TestProxyPasswordIsLookedAt before the proxy asks for it: by doctor, which goes on
// with the connection that there is, and when the service starts.
func TestProxyPasswordIsLookedAt(t *testing.T) {
	t.Parallel()
	n := newInternet(t)
	s := n.serve(serverIP)
	const password = "sesame-4711"
	address := gateway + ":3128"
	proxy := testenv.StartTinyproxy(t, n.middle, address, "BasicAuth alice "+password)
	file := writeFile(t, "password", []byte(password+"\n"))
	d := n.computer("[network]\nproxy = \"http://" + address + "\"\nproxy_user = \"alice\"\nproxy_password_file = \"" + file + "\"\n")
	d.start()
	d.enroll(s.link())
	d.connected()
	if d.check("proxy_password") != nil {
		t.Errorf("a good one: %v", d.check("proxy_password"))
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	detail, cure := d.finding("proxy_password")
	if !strings.Contains(detail, file+" can be read") || !strings.Contains(cure, "chmod 0600 "+file) {
		t.Errorf("one for everybody: %s: %s", detail, cure)
	}
	proxy.Stop()
	proxy.Start()
	d.fails("proxy_authentication") // it is not used
	if detail, cure = d.finding("proxy_authentication"); !strings.Contains(detail, file+" can be read") || !strings.Contains(cure, "chmod 0600 "+file) {
		t.Errorf("one for everybody: %s: %s", detail, cure)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	d.proc.stop()
	d.start() // and runs
	if !strings.Contains(d.log.String(), file+" does not exist") {
		t.Errorf("the log says nothing of it: %s", d.log)
	}
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.connected()
	if d.check("proxy_password") != nil {
		t.Errorf("mended: %v", d.check("proxy_password"))
	}
	d.told(password)
}
