package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/admin"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/fanout"
	"countersign/tokenserver/machines"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/roots"
	"countersign/tokenserver/store"
	"countersign/tokenserver/store/sqlite"
)

const (
	fileDatabase = "server.db"
	fileServed   = "served.json"
)

// state is the server's directory, open.
type state struct {
	dir      string
	pki      *pki.Authority
	store    store.Store
	office   *admin.Office
	desk     *enroll.Desk
	machines *machines.Desk
	roots    roots.Dir
}

// withState opens the server's directory, making what it lacks, for as long as
// f runs.
//
// Root becomes the directory's owner first.
func (c *cli) withState(ctx context.Context, f func(*state) error) (err error) {
	if err := becomeOwner(c.data); err != nil {
		return err
	}
	s, err := openState(ctx, c.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.store.Close()) }()
	return f(s)
}

func openState(ctx context.Context, dir string) (*state, error) {
	path := filepath.Join(dir, fileDatabase)
	if err := checkWhole(dir, path); err != nil {
		return nil, err
	}
	authority, err := pki.Open(dir)
	if errors.Is(err, pki.ErrKeysMissing) {
		return nil, keysMissing(err.Error())
	}
	if err != nil {
		return nil, err
	}
	st, err := sqlite.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	s := &state{dir: dir, pki: authority, store: st, roots: roots.Dir(filepath.Join(dir, roots.Name))}
	hub := fanout.New() // nobody waits in this process, or the server has its own
	s.office = &admin.Office{Store: st, Hub: hub, Now: time.Now}
	s.desk = &enroll.Desk{Store: st, Hub: hub, Now: time.Now}
	s.machines = &machines.Desk{Store: st, Now: time.Now}
	if err := s.office.Prepare(ctx); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return s, nil
}

// checkWhole refuses a directory with a database but without its keys: new
// ones would be those of another server, which no device knows. It refuses one of
// something else, too: a mistyped path must not get a server's files among its own.
func checkWhole(dir, database string) error {
	if _, err := os.Stat(database); errors.Is(err, fs.ErrNotExist) {
		return checkEmpty(dir)
	}
	if _, err := os.Stat(filepath.Join(dir, pki.FileCA)); errors.Is(err, fs.ErrNotExist) {
		return keysMissing(dir + " has a database but no keys")
	}
	return nil
}

// checkEmpty refuses a directory that holds what no server has put there.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		// A first start that broke off leaves some of its keys.
		ours := slices.Contains([]string{"lock", "serve.lock", fileServed, roots.Name, "lost+found"}, e.Name()) ||
			filepath.Ext(e.Name()) == ".pem" || strings.HasPrefix(e.Name(), ".new-")
		if !ours {
			return failure{exitRefused, "not_a_server", fmt.Sprintf("%s is no directory of a server: it holds %s", dir, e.Name()), "Name the server's own directory with --data, or one that is empty or not there yet."}
		}
	}
	return nil
}

func keysMissing(message string) error {
	return failure{exitRefused, "keys_missing", message, "Restore the directory's files from the same backup."}
}

// served is what a running server leaves for the commands beside it.
type served struct {
	Issuer    string `json:"issuer"`
	DeviceURL string `json:"device_url"`
	// Pin is the SPKI hash of the TLS root, or empty where system roots are to
	// be trusted.
	Pin []byte `json:"pin"`
}

func (s *state) writeServed(v served) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, fileServed)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (s *state) readServed() (v served, err error) {
	b, err := os.ReadFile(filepath.Join(s.dir, fileServed))
	if errors.Is(err, fs.ErrNotExist) {
		return v, problem.New(problem.NotServed, "no server has run with %s yet, so that its device URL is not known", s.dir)
	}
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(b, &v); err != nil || !protocol.ValidIssuer(v.DeviceURL) {
		return v, fmt.Errorf("%s is damaged; start the server again", fileServed)
	}
	return v, nil
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }
