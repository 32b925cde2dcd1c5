package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/hsm"
	"countersign/ipc"
	"countersign/protocol"
)

const (
	// stepTries is how often a step of an enrollment is tried while a person
	// waits for it.
	stepTries = 4
	// createWait bounds the making of keys: some chips take half a minute for
	// one RSA key, and a token waits for touches.
	createWait = 2 * time.Minute
	// maxUser bounds a user's name, in bytes.
	maxUser = 128
)

// plan is where and how the keys of an enrollment are made.
type plan struct {
	device, approval hsm.Provider
	// template is the approval key's.
	template hsm.Template
	// silent keeps the chips from proving anything.
	silent bool
}

// enrolling is one enrollment at work, with a person who waits for it or, after
// a crash, without.
type enrolling struct {
	*state.Enrollment
	agent  *Agent
	client *upstream.Client
	log    *slog.Logger
	// auth is the person's; the zero Auth without one.
	auth hsm.Auth
}

// enroll makes two keys and enrolls them for a local user. Once the server may
// have activated them, it goes on until the server says yes or no, in the
// background and across restarts if it must.
func (a *Agent) enroll(ctx context.Context, uid uint32, in ipc.Enrollment) (ipc.Enrolled, error) {
	defer in.PIN.Wipe()
	defer in.Admin.Wipe()
	uri, err := checkEnrollment(in)
	if err != nil {
		return ipc.Enrolled{}, err
	}
	p, err := a.plan(ctx, in)
	if err != nil {
		return ipc.Enrolled{}, err
	}
	if err := a.allows(uri.Server, p); err != nil {
		return ipc.Enrolled{}, err
	}
	if err := a.checkNewPIN(in.PIN, longerPIN); err != nil {
		return ipc.Enrolled{}, err
	}
	if err := a.admitAttempt(uid); err != nil {
		return ipc.Enrolled{}, err
	}
	n := &enrolling{Enrollment: &state.Enrollment{Server: uri.Server, CA: uri.CA, UID: uid, StartedAt: time.Now().UTC()}, agent: a}
	n.auth = hsm.Auth{PIN: in.PIN, Admin: in.Admin, Touch: func() { a.publish(uid, ipc.Event{Kind: ipc.EventTouch}) }}
	n.log = a.cfg.Log.With("server", n.Server)
	n.Start.Token = string(uri.Token.Reveal())
	if n.Start.Device, err = a.facts(ctx, p.approval, in.Name); err != nil {
		return ipc.Enrolled{}, err
	}
	if err := n.prepare(ctx, p); err != nil {
		return ipc.Enrolled{}, told(chipError(err), err)
	}
	return n.run(ctx)
}

// run does what follows once the keys are durable.
func (n *enrolling) run(ctx context.Context) (ipc.Enrolled, error) {
	n.client = n.agent.cfg.Network.ForEnrollment(n.Server, n.CA)
	defer n.client.Close()
	err := n.begin(ctx)
	if err == nil {
		err = n.prove(ctx)
	}
	if err != nil {
		// Nothing is active without the second step.
		return ipc.Enrolled{}, errors.Join(told(stepError(err), err), n.abandon())
	}
	enrolled, err := n.finish(ctx)
	if err == nil {
		return enrolled, n.agent.worksAt(enrolled.Profile)
	}
	if refused(err) {
		return ipc.Enrolled{}, errors.Join(told(stepError(err), err), n.abandon())
	}
	n.log.Info("enrollment goes on in the background", "error", err)
	n.agent.launch(func(ctx context.Context) { n.agent.resumeEnrollment(ctx, n.Enrollment) })
	out := *serverError(err)
	out.Cure = "wait: the service goes on by itself, and countersign profiles will show it"
	return ipc.Enrolled{}, &out
}

// stepError puts the failure of a step into words: the chip's, or the server's.
func stepError(err error) *ipc.Error {
	if _, ok := errors.AsType[*chipFault](err); ok {
		return chipError(err)
	}
	return serverError(err)
}

func checkEnrollment(in ipc.Enrollment) (protocol.EnrollURI, error) {
	uri, err := protocol.ParseEnrollURI(string(in.URI.Reveal()))
	if err != nil {
		return protocol.EnrollURI{}, ipc.Errorf(ipc.CodeBadRequest, "copy the whole link, in quotes", "%v", err)
	}
	return uri, checkPIN(in.PIN)
}

// plan chooses the chips. A token leaves with its owner, and the device key is
// what requests are received with; so it is in the TPM wherever there is one.
func (a *Agent) plan(ctx context.Context, in ipc.Enrollment) (plan, error) {
	kind, token, _ := strings.Cut(in.Key, ":")
	if kind == "" {
		kind = a.preferred().Name()
	}
	approval, ok := a.chips.find(kind)
	if !ok {
		return plan{}, ipc.Errorf(ipc.CodeChipUnavailable, missingCure(kind), "this service keeps no keys in %.40q", kind)
	}
	p := plan{device: approval, approval: approval, silent: in.NoAttestation, template: hsm.Template{
		PINBound: true, Touch: in.Touch, Algorithm: hsm.Algorithm(in.Algorithm), Token: token, KeepAdmin: in.KeepAdmin,
	}}
	if kind != kindTPM {
		if tpm, ok := a.chips.usable(ctx, kindTPM); ok && a.cfg.Policy.AllowsKey(kindTPM) {
			p.device = tpm
		}
	}
	return p, nil
}

// facts are what the server is told about this device. Nothing of it is proof.
func (a *Agent) facts(ctx context.Context, p hsm.Provider, name string) (protocol.DeviceFacts, error) {
	ctx, cancel := context.WithTimeout(ctx, chipTimeout)
	defer cancel()
	chip, err := p.Status(ctx)
	if err != nil {
		return protocol.DeviceFacts{}, chipError(onChip(p.Name(), err))
	}
	if name == "" {
		if name, err = os.Hostname(); err != nil {
			name = "computer"
		}
	}
	f := protocol.DeviceFacts{
		Name: name, Platform: runtime.GOOS + "/" + runtime.GOARCH, Agent: a.cfg.Version,
		Isolation: "user", Provider: p.Name(),
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
func (n *enrolling) begin(ctx context.Context) error {
	if n.ID != "" {
		return nil
	}
	started, err := n.start(ctx)
	for unknownMaker(err) && n.claimLess(err) {
		if err := n.save(); err != nil {
			return err
		}
		started, err = n.start(ctx)
	}
	if err != nil {
		return err
	}
	if !validID(started.ID) {
		return errBadAnswer
	}
	n.ID, n.Challenge, n.Credential = started.ID, started.Challenge, started.Credential
	return n.save()
}

func (n *enrolling) start(ctx context.Context) (started protocol.EnrollmentStarted, err error) {
	if err := n.allowed(); err != nil {
		return started, err
	}
	body := n.Start
	body.Succeeds = n.predecessor(ctx)
	for {
		err := retry(ctx, func() (err error) {
			started, err = n.client.Start(ctx, body)
			return err
		})
		if body.Succeeds == nil || !refusedPredecessor(err) {
			return started, err
		}
		n.log.Info("the server takes this for another device than before", "reason", err)
		body.Succeeds = nil
	}
}

func (n *enrolling) save() error { return n.agent.cfg.State.SaveEnrollment(n.Enrollment) }

// finish does the second step, which is safe to repeat, and turns the
// enrollment into a profile at work.
func (n *enrolling) finish(ctx context.Context) (ipc.Enrolled, error) {
	var answer protocol.Enrolled
	err := retry(ctx, func() (err error) {
		answer, err = n.client.Activate(ctx, n.ID, protocol.Activation{Token: n.Start.Token, Attestation: n.Proof})
		return err
	})
	if err != nil {
		return ipc.Enrolled{}, err
	}
	n.Root = n.client.Root()
	s, err := newStored(n.Enrollment, answer)
	if err != nil {
		return ipc.Enrolled{}, err
	}
	if err := n.agent.cfg.State.CompleteEnrollment(n.Enrollment, s); err != nil {
		return ipc.Enrolled{}, err
	}
	if err := n.agent.load(s); err != nil {
		return ipc.Enrolled{}, err
	}
	p, _ := n.agent.profile(s.ID)
	n.agent.launch(p.run)
	n.agent.note(enrolled(s))
	n.agent.limits.attempts.forgive(s.UID)
	n.agent.setUp(s)
	n.agent.launch(func(ctx context.Context) { n.agent.clearReplaced(ctx, s) })
	n.log.Info("enrolled", "profile", s.ID, "issuer", s.Issuer, "uid", s.UID, "attested", s.Verdict.Attested)
	n.keepCertificates(ctx, p)
	out := ipc.Enrolled{Profile: s.ID, Device: s.Device, Key: keyInfo(s)}
	if answer.Confirm {
		out.ConfirmCode, err = protocol.ConfirmationCode(p.device().Public(), p.approval().Public())
	}
	return out, err
}
