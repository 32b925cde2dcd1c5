package main

import (
	"countersign/agent/settings"
	"countersign/ipc"
)

// config is the configuration in effect.
type config struct {
	settings.Loaded

	user bool
}

type flags struct {
	file, state, socket, tpm string
	user, piv                bool
	check, json              bool
}

// load merges, in rising order, the defaults, the files and the flags. Its error
// can be shown to every local user. What it returns with one says where the
// service can be asked what is wrong, and opens no chip.
func (f flags) load() (config, error) {
	loaded, err := settings.Read(settings.Options{User: f.user, File: f.file, Flags: f.set()})
	return config{Loaded: loaded, user: f.user}, err
}

// socketPath is where the service listens while its configuration cannot be read.
func (f flags) socketPath() string {
	switch {
	case f.socket != "":
		return f.socket
	case f.user:
		return ipc.UserSocket()
	}
	return ipc.SystemSocket
}

// set are the flags that were given.
func (f flags) set() (list []settings.Flag) {
	for _, o := range []struct{ key, value string }{{"state", f.state}, {"socket", f.socket}, {"tpm", f.tpm}} {
		if o.value != "" {
			list = append(list, settings.Flag{Key: o.key, Flag: "--" + o.key, Value: o.value})
		}
	}
	if f.piv {
		list = append(list, settings.Flag{Key: "piv", Flag: "--piv", Value: true})
	}
	return list
}
