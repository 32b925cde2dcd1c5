package main

import (
	"bytes"
	"os"

	"countersign/agent/settings"
	"countersign/agent/upstream"
	"countersign/internal/secret"
	"countersign/systemd"
)

// proxyPasswordName is the credential that holds the password for the proxy.
const proxyPasswordName = "countersign.proxy-password"

// network is how servers are reached.
func (c config) network() upstream.Network {
	n := c.Network
	if n.Proxy == "" {
		return upstream.Network{} // as the environment says
	}
	p := upstream.Proxy{URL: n.ProxyURL(), Exempt: n.Exempt()}
	if n.ProxyUser != "" {
		p.User, p.Password = n.ProxyUser, func() (secret.Value, error) { return proxyPassword(n) }
	}
	return upstream.Through(p)
}

// proxyPassword reads the password when it is needed, so that it is not in memory all
// the time and can be changed.
func proxyPassword(n settings.Network) (secret.Value, error) {
	read := func() ([]byte, error) { return systemd.Credential(proxyPasswordName) }
	if n.ProxyPasswordFile != "" {
		read = func() ([]byte, error) { return os.ReadFile(n.ProxyPasswordFile) }
	}
	data, err := read()
	if err != nil {
		return secret.Value{}, err
	}
	return secret.New(bytes.TrimSuffix(data, []byte("\n"))), nil
}
