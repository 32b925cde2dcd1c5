package verify

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/godbus/dbus/v5"
)

// PolkitAction is what polkit is asked about. The policy file that comes with
// the service defines it.
const PolkitAction = "io.countersign.approve"

const (
	polkitName      = "org.freedesktop.PolicyKit1"
	polkitPath      = dbus.ObjectPath("/org/freedesktop/PolicyKit1/Authority")
	polkitInterface = polkitName + ".Authority"

	// polkitTime is how long a dialog may stand.
	polkitTime = 2 * time.Minute

	// flagInteract is AllowUserInteraction.
	flagInteract = uint32(1)
)

// Polkit verifies a person by polkit, that is by any factor that PAM takes.
//
// polkit may let an action through without asking: for root, by an
// administrator's rule, or because the person did the same a while ago. None of
// that verifies anybody now, so it is not taken for a yes.
type Polkit struct {
	bus Bus
	// names says that the dialog may name the relying party. polkit takes that
	// only from the owner of the action.
	names bool
	limit time.Duration
}

// NewPolkit returns a Polkit. OwnsAction says that the service runs as the user
// whom the policy file names as the owner of the action, or as root; else the
// dialog does not name the relying party. Nothing is asked of the bus yet.
func NewPolkit(bus Bus, ownsAction bool) *Polkit { return &Polkit{bus, ownsAction, polkitTime} }

// Available implements Verifier: polkit knows the action, and would ask.
func (p *Polkit) Available(ctx context.Context, s Subject) error {
	a, err := p.authority(ctx, s)
	if err != nil {
		return err
	}
	defer a.close()
	return a.wouldAsk(ctx, p.details(Request{}))
}

// Verify implements Verifier.
func (p *Polkit) Verify(ctx context.Context, s Subject, r Request, hint func(string)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.limit, ErrTimeout)
	defer cancel()
	a, err := p.authority(ctx, s)
	if err != nil {
		return err
	}
	defer a.close()
	if err := a.wouldAsk(ctx, p.details(r)); err != nil {
		return err
	}
	hint(HintDialog)
	id := rand.Text()
	v, err := a.check(ctx, p.details(r), flagInteract, id)
	if ctx.Err() != nil {
		a.cancel(ctx, id)
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	if err := v.judge(); err != nil {
		return err
	}
	return a.still(ctx)
}

func (p *Polkit) details(r Request) map[string]string {
	if !p.names {
		return map[string]string{}
	}
	return map[string]string{"client": clean(r.Client)}
}

// authority is a line to polkit, about one process.
type authority struct {
	*line
	subject polkitSubject
	done    func()
}

func (p *Polkit) authority(ctx context.Context, s Subject) (*authority, error) {
	l, err := p.bus.dial(ctx, polkitName)
	if err != nil {
		return nil, err
	}
	subject, done, err := s.forPolkit(l.takesPIDFD(ctx))
	if err != nil {
		l.close()
		return nil, err
	}
	return &authority{l, subject, done}, nil
}

func (a *authority) close() {
	a.done()
	a.line.close()
}

// verdict is what polkit says. Its fields are those of the D-Bus structure.
type verdict struct {
	Authorized, Challenge bool
	Details               map[string]string
}

// check asks about the action.
func (a *authority) check(ctx context.Context, details map[string]string, flags uint32, cancellation string) (verdict, error) {
	call := a.call(ctx, polkitPath, polkitInterface+".CheckAuthorization", a.subject, PolkitAction, details, flags, cancellation)
	if call.Err != nil {
		return verdict{}, cause(ctx, polkitError(call.Err))
	}
	return parseVerdict(call.Body)
}

// wouldAsk refuses where polkit answers without asking anybody.
func (a *authority) wouldAsk(ctx context.Context, details map[string]string) error {
	v, err := a.check(ctx, details, 0, "")
	switch {
	case err != nil:
		return err
	case v.Authorized:
		return &Unavailable{Text: "polkit lets this pass without asking anybody", Cure: "have no rule of polkit's allow " + PolkitAction + "; root is never asked"}
	case !v.Challenge:
		return &Unavailable{Text: "polkit allows this only in an active local session", Cure: "use the PIN, or decide at the computer itself"}
	}
	return nil
}

// cancel takes the dialog away.
func (a *authority) cancel(ctx context.Context, id string) {
	ctx, stop := leaving(ctx)
	defer stop()
	_ = a.call(ctx, polkitPath, polkitInterface+".CancelCheckAuthorization", id).Err
}

// parseVerdict reads the reply to CheckAuthorization.
func parseVerdict(body []any) (v verdict, err error) {
	if err := dbus.Store(body, &v); err != nil {
		return verdict{}, &Unavailable{Text: "polkit says what nobody understands", Err: err}
	}
	return v, nil
}

// judge turns a verdict into a result. Only one thing is a yes.
func (v verdict) judge() error {
	_, remembered := v.Details["polkit.temporary_authorization_id"]
	switch {
	case v.Authorized && remembered:
		return &Unavailable{Text: "polkit remembers an earlier answer", Cure: "have no rule of polkit's keep " + PolkitAction}
	case v.Authorized && !v.Challenge:
		return nil
	case v.Details["polkit.dismissed"] != "":
		return ErrDismissed
	case v.Challenge:
		return &Unavailable{Text: "no program of the desktop asks for polkit", Cure: "start the desktop's authentication agent, or use the PIN"}
	}
	return ErrNoMatch
}

// polkitError puts a refusal of polkit's into words.
func polkitError(err error) error {
	switch {
	case isError(err, polkitName+".Error.Failed"):
		return &Unavailable{Text: "polkit does not know " + PolkitAction, Cure: "install io.countersign.policy in /usr/share/polkit-1/actions", Err: err}
	case isError(err, polkitName+".Error.NotAuthorized"):
		return &Unavailable{Text: "polkit does not let the service ask", Cure: "io.countersign.policy names the user that the service runs as: correct it", Err: err}
	case isError(err, polkitName+".Error.Cancelled"):
		return ErrDismissed
	}
	return &Unavailable{Text: "polkit does not answer", Cure: "systemctl status polkit", Err: err}
}
