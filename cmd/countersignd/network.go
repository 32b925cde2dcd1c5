package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"countersign/agent/settings"
	"countersign/agent/upstream"
	"countersign/internal/mend"
	"countersign/internal/secret"
	"countersign/ipc"
	"countersign/systemd"
)

// proxyPasswordName is the credential that holds the password for the proxy, and
// keyProxyPassword the setting that names a file instead.
const (
	proxyPasswordName = "countersign.proxy-password"
	keyProxyPassword  = "network.proxy_password_file"
)

// network is how servers are reached.
func (c config) network() upstream.Network {
	n := c.Network
	if n.Proxy == "" {
		return upstream.Network{} // as the environment says
	}
	p := upstream.Proxy{URL: n.ProxyURL(), Exempt: n.Exempt()}
	if n.ProxyUser != "" {
		p.User, p.Password = n.ProxyUser, func() (secret.Value, error) { return c.proxyPassword(uint32(os.Geteuid())) }
	}
	return upstream.Through(p)
}

// proxyPassword reads the password when it is needed, so that it is not in memory all
// the time and can be changed. A file must be nobody else's than root's and a user's.
// An error is an ipc.Error: everybody may read it.
func (c config) proxyPassword(by uint32) (secret.Value, error) {
	n := c.Network
	place, read := "the credential "+proxyPasswordName, func() ([]byte, error) { return systemd.Credential(proxyPasswordName) }
	if n.ProxyPasswordFile != "" {
		place, read = n.ProxyPasswordFile, func() ([]byte, error) { return readSecret(n.ProxyPasswordFile, by) }
	}
	data, err := read()
	if err != nil {
		return secret.Value{}, c.noPassword(whyUnread(place, err))
	}
	if data = bytes.TrimRight(data, "\r\n"); len(data) == 0 {
		return secret.Value{}, c.noPassword(place + " is empty")
	}
	return secret.New(data), nil
}

// whyUnread is an error without its inner workings.
func whyUnread(place string, err error) string {
	var bad secretFileError
	switch {
	case errors.As(err, &bad):
		return string(bad)
	case errors.Is(err, fs.ErrNotExist):
		return place + " does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "the service may not read " + place
	}
	return place + " cannot be read"
}

// noPassword says what is to be done about a password that cannot be used.
func (c config) noPassword(why string) *ipc.Error {
	file := c.Network.ProxyPasswordFile
	cure := fmt.Sprintf("put the password into /etc/credstore/%s, and: systemctl restart countersignd; or into a file that %s names", proxyPasswordName, keyProxyPassword)
	if file != "" {
		private := mend.Words("chmod", "0600", file)
		if !c.user {
			private = mend.Then(mend.Words("chown", serviceUser+":", file), private)
		}
		cure = "put the password into " + file + ", and: " + private + "; it is read anew for each connection"
	}
	return ipc.Errorf(ipc.CodeProxyAuth, cure, "there is no password for the proxy: %s", why)
}

// secrets are what is wrong with the files that hold secrets, as a user sees them. The
// service runs all the same: it reads them when it needs them, and they may be mended
// under it. What systemd hands over only the service itself can see.
func (c config) secrets(by uint32) []settings.Problem {
	if c.Network.ProxyUser == "" || c.Network.ProxyPasswordFile == "" {
		return nil
	}
	password, err := c.proxyPassword(by)
	if err == nil {
		password.Wipe()
		return nil
	}
	from := c.Origins[keyProxyPassword]
	p := settings.Problem{File: from.File, Line: from.Line, Key: keyProxyPassword, Message: err.Error()}
	if e, ok := errors.AsType[*ipc.Error](err); ok {
		p.Message = e.Message + "; " + e.Cure
	}
	return []settings.Problem{p}
}
