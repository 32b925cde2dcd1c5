package verify

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"countersign/internal/testenv"
)

// fingers is a reader that knows a finger of one person, and the service as it
// runs on a real computer: as a user of its own.
type fingers struct {
	*testenv.System
	t *testing.T
	f *Fingerprint
}

const (
	right = "right"
	wrong = "wrong"
)

func newFingers(t *testing.T) *fingers {
	t.Helper()
	t.Parallel()
	s := testenv.StartSystem(t, installer)
	s.StartFprintd()
	s.Enroll(testenv.Person, right)
	return &fingers{s, t, NewFingerprint(Bus{connect: connectAs(s, testenv.ServiceUID)})}
}

func person() Subject { return Subject{UID: testenv.PersonUID, User: testenv.Person} }

func (k *fingers) begin(ctx context.Context) *attempt {
	a := &attempt{k.t, make(chan string, 64), make(chan error, 1)}
	go func() { a.done <- k.f.Verify(ctx, person(), Request{}, func(h string) { a.hints <- h }) }()
	return a
}

// ready begins, and returns when the reader waits for a finger.
func (k *fingers) ready() *attempt {
	k.t.Helper()
	a := k.begin(k.t.Context())
	a.hint(HintPlaceFinger)
	return a
}

func (k *fingers) scan(finger string) {
	k.t.Helper()
	k.Reader("SCAN " + finger)
}

// accept scans the finger that is known, which ends an attempt well.
func (k *fingers) accept(a *attempt) {
	k.t.Helper()
	k.scan(right)
	if err := a.result(); err != nil {
		k.t.Fatalf("the right finger: %v", err)
	}
}

// refuse scans another finger until the attempt ends, which it must do with no.
func (k *fingers) refuse(a *attempt) {
	k.t.Helper()
	for i := range fingerTries {
		k.scan(wrong)
		a.hint(HintRetry)
		if i < fingerTries-1 {
			a.hint(HintPlaceFinger)
		}
	}
	if err := a.result(); !errors.Is(err, ErrNoMatch) {
		k.t.Fatalf("wrong fingers only: %v", err)
	}
}

func TestFinger(t *testing.T) {
	k := newFingers(t)
	if err := k.f.Available(t.Context(), person()); err != nil {
		t.Fatalf("not available: %v", err)
	}
	k.accept(k.ready())
	k.refuse(k.ready())
	a := k.ready()
	k.scan(wrong)
	a.hint(HintRetry)
	a.hint(HintPlaceFinger)
	k.accept(a)
}

func TestFingerMisread(t *testing.T) {
	k := newFingers(t)
	a := k.ready()
	for command, hint := range map[string]string{"RETRY 0": HintRetry, "RETRY 1": HintTooShort, "RETRY 2": HintCenter, "RETRY 3": HintRemove} {
		k.Reader(command)
		a.hint(hint)
	}
	k.accept(a)
}

// TestFingerOfSomebodyElse: a finger counts for the person that it was enrolled
// for.
func TestFingerOfSomebodyElse(t *testing.T) {
	k := newFingers(t)
	other := Subject{UID: 0, User: "root"}
	if u := unavailable(t, k.f.Available(t.Context(), other)); !u.Absent {
		t.Errorf("a person without fingers: %+v", u)
	}
	unavailable(t, k.f.Verify(t.Context(), other, Request{}, func(string) {}))
	k.Enroll(testenv.ServiceUser, wrong)
	nobody := Subject{UID: 4711}
	unavailable(t, k.f.Available(t.Context(), nobody))
	unavailable(t, k.f.Verify(t.Context(), nobody, Request{}, func(string) {}))
}

// TestFingerEndsWithWhatItNeeds: nothing that goes away is a yes, and it is said
// at once.
func TestFingerEndsWithWhatItNeeds(t *testing.T) {
	for name, end := range map[string]func(k *fingers){
		"unplugged":      func(k *fingers) { k.Reader("UNPLUG") },
		"daemon killed":  func(k *fingers) { k.StopFprintd() },
		"bus killed":     func(k *fingers) { k.StopBus() },
		"daemon swapped": func(k *fingers) { k.StopFprintd(); k.StartFprintd() },
	} {
		t.Run(name, func(t *testing.T) {
			k := newFingers(t)
			a := k.ready()
			end(k)
			unavailable(t, a.result())
		})
	}
}

func TestFingerWithoutDaemons(t *testing.T) {
	k := newFingers(t)
	k.StopFprintd()
	if u := unavailable(t, k.f.Available(t.Context(), person())); !u.Absent {
		t.Errorf("without fprintd: %+v", u)
	}
	k.StopBus()
	unavailable(t, k.f.Available(t.Context(), person()))
	unavailable(t, k.begin(t.Context()).result())
}

// TestFingerTakesTheRule: without our rule polkit keeps the service from the
// reader, and doctor can say what is missing.
func TestFingerTakesTheRule(t *testing.T) {
	k := newFingers(t)
	k.Rule("10-none.rules", `polkit.addRule(function(action, subject) {
		if (subject.user == "`+testenv.ServiceUser+`") { return polkit.Result.NO; }
	});`)
	if u := unavailable(t, k.f.Available(t.Context(), person())); u.Absent || u.Cure == "" {
		t.Errorf("got %+v", u)
	}
	unavailable(t, k.begin(t.Context()).result())
}

// TestFingerGivesTheReaderBack when its caller goes or its time is over.
func TestFingerGivesTheReaderBack(t *testing.T) {
	k := newFingers(t)
	ctx, cancel := context.WithCancel(t.Context())
	a := k.begin(ctx)
	a.hint(HintPlaceFinger)
	cancel()
	if err := a.result(); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that went: %v", err)
	}
	k.f.limit = 300 * time.Millisecond
	if err := k.begin(t.Context()).result(); !errors.Is(err, ErrTimeout) {
		t.Errorf("nobody came: %v", err)
	}
	k.f.limit = fingerTime
	k.accept(k.ready())
}

// TestFingerOneAtATime: the second waits until the first is done, and may give
// up.
func TestFingerOneAtATime(t *testing.T) {
	k := newFingers(t)
	first := k.ready()
	second := k.begin(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	third := k.begin(ctx)
	cancel()
	if err := third.result(); !errors.Is(err, context.Canceled) {
		t.Errorf("the one that gave up: %v", err)
	}
	if len(second.hints) != 0 {
		t.Error("two had the reader")
	}
	k.accept(first)
	second.hint(HintPlaceFinger)
	k.accept(second)
}

// TestForgedFinger: other users of the bus say that the finger matched, that the
// daemon went away and everything else it could say, to everybody and to the
// service alone. Then the real one says no.
func TestForgedFinger(t *testing.T) {
	const forgeries = 1000
	k := newFingers(t)
	victims := make(chan string, 1)
	reach := k.f.bus.connect
	k.f.bus.connect = func(opts ...dbus.ConnOption) (*dbus.Conn, error) {
		conn, err := reach(opts...)
		if err == nil {
			victims <- conn.Names()[0]
		}
		return conn, err
	}
	a := k.ready()
	victim := <-victims
	for _, uid := range []int{testenv.PersonUID, testenv.ServiceUID, 0} {
		conn, err := connectAs(k.System, uid)()
		if err != nil {
			t.Fatal(err)
		}
		for i := range forgeries {
			forge(t, conn, victim, i)
		}
		// A reply to this comes after all of them were passed on.
		if err := conn.BusObject().Call(busName+".GetId", 0).Err; err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	k.refuse(a)
}

// forge sends one signal that is a lie.
func forge(t *testing.T, conn *dbus.Conn, victim string, i int) {
	t.Helper()
	msg := &dbus.Message{
		Type: dbus.TypeSignal,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath:      dbus.MakeVariant(dbus.ObjectPath("/net/reactivated/Fprint/Device/0")),
			dbus.FieldInterface: dbus.MakeVariant(fprintDevice),
			dbus.FieldMember:    dbus.MakeVariant("VerifyStatus"),
			dbus.FieldSender:    dbus.MakeVariant(fprint),
			dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf("", true)),
		},
		Body: []any{[]string{"verify-match", "verify-disconnected", "verify-retry-scan"}[i/2%3], i/2%3 < 2},
	}
	if i%2 == 0 {
		msg.Headers[dbus.FieldDestination] = dbus.MakeVariant(victim)
	}
	if i%5 == 4 {
		msg.Headers[dbus.FieldPath] = dbus.MakeVariant(dbus.ObjectPath("/org/freedesktop/DBus"))
		msg.Headers[dbus.FieldInterface] = dbus.MakeVariant(busName)
		msg.Headers[dbus.FieldMember] = dbus.MakeVariant("NameOwnerChanged")
		msg.Headers[dbus.FieldSender] = dbus.MakeVariant(busName)
		msg.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf("", "", ""))
		msg.Body = []any{fprint, ":1.1", ""}
	}
	if call := conn.Send(msg, nil); call != nil && call.Err != nil {
		t.Fatal(call.Err)
	}
}
