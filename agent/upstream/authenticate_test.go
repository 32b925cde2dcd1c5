package upstream_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"testing"
	"time"
)

// TestAuthenticate: with another certificate the poll that waits is asked again,
// and nobody notices; every later call is made with it.
func TestAuthenticate(t *testing.T) {
	polls := make(chan string, 2)
	c := device(t, func(w http.ResponseWriter, r *http.Request) {
		name := r.TLS.PeerCertificates[0].Subject.CommonName
		if r.Method == http.MethodDelete {
			polls <- name
			w.WriteHeader(http.StatusNoContent)
			return
		}
		polls <- name
		if name == "device" {
			<-r.Context().Done()
			return
		}
		w.Header().Set("ETag", `"2"`)
		answer(200, "application/json", `{"now":7,"requests":["a"]}`)(w, r)
	})
	type fetched struct {
		tag string
		ok  bool
		err error
	}
	got := make(chan fetched, 1)
	go func() {
		_, tag, ok, err := c.Fetch(t.Context(), `"1"`, 55*time.Second)
		got <- fetched{tag, ok, err}
	}()
	if name := <-polls; name != "device" {
		t.Fatalf("the poll came from %s", name)
	}
	next := makeCert(t, x509.Certificate{Subject: pkix.Name{CommonName: "next"}}, nil)
	c.Authenticate(tls.Certificate{Certificate: [][]byte{next.cert.Raw}, PrivateKey: next.key})
	if name := <-polls; name != "next" {
		t.Errorf("the poll came again from %s", name)
	}
	if f := <-got; f != (fetched{`"2"`, true, nil}) {
		t.Errorf("got %+v", f)
	}
	if err := c.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	if name := <-polls; name != "next" {
		t.Errorf("the call came from %s", name)
	}
}
