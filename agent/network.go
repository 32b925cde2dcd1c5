package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"countersign/agent/upstream"
	"countersign/ipc"
	"countersign/protocol"
)

// diagnosis is what was found out about why the server is not reached, beyond the
// error itself.
type diagnosis struct {
	// kind is more than the error says, or "".
	kind upstream.Kind
	// inspected says that the server answers behind somebody who ends its TLS.
	inspected bool
	// clock is the server's clock less ours, by its signed word, where told.
	clock time.Duration
	told  bool
	// refused is why the server's newest statement on itself is not taken.
	refused error
}

func (p *profile) diagnose(change func(*diagnosis)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.diagnosis)
}

// askAnybody finds out more where whoever answers cannot be trusted: whether the
// server has other roots by now, whether a login page stands in the way, and what its
// clock says. Nothing that comes back is believed that is not signed by the server.
func (p *profile) askAnybody(ctx context.Context, client *upstream.Client) error {
	anybody := client.Anybody()
	defer anybody.Close()
	p.mu.Lock()
	_, _, untimely := upstream.Untimely(p.reach)
	p.mu.Unlock()
	if untimely {
		if err := p.askTime(ctx, anybody); err != nil {
			p.agent.cfg.Log.Info("the server's signed time is not known", "profile", p.get().ID, "error", err)
		}
	}
	same := false
	err := anybody.TrustDocument(ctx, func(document []byte) error {
		changed, err := p.adoptTrust(client, document)
		same = err == nil && !changed
		return err
	})
	p.diagnose(func(d *diagnosis) {
		d.kind, d.inspected = "", same && !untimely
		if err != nil && upstream.KindOf(err) == upstream.CaptivePortal {
			d.kind = upstream.CaptivePortal
		}
	})
	return err
}

// askTime asks for the server's time over a nonce that nobody can have known.
func (p *profile) askTime(ctx context.Context, anybody *upstream.Anybody) error {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	nonce := protocol.Hash(secret)
	begun := time.Now()
	return anybody.Time(ctx, nonce, func(answer []byte) error {
		t, err := protocol.ParseTime(string(answer), nonce, p.serverKeys())
		if err != nil {
			return err
		}
		if !slices.Contains(p.get().Names(), t.Issuer) {
			return errNotForUs
		}
		// Measured by the clock that counts on while it is set.
		half := time.Since(begun) / 2
		skew := time.Unix(t.IssuedAt, 0).Sub(begun.Add(half)).Round(time.Second)
		p.diagnose(func(d *diagnosis) { d.clock, d.told = skew, true })
		return nil
	})
}

// reachable records an exchange that succeeded.
func (p *profile) reachable(client *upstream.Client) {
	skew, known := client.Skew()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.diagnosis.kind, p.diagnosis.inspected, p.diagnosis.told = "", false, false
	if !known {
		return
	}
	p.skew = skew
	select {
	case <-p.clocked:
	default:
		close(p.clocked)
	}
}

// offset is the server's clock less ours, as far as it is known.
func (p *profile) offset() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.diagnosis.told {
		return p.diagnosis.clock
	}
	return p.skew
}

// serverNow is what the server's clock says, as far as that is known.
func (p *profile) serverNow() time.Time { return time.Now().Add(p.offset()) }

// fault is why the server is not reached, in words, or nil where it is.
func (p *profile) fault() *ipc.Error {
	p.mu.Lock()
	err, d := p.reach, p.diagnosis
	p.mu.Unlock()
	if err == nil {
		return nil
	}
	return faultOf(err, d)
}

// setClock is how a clock is mended.
const setClock = "timedatectl set-ntp true"

// faultOf puts a failure to reach the server into words, with a code of its own for
// what somebody can mend.
func faultOf(err error, d diagnosis) *ipc.Error {
	if p, refused := asProblem(err); refused {
		return &ipc.Error{Code: ipc.CodeServer, Message: reachText(err), Cure: serverCure(p.Code)}
	}
	if errors.Is(err, errNeverReached) {
		return &ipc.Error{Code: ipc.CodeServer, Message: reachText(err), Cure: "check the network and the server, and try again"}
	}
	kind := upstream.KindOf(err)
	if d.kind != "" && kind == upstream.Intercepted {
		kind = d.kind
	}
	proxy := upstream.ProxyFaultOf(err)
	text, cure := reachText(err), ""
	switch kind {
	case upstream.ProxyUnreachable:
		text, cure = proxyUnreachable(text, proxy)
	case upstream.ProxyAuth:
		text, cure = proxyAuth(text, proxy)
	case upstream.ProxyRefused:
		cure = "have the proxy allow CONNECT to the server's host and port, or name the host in " + exemptPlaces
	case upstream.CaptivePortal:
		place := "the server's place; nothing was sent to it"
		if proxy.Proxy != "" {
			place = "the place of the proxy " + proxy.Proxy
		}
		text, cure = "a login page of this network answers in "+place+": "+text, "log in to the network in a browser: the service goes on by itself"
	case upstream.Intercepted:
		text, cure = intercepted(text, d), "use another network, or have the network's administrator let connections to the server through untouched"
	case upstream.WrongClock:
		return wrongClock(err, d)
	case upstream.NameUnresolved:
		cure = "check the network, and that its name server knows the server's name"
	case upstream.ServerUnreachable:
		cure = "check the network and the server, and try again"
		if proxy.Proxy != "" {
			cure = "check that the server runs, and that the proxy " + proxy.Proxy + " reaches it; or name its host in " + exemptPlaces
		}
	}
	return &ipc.Error{Code: string(kind), Message: text, Cure: cure}
}

// Where a proxy is named, and what is reached without it.
const (
	proxyPlaces  = "network.proxy in countersignd.toml or HTTPS_PROXY in the service's environment"
	exemptPlaces = "network.no_proxy beside network.proxy, or NO_PROXY beside HTTPS_PROXY"
)

func proxyUnreachable(text string, f upstream.ProxyFault) (message, cure string) {
	switch {
	case f.Instead != "":
		return "the proxy is named with the wrong scheme: " + text, "write " + f.Instead + " in " + proxyPlaces
	case f.Unresolved:
		return "the proxy's name is not known to the name servers: " + text, "check the network and its name servers, and " + proxyPlaces
	}
	return "the proxy does not answer: " + text, "check the proxy, and " + proxyPlaces
}

func proxyAuth(text string, f upstream.ProxyFault) (message, cure string) {
	const set = "set network.proxy and network.proxy_user in countersignd.toml, and put the password into network.proxy_password_file or the credential countersign.proxy-password"
	switch {
	case f.Password != nil:
		fault := passwordFault(f.Password)
		return fault.Message, fault.Cure
	case f.Foreign:
		return "the proxy takes no name and password, but asks for another scheme, such as Negotiate or NTLM, which this service does not have: " + text,
			"have the proxy take Basic, or let the server's host through without; or name a proxy in between that logs in by itself, in " + proxyPlaces
	case f.Given:
		return "the proxy wants another name or password: " + text, set
	}
	return "the proxy wants a name and a password: " + text, set
}

// passwordFault says why there is no password for the proxy. The words are for
// everybody where they are an ipc.Error's.
func passwordFault(err error) *ipc.Error {
	if e, ok := errors.AsType[*ipc.Error](err); ok {
		return e
	}
	return ipc.Errorf(ipc.CodeProxyAuth, "see to network.proxy_password_file or the credential countersign.proxy-password", "the password for the proxy cannot be read: %s", reachText(err))
}

// checkProxyPassword says that there is no password for the proxy before a connection
// needs it.
func (a *Agent) checkProxyPassword() []ipc.Check {
	err := a.cfg.Network.Password()
	if err == nil {
		return nil
	}
	fault := passwordFault(err)
	return []ipc.Check{{Code: checkPassword, Status: ipc.CheckFail, Detail: fault.Message, Cure: fault.Cure}}
}

const checkPassword = "proxy_password"

func intercepted(text string, d diagnosis) string {
	if d.inspected {
		return "a proxy of this network ends TLS and looks into it; the server is behind it, and nothing is sent through it: " + text
	}
	return "whoever answers has shown no certificate of the server's: a login page of the network, or a proxy that looks into TLS; nothing was sent to it: " + text
}

// wrongClock is the fault of a clock: this one, or, where the server's signed word says
// that they agree, the server's.
func wrongClock(err error, d diagnosis) *ipc.Error {
	e := &ipc.Error{Code: ipc.CodeClock, Message: reachText(err), Cure: setClock}
	if from, until, ok := upstream.Untimely(err); ok {
		e.Message = untimelyText(from, until, time.Now())
	}
	switch {
	case d.told && d.clock.Abs() <= clockTolerance:
		e.Code = ipc.CodeServerCertificate
		e.Message += "; the server's signed word says that this clock is right, so the certificate is at fault"
		e.Cure = "tell the administrator of the server: its TLS certificate is to be renewed, or its clock to be set"
	case d.told:
		e.Message += "; the server's signed word says that this clock is " + offset(d.clock)
	default:
		e.Message += "; this clock is wrong, or the server's certificate is"
	}
	return e
}

func untimelyText(from, until, now time.Time) string {
	const day = "2006-01-02 15:04"
	text := fmt.Sprintf("this clock says %s, and the server's certificate is good from %s to %s", now.Format(day), from.Local().Format(day), until.Local().Format(day))
	return text + ", so that no connection can be made"
}

// offset says by how much this clock is wrong.
func offset(skew time.Duration) string {
	if skew > 0 {
		return rough(skew) + " late"
	}
	return rough(-skew) + " ahead"
}

// rough is a duration as people tell it: a word that comes by the network is no more
// exact than a second or two.
func rough(d time.Duration) string {
	const day = 24 * time.Hour
	switch days := d.Round(day) / day; {
	case days >= 2*365:
		return fmt.Sprintf("%d years", days/365)
	case days >= 2:
		return fmt.Sprintf("%d days", days)
	case d >= time.Hour:
		return d.Round(time.Minute).String()
	}
	return d.Round(time.Second).String()
}

// checkClock says how far the clocks are apart while everything works. A little is
// not mentioned, since nothing depends on it.
func (p *profile) checkClock() (ipc.Check, bool) {
	p.mu.Lock()
	skew := p.skew
	p.mu.Unlock()
	if skew.Abs() <= clockTolerance {
		return ipc.Check{}, false
	}
	return ipc.Check{
		Code: ipc.CodeClock, Status: ipc.CheckWarn,
		Detail: fmt.Sprintf("this clock is %s, by the server's; up to %v is not mentioned. Requests and PIN locks end in time all the same, since they are counted by a clock that nobody sets; the times in the log are wrong, and so is what is thought of the server's certificate", offset(skew), clockTolerance),
		Cure:   setClock,
	}, true
}

// checkTrust says that the server has said something of itself which is not taken.
func (p *profile) checkTrust() (ipc.Check, bool) {
	p.mu.Lock()
	err := p.diagnosis.refused
	p.mu.Unlock()
	if err == nil {
		return ipc.Check{}, false
	}
	c := p.finding(checkTrustRefused, ipc.CheckWarn, "what the server says of its names and keys is not taken, and it is reached as before: "+reachText(err), "tell the administrator of the server")
	if e, ok := errors.AsType[*ipc.Error](err); ok {
		c.Detail, c.Cure = p.account()+": what the server says of itself is not taken: "+e.Message, e.Cure
	}
	return c, true
}

const checkTrustRefused = "trust_refused"
