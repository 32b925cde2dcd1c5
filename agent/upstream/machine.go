package upstream

import (
	"context"
	"net/http"
	"net/url"

	"countersign/protocol"
)

// StartMachine does the first step of a machine's enrollment.
func (c *Client) StartMachine(ctx context.Context, s protocol.MachineStart) (a protocol.MachineStarted, err error) {
	return a, c.callJSON(ctx, http.MethodPost, protocol.PathMachines, s, &a)
}

// ActivateMachine does the second.
func (c *Client) ActivateMachine(ctx context.Context, id string, s protocol.MachineActivation) (a protocol.MachineEnrolled, err error) {
	return a, c.callJSON(ctx, http.MethodPost, protocol.PathMachines+"/"+url.PathEscape(id)+"/activation", s, &a)
}

// MachineState asks how the machine stands.
func (c *Client) MachineState(ctx context.Context) (a protocol.MachineState, err error) {
	return a, c.callJSON(ctx, http.MethodGet, protocol.PathMachine, nil, &a)
}

// ReportMachine hands in a report.
func (c *Client) ReportMachine(ctx context.Context, r protocol.MachineReport) error {
	return c.callJSON(ctx, http.MethodPut, protocol.PathMachineReport, r, nil)
}

// CertifyMachine asks for another certificate of the machine's key.
func (c *Client) CertifyMachine(ctx context.Context) (a protocol.MachineCertificate, err error) {
	return a, c.callJSON(ctx, http.MethodPost, protocol.PathMachineCertificate, struct{}{}, &a)
}
