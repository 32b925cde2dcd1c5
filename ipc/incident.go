package ipc

import "context"

// Kinds of Incident.
const (
	// IncidentForgedAction, IncidentForgedClose, IncidentForgedOwner and
	// IncidentForgedLogin: a program of the bus signed a signal with the name of
	// another: a click on a notification, its end, a change of who shows them, or
	// a word of the login manager.
	IncidentForgedAction = "forged_action"
	IncidentForgedClose  = "forged_close"
	IncidentForgedOwner  = "forged_owner"
	IncidentForgedLogin  = "forged_login"
)

// IncidentKinds are all of them.
func IncidentKinds() []string {
	return []string{IncidentForgedAction, IncidentForgedClose, IncidentForgedOwner, IncidentForgedLogin}
}

// Incident is what a session helper noticed and somebody may want to know of
// later, POST /v1/incidents. The service records a few of a minute.
type Incident struct {
	Kind string `json:"kind"`
	// Count is how often it came in one burst.
	Count int `json:"count"`
}

// Report has an incident recorded.
func (c *Caller) Report(ctx context.Context, in Incident) error {
	return c.call(ctx, "POST", "/v1/incidents", in, &struct{}{})
}
