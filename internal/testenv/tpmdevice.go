package testenv

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// TPMDevice puts a character device in front of a TPM, so that the way to
// /dev/tpmrm0 can be tested: a terminal whose other end passes commands on to
// the TPM that spec names ("swtpm:PATH"). It returns the device's path. There is
// no resource manager behind it.
func TPMDevice(tb testing.TB, spec string) string {
	tb.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		tb.Fatal(err)
	}
	// The slave stays open, or the master would read errors between clients.
	if _, err := term.MakeRaw(int(slave.Fd())); err != nil {
		tb.Fatal(err)
	}
	tpm, err := net.Dial("unix", strings.TrimPrefix(spec, "swtpm:"))
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		bridge(master, tpm)
	}()
	tb.Cleanup(func() {
		_ = tpm.Close()
		_ = master.Close()
		_ = slave.Close()
		<-done
	})
	return slave.Name()
}

// bridge passes whole messages until an end closes.
func bridge(device *os.File, tpm net.Conn) {
	for {
		cmd, err := readMessage(device)
		if err != nil {
			return
		}
		if _, err := tpm.Write(cmd); err != nil {
			return
		}
		rsp, err := readMessage(tpm)
		if err != nil {
			return
		}
		if _, err := device.Write(rsp); err != nil {
			return
		}
	}
}
