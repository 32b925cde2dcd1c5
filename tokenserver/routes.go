package tokenserver

import (
	"net/http"

	"countersign/protocol"
	"countersign/tokenserver/problem"
)

// The route tables. Each route wraps its handler in who may call it: anybody,
// client (a relying party), device (an enrolled one), renewer (one whose
// certificate may have expired of late), machine (a computer of the fleet) or
// certifier (one whose certificate may have expired).

func (s *Server) relyingPartyRoutes() http.Handler {
	return s.mux(map[string]handler{
		"POST /v1/transactions":                s.client(s.startTransaction),
		"GET /v1/transactions/{id}":            s.client(s.getTransaction),
		"POST /v1/transactions/{id}/cancel":    s.client(s.cancelTransaction),
		"GET /v1/users/{user}/devices":         s.client(s.listDevices),
		"DELETE /v1/users/{user}/devices/{id}": s.client(s.revokeDevice),
	})
}

func (s *Server) deviceRoutes() http.Handler {
	return s.mux(map[string]handler{
		"POST " + protocol.PathEnrollments:                        s.anybody(s.startEnrollment),
		"POST " + protocol.PathEnrollments + "/{id}/activation":   s.anybody(s.activateEnrollment),
		"GET " + protocol.PathEnrollment:                          s.device(s.getEnrollment),
		"DELETE " + protocol.PathEnrollment:                       s.device(s.leaveEnrollment),
		"POST " + protocol.PathRenewals:                           s.renewer(s.startRenewal),
		"POST " + protocol.PathRenewals + "/{id}/activation":      s.renewer(s.activateRenewal),
		"POST " + protocol.PathRenewals + "/{id}/acknowledgement": s.renewer(s.acknowledgeRenewal),
		"POST " + protocol.PathMachines:                           s.anybody(s.startMachine),
		"POST " + protocol.PathMachines + "/{id}/activation":      s.anybody(s.activateMachine),
		"GET " + protocol.PathMachine:                             s.machine(s.getMachine),
		"PUT " + protocol.PathMachineReport:                       s.machine(s.putMachineReport),
		"POST " + protocol.PathMachineCertificate:                 s.certifier(s.certifyMachine),
		"POST " + protocol.PathOTP:                                s.device(s.redeemOTP),
		"PUT " + protocol.PathQuiet:                               s.device(s.putQuiet),
		"GET " + protocol.PathBlocks:                              s.device(s.listBlocks),
		"DELETE " + protocol.PathBlocks + "/{client}":             s.device(s.liftBlock),
		"GET " + protocol.PathRequests:                            s.device(s.listRequests),
		"GET " + protocol.PathRequests + "/{id}":                  s.device(s.getRequest),
		"POST " + protocol.PathRequests + "/{id}/decision":        s.device(s.postDecision),
	})
}

// mux serves a table, what both listeners answer to anybody, and for the rest
// a problem.
func (s *Server) mux(table map[string]handler) http.Handler {
	table["GET "+protocol.PathJWKS] = s.anybody(s.getJWKS)
	table["GET "+protocol.PathTrust] = s.anybody(s.getTrust)
	table["GET "+protocol.PathTime] = s.anybody(s.getTime)
	table["GET /healthz"] = s.anybody(s.getHealth)
	table["/"] = s.anybody(notFound)
	mux := http.NewServeMux()
	for pattern, h := range table {
		mux.Handle(pattern, s.handle(h))
	}
	return mux
}

func notFound(http.ResponseWriter, *http.Request) error {
	return problem.New(protocol.ProblemNotFound, "there is nothing here for this method")
}

func (s *Server) getJWKS(w http.ResponseWriter, _ *http.Request) error {
	keys, err := s.pki.IssuerKeys()
	if err != nil {
		return err
	}
	body, err := keys.JWKS()
	if err != nil {
		return err
	}
	write(w, http.StatusOK, "application/jwk-set+json", body)
	return nil
}

func (s *Server) getHealth(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.store.Changes(r.Context()); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}
