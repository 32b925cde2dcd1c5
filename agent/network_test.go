package agent

import (
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"countersign/agent/upstream"
	"countersign/internal/secret"
	"countersign/ipc"
	"countersign/protocol"
)

// proxyThat answers CONNECT.
func proxyThat(t *testing.T, answer string) *url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, "HTTP/1.1 "+answer+"\r\nContent-Length: 0\r\n\r\n")
			_ = conn.Close()
		}
	}()
	return &url.URL{Scheme: "http", Host: l.Addr().String()}
}

// TestProxyFaultsInWords: each says whose the fault is, and what mends it.
func TestProxyFaultsInWords(t *testing.T) {
	none := func() (secret.Value, error) {
		return secret.Value{}, ipc.Errorf(ipc.CodeProxyAuth, "put it there", "there is no password for the proxy: it is empty")
	}
	some := func() (secret.Value, error) { return secret.New([]byte("sesame")), nil }
	for name, c := range map[string]struct {
		proxy               upstream.Proxy
		code, message, cure string
	}{
		"its name is not known": {upstream.Proxy{URL: &url.URL{Scheme: "http", Host: "proxy.invalid:3128"}}, ipc.CodeProxyUnreachable, "the proxy's name is not known", "name servers"},
		"nobody is there":       {upstream.Proxy{URL: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}}, ipc.CodeProxyUnreachable, "the proxy does not answer", "network.proxy"},
		"it asks":               {upstream.Proxy{URL: proxyThat(t, "407 X")}, ipc.CodeProxyAuth, "wants a name and a password", "set network.proxy and network.proxy_user"},
		"it wants another":      {upstream.Proxy{URL: proxyThat(t, "407 X"), User: "alice", Password: some}, ipc.CodeProxyAuth, "wants another name or password", "network.proxy_user"},
		"it asks for NTLM":      {upstream.Proxy{URL: proxyThat(t, "407 X\r\nProxy-Authenticate: NTLM"), User: "alice", Password: some}, ipc.CodeProxyAuth, "asks for another scheme", "a proxy in between"},
		"there is no password":  {upstream.Proxy{URL: proxyThat(t, "407 X"), User: "alice", Password: none}, ipc.CodeProxyAuth, "there is no password for the proxy: it is empty", "put it there"},
		"it refuses":            {upstream.Proxy{URL: proxyThat(t, "403 X")}, ipc.CodeProxyRefused, "refused the connection with status 403", "NO_PROXY"},
		"it does not get there": {upstream.Proxy{URL: proxyThat(t, "504 X")}, ipc.CodeServer, "does not reach the server, and answers with status 504", "reaches it"},
		"a login page":          {upstream.Proxy{URL: proxyThat(t, "511 X"), User: "alice", Password: some}, ipc.CodeCaptivePortal, "a login page of this network answers in the place of the proxy", "in a browser"},
	} {
		client := upstream.Through(c.proxy).ForEnrollment("https://server.test", nil)
		_, err := client.Start(t.Context(), protocol.EnrollmentStart{})
		client.Close()
		fault := serverError(err)
		if fault.Code != c.code || !strings.Contains(fault.Message, c.message) || !strings.Contains(fault.Cure, c.cure) {
			t.Errorf("%s: %s: %s: %s", name, fault.Code, fault.Message, fault.Cure)
		}
		if strings.Contains(fault.Message+fault.Cure, "sesame") || strings.Contains(fault.Message, "nothing was sent") {
			t.Errorf("%s: %s", name, fault.Message)
		}
	}
}

// TestAnotherNetworkIsAskedAtOnce, however long the one before did not answer.
func TestAnotherNetworkIsAskedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pace asking
		contacted, failed := time.Now(), io.EOF
		longest := time.Duration(0)
		for range 20 {
			pause := pace.after(failed, contacted)
			longest = max(longest, pause)
			time.Sleep(pause) //nolint:forbidigo // in a bubble
		}
		if longest < 10*time.Second {
			t.Errorf("one network is asked every %v", longest)
		}
		contacted = time.Now()
		time.Sleep(time.Second) //nolint:forbidigo // in a bubble
		if pause := pace.after(failed, contacted); pause > time.Second {
			t.Errorf("the next is asked again after %v", pause)
		}
	})
}

// TestRoughTimes: what a second on the network changes is not told.
func TestRoughTimes(t *testing.T) {
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		90*time.Second + 400*time.Millisecond: "1m30s", 3*time.Hour - time.Second: "3h0m0s", 3*time.Hour + 2*time.Second: "3h0m0s",
		400*day - time.Second: "400 days", 400*day + time.Second: "400 days", 3*365*day - time.Second: "3 years",
	} {
		if got := rough(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}
