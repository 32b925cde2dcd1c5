//go:build cgo

package piv_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countersign/hsm"
	"countersign/hsm/piv"
)

// Where polkit guards pcscd, a service that no rule names is refused. There is
// no polkit in a test, so this is only pcscd's side of that conversation, held
// with the real library.
func TestDenied(t *testing.T) {
	const denied = 0x8010006A // SCARD_W_SECURITY_VIOLATION
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, "pcscd.comm"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go refuse(conn, denied)
		}
	}()
	// The library reads this once in the life of a process, see PCSCD.Use.
	link := filepath.Join(os.TempDir(), fmt.Sprintf("cs-pcscd-%d", os.Getpid()))
	_ = os.Remove(link)
	if err := os.Symlink(listener.Addr().String(), link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(link) })
	t.Setenv("PCSCLITE_CSOCK_NAME", link)

	_, err = piv.Open().Status(t.Context())
	mustBe(t, "refused by polkit", err, hsm.ErrPermission)
	if err == nil || !strings.Contains(err.Error(), "org.debian.pcsc-lite.access_pcsc") {
		t.Errorf("%v does not name what polkit must grant", err)
	}
}

// refuse agrees with whatever version the client speaks and answers its next
// message with a result code, which is the last word of both.
func refuse(conn net.Conn, code uint32) {
	defer conn.Close()
	for n := 0; ; n++ {
		var header [8]byte
		if _, err := io.ReadFull(conn, header[:]); err != nil {
			return
		}
		body := make([]byte, binary.NativeEndian.Uint32(header[:]))
		if _, err := io.ReadFull(conn, body); err != nil || len(body) < 4 {
			return
		}
		if n > 0 {
			binary.NativeEndian.PutUint32(body[len(body)-4:], code)
		}
		if _, err := conn.Write(body); err != nil {
			return
		}
	}
}
