package verify

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"countersign/internal/testenv"
)

const installer = "../../installer/polkit"

// patience is for what should take no time at all.
const patience = 20 * time.Second

// connectAs reaches the bus of a System as one of its users.
func connectAs(s *testenv.System, uid int) func(...dbus.ConnOption) (*dbus.Conn, error) {
	return func(opts ...dbus.ConnOption) (*dbus.Conn, error) {
		raw, err := testenv.DialAs(strings.TrimPrefix(s.Address(), "unix:path="), uid)
		if err != nil {
			return nil, err
		}
		conn, err := dbus.NewConn(raw, opts...)
		if err != nil {
			return nil, err
		}
		err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(uid))})
		if err == nil {
			err = conn.Hello()
		}
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return conn, nil
	}
}

// unavailable returns err as one, which it must be.
func unavailable(t *testing.T, err error) *Unavailable {
	t.Helper()
	u, ok := errors.AsType[*Unavailable](err)
	if !ok {
		t.Fatalf("got %v, want an *Unavailable", err)
	}
	return u
}

// attempt is a verification that goes on.
type attempt struct {
	t     *testing.T
	hints chan string
	done  chan error
}

func (a *attempt) hint(want string) {
	a.t.Helper()
	select {
	case got := <-a.hints:
		if got != want {
			a.t.Fatalf("the person is told %q, want %q", got, want)
		}
	case err := <-a.done:
		a.t.Fatalf("it ended with %v, want the hint %q", err, want)
	case <-time.After(patience):
		a.t.Fatalf("no hint %q", want)
	}
}

func (a *attempt) result() error {
	a.t.Helper()
	select {
	case err := <-a.done:
		return err
	case <-time.After(patience):
		a.t.Fatal("the verification does not end")
		return nil
	}
}
