// Package servertest runs a Token Server inside a test: a real one, with TLS on
// loopback and its database in a directory of the test. It is never linked into
// a shipped command.
package servertest

import (
	"context"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/protocol"
	"countersign/tokenserver"
	"countersign/tokenserver/admin"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/fanout"
	"countersign/tokenserver/machines"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/roots"
	"countersign/tokenserver/store/sqlite"
)

// Server is a Token Server that runs until its test ends. Office and Desk act
// through a store of their own, as the commands of another process do.
type Server struct {
	// Dir is the server's directory.
	Dir string
	*tokenserver.Server
	Office *admin.Office
	Desk   *enroll.Desk
	// Machines is the operator's side of machines.
	Machines *machines.Desk

	tb      testing.TB
	policy  enroll.Policy
	demands enroll.Attestation
	fleet   machines.Policy
	store   *sqlite.Store
	late    atomic.Int64
	listen  string
	device  string
	running func()
	log     testenv.Log
}

// Start starts a server in a new directory. The zero policy is the default.
func Start(tb testing.TB, policy enroll.Policy) *Server {
	tb.Helper()
	return StartIn(tb, tb.TempDir(), policy, 0)
}

// StartIn is Start with a directory, which may hold keys, and a clock that is ahead by
// so much.
func StartIn(tb testing.TB, dir string, policy enroll.Policy, ahead time.Duration) *Server {
	tb.Helper()
	s := &Server{Dir: dir, tb: tb, policy: policy, listen: "127.0.0.1:0", device: "127.0.0.1:0"}
	s.Skip(ahead)
	own, err := sqlite.Open(context.Background(), s.database())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := own.Close(); err != nil {
			tb.Error(err)
		}
	})
	s.Office = &admin.Office{Store: own, Hub: fanout.New(), Now: s.Now}
	s.Desk = &enroll.Desk{Store: own, Hub: fanout.New(), Now: s.Now}
	s.Machines = &machines.Desk{Store: own, Now: s.Now}
	s.run()
	tb.Cleanup(func() { s.Stop() })
	return s
}

func (s *Server) database() string { return filepath.Join(s.Dir, "server.db") }

// Now is the server's clock: the real one and what Skip added.
func (s *Server) Now() time.Time { return time.Now().Add(time.Duration(s.late.Load())) }

// Skip sets the server's clock forward.
func (s *Server) Skip(d time.Duration) { s.late.Add(int64(d)) }

// Stop ends the server as SIGTERM does and waits for it. It may be called
// again.
func (s *Server) Stop() {
	s.tb.Helper()
	if s.running != nil {
		s.running()
		s.running = nil
	}
}

// Restart stops the server and starts it again on the same ports.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Stop()
	s.run()
}

// Demand restarts the server with a policy on the chips of new devices.
func (s *Server) Demand(a enroll.Attestation) {
	s.tb.Helper()
	s.demands = a
	s.Restart()
}

// AdmitMachines restarts the server with a policy on machines.
func (s *Server) AdmitMachines(p machines.Policy) {
	s.tb.Helper()
	s.fleet = p
	s.Restart()
}

// MachineToken makes a token for so many machines.
func (s *Server) MachineToken(uses int) (text, id string) {
	s.tb.Helper()
	value, t, err := s.Machines.MakeToken(context.Background(), uses, time.Hour, "")
	if err != nil {
		s.tb.Fatal(err)
	}
	return string(value.Reveal()), t.ID
}

func (s *Server) roots() roots.Dir { return roots.Dir(filepath.Join(s.Dir, roots.Name)) }

// Hold is how long the server keeps new devices from what is of high value.
const Hold = 12 * time.Hour

// Trust adds CA certificates of a chip vendor, PEM or DER.
func (s *Server) Trust(file []byte) {
	s.tb.Helper()
	if _, err := s.Office.AddRoots(context.Background(), s.roots(), file); err != nil {
		s.tb.Fatal(err)
	}
}

func (s *Server) run() {
	s.tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	if s.store, err = sqlite.Open(ctx, s.database()); err != nil {
		s.tb.Fatal(err)
	}
	authority, err := pki.Open(s.Dir)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.Server, err = tokenserver.New(ctx, tokenserver.Config{
		Store: s.store, PKI: authority, Listen: s.listen, DeviceListen: s.device, Enrollment: s.policy,
		Attestation: s.demands, Machines: s.fleet, AttestationRoots: []roots.Dir{s.roots()}, Hold: Hold,
		Logger: slog.New(slog.NewJSONHandler(&s.log, nil)), Now: s.Now,
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	s.listen, s.device = s.Issuer()[len("https://"):], s.DeviceURL()[len("https://"):]
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	s.running = func() {
		cancel()
		if err := <-ended; err != nil {
			s.tb.Error(err)
		}
		if err := s.store.Close(); err != nil {
			s.tb.Error(err)
		}
	}
}

// Roots are the certificates of the server's ca.pem.
func (s *Server) Roots() *x509.CertPool {
	s.tb.Helper()
	data, err := os.ReadFile(filepath.Join(s.Dir, pki.FileCA))
	if err != nil {
		s.tb.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(data)
	return pool
}

// AddUser adds a user.
func (s *Server) AddUser(name string) {
	s.tb.Helper()
	if err := s.Office.AddUser(context.Background(), name); err != nil {
		s.tb.Fatal(err)
	}
}

// AddClient adds a relying party.
func (s *Server) AddClient(name string) (id, secret string) {
	s.tb.Helper()
	c, value, err := s.Office.AddClient(context.Background(), name)
	if err != nil {
		s.tb.Fatal(err)
	}
	return c.ID, string(value.Reveal())
}

// Invite makes an enrollment link.
func (s *Server) Invite(in enroll.Invitation) protocol.EnrollURI {
	s.tb.Helper()
	if in.TTL == 0 {
		in.TTL = 10 * time.Minute
	}
	token, _, err := s.Desk.Invite(context.Background(), in)
	if err != nil {
		s.tb.Fatal(err)
	}
	return protocol.EnrollURI{Server: s.DeviceURL(), Token: token, CA: s.Pin()}
}

// Log is what the server has logged, a JSON object per line.
func (s *Server) Log() string { return s.log.String() }
