package tokenserver

import (
	"net/http"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/store"
)

// deviceBody is a device as relying parties see it.
type deviceBody struct {
	ID       string            `json:"id"`
	User     string            `json:"user"`
	Name     string            `json:"name"`
	Platform string            `json:"platform"`
	Provider string            `json:"provider"`
	State    store.DeviceState `json:"state"`
	Reason   string            `json:"reason,omitempty"`
	// Suspended is why the device is held off for now, and QuietUntil how long
	// it asked to be left in peace.
	Suspended  string     `json:"suspended,omitempty"`
	QuietUntil *time.Time `json:"quiet_until,omitempty"`
	// Attestation is the verdict on the approval key.
	Attestation          protocol.Verdict `json:"attestation"`
	DeviceKeyAttestation protocol.Verdict `json:"device_key_attestation"`
	CreatedAt            time.Time        `json:"created_at"`
	ChangedAt            time.Time        `json:"changed_at"`
}

func (s *Server) listDevices(w http.ResponseWriter, r *http.Request, _ store.Client) error {
	devices, err := s.desk.Devices(r.Context(), r.PathValue("user"))
	if err != nil {
		return err
	}
	out := struct {
		Devices []deviceBody `json:"devices"`
	}{make([]deviceBody, len(devices))}
	for i, d := range devices {
		out.Devices[i] = deviceBody{
			d.ID, d.User, d.Facts.Name, d.Facts.Platform, d.Facts.Provider, d.State, d.Reason,
			d.Suspended, d.QuietAt(s.now()), d.Verdict, d.DeviceVerdict, d.CreatedAt.UTC(), d.ChangedAt.UTC(),
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) revokeDevice(w http.ResponseWriter, r *http.Request, c store.Client) error {
	_, err := s.desk.Revoke(r.Context(), enroll.Revocation{
		Device: r.PathValue("id"), User: r.PathValue("user"), Reason: enroll.ReasonRevoked, Client: c.ID,
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
