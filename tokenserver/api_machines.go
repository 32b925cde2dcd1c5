package tokenserver

import (
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"

	"countersign/protocol"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/problem"
)

// machineHandler answers the machine of this certificate, whose key has this
// thumbprint. That the machine may still call, package machines finds together
// with the data.
type machineHandler func(w http.ResponseWriter, r *http.Request, key string, cert *x509.Certificate) error

// machine lets in who holds a machine's key that this server certified.
func (s *Server) machine(h machineHandler) handler { return s.machineOf(false, h) }

// certifier is machine, and lets in a certificate however old, since it is what a
// new one is asked for with: a computer that nobody has switched on for years
// comes back by itself. Revoking one does not wait for its certificate to end.
func (s *Server) certifier(h machineHandler) handler { return s.machineOf(true, h) }

func (s *Server) machineOf(ever bool, h machineHandler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			return problem.New(protocol.ProblemUnauthorized, "a client certificate is expected")
		}
		cert := r.TLS.PeerCertificates[0]
		if err := s.pki.VerifyMachine(cert, s.now(), ever); errors.Is(err, pki.ErrExpired) {
			return problem.New(protocol.ProblemCertExpired, "the client certificate has expired")
		} else if err != nil {
			return problem.New(protocol.ProblemUnauthorized, "the client certificate is not a valid one of a machine from here")
		}
		key, err := protocol.Thumbprint(cert.PublicKey)
		if err != nil {
			return problem.New(protocol.ProblemUnauthorized, "the client certificate's key is not on P-256")
		}
		if err := h(w, r, key, cert); err != nil {
			return err
		}
		s.noteMachineTrust(r, key)
		return nil
	}
}

// noteMachineTrust is noteTrust for a machine.
func (s *Server) noteMachineTrust(r *http.Request, key string) {
	seq, err := strconv.ParseInt(r.Header.Get(protocol.HeaderTrust), 10, 64)
	if err != nil || seq <= 0 || seq > s.pki.Seq() {
		return
	}
	if err := s.machines.NoteTrust(r.Context(), key, seq); err != nil {
		s.log.Warn("not stored which names and keys a machine knows", "err", err)
	}
}

func (s *Server) startMachine(w http.ResponseWriter, r *http.Request) error {
	var body protocol.MachineStart
	if err := readStrict(w, r, &body); err != nil {
		return err
	}
	started, err := s.machines.Start(r.Context(), addressOf(r), body)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, started)
}

// addressOf is where a call comes from, as far as guesses are counted: of IPv6 the
// network, since its host has as many addresses as it likes.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Is4() || ip.Is4In6() {
		return host
	}
	network, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return host
	}
	return network.String()
}

func (s *Server) activateMachine(w http.ResponseWriter, r *http.Request) error {
	var body protocol.MachineActivation
	if err := readStrict(w, r, &body); err != nil {
		return err
	}
	enrolled, err := s.machines.Activate(r.Context(), r.PathValue("id"), body)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, enrolled)
}

func (s *Server) getMachine(w http.ResponseWriter, r *http.Request, key string, _ *x509.Certificate) error {
	state, err := s.machines.State(r.Context(), key)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, state)
}

func (s *Server) putMachineReport(w http.ResponseWriter, r *http.Request, key string, _ *x509.Certificate) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	report, err := protocol.ParseMachineReport(body)
	if err != nil {
		return err
	}
	if err := s.machines.Report(r.Context(), key, report); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) certifyMachine(w http.ResponseWriter, r *http.Request, key string, cert *x509.Certificate) error {
	var body struct{}
	if err := readStrict(w, r, &body); err != nil {
		return err
	}
	out, err := s.machines.Certify(r.Context(), key, cert)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}
