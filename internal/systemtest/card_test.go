//go:build system

package systemtest

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"countersign/hsm/hsmtest/virtualpiv"
	"countersign/internal/testenv"
)

// vpcdAddress is where the virtual reader of the machine's pcscd waits for a card.
const vpcdAddress = "127.0.0.1:35963"

// admin is the management key of the token, as its owner has chosen it.
const admin = "000102030405060708090a0b0c0d0e0f1011121314151617"

// insert puts a token into the machine's reader, until the test ends. Its owner has
// taken it into use, and touches it soon.
func (m *machine) insert() {
	m.t.Helper()
	card := virtualpiv.New(m.t, virtualpiv.WithFirmware("5.7.1"))
	key, err := hex.DecodeString(admin)
	if err != nil {
		m.t.Fatal(err)
	}
	card.Personalize(m.t, pin, "48151623", key)
	card.TouchAfter(10 * time.Millisecond)
	ctx, cancel := context.WithCancel(context.WithoutCancel(m.t.Context()))
	done := make(chan struct{})
	m.t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for ctx.Err() == nil { // pcscd comes and goes
			if conn, err := m.dial(ctx, vpcdAddress); err == nil {
				testenv.ServeCard(ctx, conn, card)
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
}

// dial connects to a TCP port of the machine, which has a network of its own.
func (m *machine) dial(ctx context.Context, addr string) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and the thread ends with this: it is in the wrong network
		var ns *os.File
		if ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", m.init)); err != nil {
			return
		}
		defer ns.Close()
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return
		}
		var fd int
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		file := os.NewFile(uintptr(fd), addr)
		defer file.Close()
		var to *net.TCPAddr
		if to, err = net.ResolveTCPAddr("tcp", addr); err != nil {
			return
		}
		if err = unix.Connect(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}); err != nil {
			return
		}
		conn, err = net.FileConn(file)
	}()
	<-done
	return conn, err
}
