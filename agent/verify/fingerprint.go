package verify

import (
	"context"
	"errors"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	fprint        = "net.reactivated.Fprint"
	fprintManager = dbus.ObjectPath("/net/reactivated/Fprint/Manager")
	fprintDevice  = fprint + ".Device"
	fprintError   = fprint + ".Error."

	// fingerTime is how long a reader waits for a finger.
	fingerTime = 30 * time.Second
	// fingerTries is how many fingers that do not match are looked at.
	fingerTries = 3
)

// Fingerprint verifies a person by fprintd's default reader. A reader serves
// one person at a time: others wait for their turn.
type Fingerprint struct {
	bus   Bus
	turn  chan struct{}
	limit time.Duration
}

// NewFingerprint returns a Fingerprint. Nothing is asked of the bus yet.
func NewFingerprint(bus Bus) *Fingerprint {
	return &Fingerprint{bus: bus, turn: make(chan struct{}, 1), limit: fingerTime}
}

// Available implements Verifier: there is a reader, and it knows a finger of
// the person's.
func (f *Fingerprint) Available(ctx context.Context, s Subject) error {
	r, err := f.reader(ctx, s)
	if err != nil {
		return err
	}
	defer r.close()
	var fingers []string
	if err := r.call(ctx, r.device, fprintDevice+".ListEnrolledFingers", s.User).Store(&fingers); err != nil {
		return cause(ctx, fingerError(err))
	}
	if len(fingers) == 0 {
		return noFingers(nil)
	}
	return nil
}

// Verify implements Verifier. Any enrolled finger of the person's will do.
func (f *Fingerprint) Verify(ctx context.Context, s Subject, _ Request, hint func(string)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, f.limit, ErrTimeout)
	defer cancel()
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	r, err := f.reader(ctx, s)
	if err != nil {
		return err
	}
	defer r.close()
	if err := r.claim(ctx, s.User); err != nil {
		return err
	}
	defer r.release(ctx)
	for range fingerTries {
		matched, err := r.finger(ctx, hint)
		if err != nil {
			return err
		}
		if matched {
			return r.still(ctx)
		}
		hint(HintRetry)
	}
	return ErrNoMatch
}

// reader is a line to fprintd, about one reader.
type reader struct {
	*line
	device dbus.ObjectPath
}

// reader finds the reader. To fprintd no name is the caller's own, whose finger
// is not the one that counts.
func (f *Fingerprint) reader(ctx context.Context, s Subject) (*reader, error) {
	if s.User == "" {
		return nil, &Unavailable{Text: "the system does not know your user"}
	}
	l, err := f.bus.dial(ctx, fprint)
	if err != nil {
		return nil, err
	}
	r := &reader{line: l}
	if err := l.call(ctx, fprintManager, fprint+".Manager.GetDefaultDevice").Store(&r.device); err != nil {
		l.close()
		return nil, cause(ctx, fingerError(err))
	}
	return r, nil
}

// claim makes the reader ours, for the fingers of one person, until release.
func (r *reader) claim(ctx context.Context, user string) error {
	err := r.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(fprint), dbus.WithMatchObjectPath(r.device),
		dbus.WithMatchInterface(fprintDevice), dbus.WithMatchMember("VerifyStatus"))
	if err == nil {
		err = r.call(ctx, r.device, fprintDevice+".Claim", user).Err
	}
	if err != nil {
		return cause(ctx, fingerError(err))
	}
	return nil
}

// release gives the reader back. Where that fails the end of the connection
// does the same.
func (r *reader) release(ctx context.Context) {
	ctx, cancel := leaving(ctx)
	defer cancel()
	_ = r.call(ctx, r.device, fprintDevice+".Release").Err
}

// finger has the reader look at one finger.
func (r *reader) finger(ctx context.Context, hint func(string)) (matched bool, err error) {
	if err := r.call(ctx, r.device, fprintDevice+".VerifyStart", "any").Err; err != nil {
		return false, cause(ctx, fingerError(err))
	}
	defer func() {
		ctx, cancel := leaving(ctx)
		defer cancel()
		_ = r.call(ctx, r.device, fprintDevice+".VerifyStop").Err
	}()
	hint(HintPlaceFinger)
	for {
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case s, ok := <-r.signals:
			if !ok || r.changed(s) {
				return false, &Unavailable{Text: "the fingerprint service went away"}
			}
			if !r.genuine(s) {
				continue
			}
			seen, err := parseFinger(s.Body)
			if err != nil || seen.done {
				return seen.matched, err
			}
			hint(seen.hint)
		}
	}
}

// genuine reports whether a signal is from the daemon and about our reader. The
// bus delivers what anybody addresses to us, match rules or not.
func (r *reader) genuine(s *dbus.Signal) bool {
	return s.Sender == r.owner && s.Path == r.device && s.Name == fprintDevice+".VerifyStatus"
}

// sight is what a reader saw.
type sight struct {
	done, matched bool
	hint          string
}

// parseFinger reads the arguments of VerifyStatus.
func parseFinger(body []any) (sight, error) {
	bad := &Unavailable{Text: "the fingerprint service says what nobody understands"}
	if len(body) != 2 {
		return sight{}, bad
	}
	result, ok1 := body[0].(string)
	done, ok2 := body[1].(bool)
	if !ok1 || !ok2 {
		return sight{}, bad
	}
	switch {
	case result == "verify-match" && done:
		return sight{done: true, matched: true}, nil
	case result == "verify-no-match" && done:
		return sight{done: true}, nil
	case result == "verify-disconnected":
		return sight{}, &Unavailable{Text: "the fingerprint reader was unplugged"}
	case result == "verify-unknown-error":
		return sight{}, &Unavailable{Text: "the fingerprint reader failed"}
	}
	hint, known := map[string]string{
		"verify-retry-scan":          HintRetry,
		"verify-too-fast":            HintRetry,
		"verify-swipe-too-short":     HintTooShort,
		"verify-finger-not-centered": HintCenter,
		"verify-remove-and-retry":    HintRemove,
	}[result]
	if !known || done {
		return sight{}, bad
	}
	return sight{hint: hint}, nil
}

func noFingers(err error) *Unavailable {
	return &Unavailable{Text: "no finger is enrolled", Cure: "enroll one: fprintd-enroll", Absent: true, Err: err}
}

// fingerError puts a refusal of fprintd's into words.
func fingerError(err error) error {
	e, ok := errors.AsType[dbus.Error](err)
	if !ok {
		return &Unavailable{Text: "the fingerprint service does not answer", Cure: "systemctl status fprintd", Err: err}
	}
	switch e.Name {
	case fprintError + "NoSuchDevice":
		return &Unavailable{Text: "there is no fingerprint reader", Absent: true, Err: err}
	case fprintError + "NoEnrolledPrints":
		return noFingers(err)
	case fprintError + "AlreadyInUse":
		return &Unavailable{Text: "another program uses the fingerprint reader", Cure: "try again when it is done", Err: err}
	case fprintError + "PermissionDenied":
		return &Unavailable{Text: "polkit does not let the service use the fingerprint reader", Cure: "install 50-countersign.rules in /usr/share/polkit-1/rules.d", Err: err}
	}
	return &Unavailable{Text: "the fingerprint reader cannot be used", Cure: "journalctl -u fprintd", Err: err}
}
