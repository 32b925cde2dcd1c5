package agent

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"countersign/agent/audit"
	"countersign/ipc"
)

// record writes an event to the audit log, durably. What may not happen
// unrecorded does not happen where this fails.
func (a *Agent) record(e audit.Event) error {
	if err := a.cfg.Audit.Append(e); err != nil {
		return storageError(err)
	}
	return nil
}

// note writes an event that has happened whether or not it can be recorded.
func (a *Agent) note(e audit.Event) {
	if err := a.cfg.Audit.Append(e); err != nil {
		a.cfg.Log.Error("an event is missing in the audit log", "kind", e.Kind, "error", err)
	}
}

// storageError names the cause where a write failed for a reason that somebody
// can mend.
func storageError(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return errors.Join(ipc.Errorf(ipc.CodeStorage, "make room on the disk of the state directory, and try again", "the disk is full"), err)
	case errors.Is(err, unix.EROFS):
		return errors.Join(ipc.Errorf(ipc.CodeStorage, "mount the state directory's file system for writing, and try again", "the state directory is read-only"), err)
	case errors.Is(err, unix.EIO):
		return errors.Join(ipc.Errorf(ipc.CodeStorage, "look at the disk: dmesg", "the disk of the state directory fails"), err)
	}
	return err
}

// getLog answers with the caller's records. It writes them itself: how slowly they are
// read is the caller's own affair, who has one turn.
func (a *Agent) getLog(w http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	give, err := a.examine(r.Context(), s)
	if err != nil {
		return nil, err
	}
	defer give()
	var since time.Time
	if text := r.URL.Query().Get("since"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, text); err != nil {
			return nil, ipc.Errorf(ipc.CodeBadRequest, "", "since is no time as RFC 3339 writes it")
		}
	}
	out := []ipc.LogRecord{}
	err = a.cfg.Audit.Records(r.Context(), func(rec audit.Record) bool {
		if !rec.At.Before(since) && s.Covers(ownerOf(rec)) {
			out = append(out, ipc.LogRecord{
				Seq: rec.Seq, At: rec.At, Kind: rec.Kind, UID: rec.UID,
				Profile: rec.Profile, Request: rec.Request, Client: rec.Client, Detail: rec.Detail,
			})
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out)
	return nil, nil //nolint:nilnil // it is written
}

// ownerOf is who may see a record: what is the service's own is root's.
func ownerOf(r audit.Record) uint32 {
	if r.UID == nil {
		return 0
	}
	return *r.UID
}

func (a *Agent) getLogVerification(_ http.ResponseWriter, r *http.Request, s ipc.Scope) (any, error) {
	give, err := a.examine(r.Context(), s)
	if err != nil {
		return nil, err
	}
	defer give()
	report, err := a.cfg.Audit.Verify(r.Context())
	if err != nil {
		return nil, err
	}
	return ipc.LogReport(report), nil
}
