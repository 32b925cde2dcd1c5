package testenv

import (
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/godbus/dbus/v5"
)

const (
	fprintName   = "net.reactivated.Fprint"
	fprintDevice = fprintName + ".Device"
)

// StartFprintd starts fprintd with a virtual reader of libfprint's, again after
// StopFprintd. Fingers are what Show names.
func (s *System) StartFprintd() {
	s.tb.Helper()
	Need(s.tb, "/usr/libexec/fprintd")
	state := filepath.Join(s.dir, "fingers")
	s.must(os.MkdirAll(state, 0o700))
	s.fprintd = s.start([]string{"FP_VIRTUAL_DEVICE_STORAGE=" + s.reader(), "STATE_DIRECTORY=" + state}, "/usr/libexec/fprintd", "--no-timeout")
	s.WaitName(fprintName)
}

// StopFprintd kills fprintd.
func (s *System) StopFprintd() { end(s.fprintd) }

func (s *System) reader() string { return filepath.Join(s.dir, "reader") }

// Reader gives the virtual reader a command: "SCAN finger", "RETRY 1",
// "UNPLUG". It waits until the reader is in use.
func (s *System) Reader(command string) {
	s.tb.Helper()
	Eventually(s.tb, "the reader takes "+command, func() bool {
		conn, err := net.Dial("unix", s.reader())
		if err != nil {
			return false
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, command); err != nil {
			return false
		}
		_ = conn.(*net.UnixConn).CloseWrite()
		_, err = io.ReadAll(conn)
		return err == nil
	})
}

// Enroll has fprintd learn a finger of a user's.
func (s *System) Enroll(user, finger string) {
	s.tb.Helper()
	conn := s.Bus()
	signals := make(chan *dbus.Signal, 16)
	conn.Signal(signals)
	s.must(conn.AddMatchSignal(dbus.WithMatchInterface(fprintDevice), dbus.WithMatchMember("EnrollStatus")))
	var path dbus.ObjectPath
	s.must(conn.Object(fprintName, "/net/reactivated/Fprint/Manager").Call(fprintName+".Manager.GetDefaultDevice", 0).Store(&path))
	device := conn.Object(fprintName, path)
	s.must(device.Call(fprintDevice+".Claim", 0, user).Err)
	defer func() { s.must(device.Call(fprintDevice+".Release", 0).Err) }()
	s.must(device.Call(fprintDevice+".EnrollStart", 0, "right-index-finger").Err)
	for done, result := false, ""; !done; {
		s.Reader("SCAN " + finger)
		signal := <-signals
		for signal.Name != fprintDevice+".EnrollStatus" {
			signal = <-signals
		}
		s.must(dbus.Store(signal.Body, &result, &done))
		if done && result != "enroll-completed" {
			s.tb.Fatalf("fprintd does not learn the finger: %s", result)
		}
	}
	s.must(device.Call(fprintDevice+".EnrollStop", 0).Err)
}
