package agent

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"os"
	"runtime"
	"time"

	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/hsm"
	"countersign/internal/secret"
	"countersign/ipc"
	"countersign/protocol"
)

// stepTries is how often a step of an enrollment is tried while a person
// waits for it.
const stepTries = 4

// maxUser bounds a user's name, in bytes.
const maxUser = 128

// enroll makes two keys in the chip and enrolls them for a local user. Once
// the server may have activated them, it goes on until the server says yes or
// no, in the background and across restarts if it must.
func (a *Agent) enroll(ctx context.Context, uid uint32, in ipc.Enrollment) (ipc.Enrolled, error) {
	defer in.PIN.Wipe()
	uri, err := a.checkEnrollment(in)
	if err != nil {
		return ipc.Enrolled{}, err
	}
	e, err := a.prepare(ctx, uid, uri, in)
	if err != nil {
		return ipc.Enrolled{}, err
	}
	client := upstream.ForEnrollment(e.Server, e.CA)
	defer client.Close()
	if err := a.begin(ctx, client, e); err != nil {
		// Nothing is active without the second step.
		return ipc.Enrolled{}, errors.Join(told(serverError(err), err), a.abandon(e))
	}
	enrolled, err := a.finish(ctx, client, e)
	if err == nil {
		return enrolled, nil
	}
	if refused(err) {
		return ipc.Enrolled{}, errors.Join(told(serverError(err), err), a.abandon(e))
	}
	a.cfg.Log.Info("enrollment goes on in the background", "server", e.Server, "error", err)
	a.launch(func(ctx context.Context) { a.resumeEnrollment(ctx, e) })
	out := *serverError(err)
	out.Cure = "wait: the service goes on by itself, and countersign profiles will show it"
	return ipc.Enrolled{}, &out
}

func (a *Agent) checkEnrollment(in ipc.Enrollment) (protocol.EnrollURI, error) {
	if in.Key != "" && in.Key != a.cfg.Provider.Name() {
		return protocol.EnrollURI{}, ipc.Errorf(ipc.CodeChipUnavailable, "enroll with --key "+a.cfg.Provider.Name(), "this service keeps no keys in %q", in.Key)
	}
	uri, err := protocol.ParseEnrollURI(string(in.URI.Reveal()))
	if err != nil {
		return protocol.EnrollURI{}, ipc.Errorf(ipc.CodeBadRequest, "copy the whole link, in quotes", "%v", err)
	}
	return uri, checkPIN(in.PIN)
}

// prepare makes the keys and what the server will be told, all of it durable
// before the server hears of it.
func (a *Agent) prepare(ctx context.Context, uid uint32, uri protocol.EnrollURI, in ipc.Enrollment) (*state.Enrollment, error) {
	ctx, cancel := context.WithTimeout(ctx, signWait)
	defer cancel()
	facts, err := a.facts(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	e := &state.Enrollment{
		Server: uri.Server, CA: uri.CA, UID: uid, Provider: a.cfg.Provider.Name(), StartedAt: time.Now().UTC(),
		Start: protocol.EnrollmentStart{
			Token: string(uri.Token.Reveal()), Device: facts,
			Attestation: protocol.StartAttestation{Format: protocol.AttestationNone},
		},
	}
	device, err := a.newKey(ctx, secret.Value{}, &e.Keys.Device, &e.Start.DeviceCSR)
	if err != nil {
		return nil, told(chipError(err), err)
	}
	approval, err := a.newKey(ctx, in.PIN, &e.Keys.Approval, &e.Start.ApprovalCSR)
	if err != nil {
		return nil, errors.Join(told(chipError(err), err), device.Delete(ctx, hsm.Auth{}))
	}
	if err := a.cfg.State.BeginEnrollment(e); err != nil {
		return nil, errors.Join(err, device.Delete(ctx, hsm.Auth{}), approval.Delete(ctx, hsm.Auth{}))
	}
	return e, nil
}

// newKey makes one key and a CSR that proves its possession.
func (a *Agent) newKey(ctx context.Context, pin secret.Value, reference, csr *[]byte) (hsm.Key, error) {
	auth := hsm.Auth{PIN: pin}
	key, err := a.cfg.Provider.Create(ctx, hsm.Template{Auth: auth, PINBound: !pin.Empty()})
	if err != nil {
		return nil, err
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "countersign"}}
	if *csr, err = x509.CreateCertificateRequest(rand.Reader, template, hsm.Signer(ctx, key, auth)); err != nil {
		return nil, errors.Join(err, key.Delete(ctx, auth))
	}
	*reference = key.Reference()
	return key, nil
}

func (a *Agent) facts(ctx context.Context, name string) (protocol.DeviceFacts, error) {
	chip, err := a.cfg.Provider.Status(ctx)
	if err != nil {
		return protocol.DeviceFacts{}, chipError(err)
	}
	if name == "" {
		if name, err = os.Hostname(); err != nil {
			name = "computer"
		}
	}
	f := protocol.DeviceFacts{
		Name: name, Platform: runtime.GOOS + "/" + runtime.GOARCH, Agent: a.cfg.Version,
		Isolation: "user", Provider: a.cfg.Provider.Name(),
		Chip: protocol.Chip{Vendor: chip.Vendor, Model: chip.Model, Firmware: chip.Firmware},
	}
	if a.cfg.Mode == "system" {
		f.Isolation = "service"
	}
	if err := f.Validate(); err != nil {
		return f, ipc.Errorf(ipc.CodeBadRequest, "give another --name", "%v", err)
	}
	return f, nil
}

// begin does the first step, which is safe to repeat.
func (a *Agent) begin(ctx context.Context, client *upstream.Client, e *state.Enrollment) error {
	if e.ID != "" {
		return nil
	}
	var started protocol.EnrollmentStarted
	err := retry(ctx, func() (err error) {
		started, err = client.Start(ctx, e.Start)
		return err
	})
	if err != nil {
		return err
	}
	if !validID(started.ID) {
		return errBadAnswer
	}
	e.ID = started.ID
	return a.cfg.State.SaveEnrollment(e)
}

// finish does the second step, which is safe to repeat, and turns the
// enrollment into a profile at work.
func (a *Agent) finish(ctx context.Context, client *upstream.Client, e *state.Enrollment) (ipc.Enrolled, error) {
	var answer protocol.Enrolled
	err := retry(ctx, func() (err error) {
		answer, err = client.Activate(ctx, e.ID, protocol.Activation{Token: e.Start.Token})
		return err
	})
	if err != nil {
		return ipc.Enrolled{}, err
	}
	e.Root = client.Root()
	s, err := newStored(e, answer)
	if err != nil {
		return ipc.Enrolled{}, err
	}
	if err := a.cfg.State.CompleteEnrollment(e, s); err != nil {
		return ipc.Enrolled{}, err
	}
	if err := a.load(s); err != nil {
		return ipc.Enrolled{}, err
	}
	p, _ := a.profile(s.ID)
	a.launch(p.run)
	a.cfg.Log.Info("enrolled", "profile", s.ID, "server", s.Issuer, "uid", s.UID)
	out := ipc.Enrolled{Profile: s.ID, Device: s.Device, Key: keyInfo(s.Provider)}
	if answer.Confirm {
		out.ConfirmCode, err = protocol.ConfirmationCode(p.device.Public(), p.approval.Public())
	}
	return out, err
}
