package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"countersign/agent/settings"
)

// errBroken has its exit status and nothing more to say: the answer is out.
var errBroken = errors.New("the configuration is not in order")

// checked is the answer of --check-config.
type checked struct {
	OK bool `json:"ok"`
	// Files are those that were read, in the order in which they win.
	Files    []string             `json:"files"`
	Settings []settings.Effective `json:"settings"`
	Notes    []string             `json:"notes"`
	Errors   []settings.Problem   `json:"errors"`
}

// checked looks at the configuration as the start of the service does, and says
// what is in effect and where from. It opens no chip.
func (f flags) checked() checked {
	cfg, err := f.load()
	c := checked{Files: slices.Concat([]string{}, cfg.Files), Settings: []settings.Effective{}, Notes: slices.Concat([]string{}, cfg.Notes), Errors: []settings.Problem{}}
	if err == nil {
		c.Settings = cfg.Effective()
		err = cfg.parts()
	}
	if list, ok := errors.AsType[settings.Problems](err); ok {
		c.Errors = list
	} else if err != nil {
		c.Errors = append(c.Errors, settings.Problem{Message: err.Error()})
	} else {
		f.checkAsService(cfg, &c)
	}
	c.OK = len(c.Errors) == 0
	return c
}

// checkAsService looks at what only the service can tell: whether it may read the
// files, and those with secrets.
func (f flags) checkAsService(cfg config, c *checked) {
	looked, err := f.asService(func(uid uint32) error {
		_, err := f.load()
		c.Errors = append(c.Errors, cfg.secrets(uid)...)
		return err
	})
	if err != nil {
		c.Errors = append(c.Errors, settings.Problem{Message: "you can read this, and the service cannot, which runs as the user " + serviceUser + ": " + err.Error() + "; make files 0644 and directories 0755"})
	}
	if !looked && cfg.Network.ProxyPasswordFile != "" {
		c.Notes = append(c.Notes, cfg.Network.ProxyPasswordFile+" is not looked at: root sees what the service does, with sudo")
	}
}

// parts makes what the configuration names, as far as that touches no hardware.
func (c config) parts() error {
	_, closeChips, err := c.chips()
	if err == nil {
		err = closeChips()
	}
	_, verifierErr := c.verifiers()
	return errors.Join(err, verifierErr)
}

// write writes the answer, for programs or for people.
func (c checked) write(out, errs io.Writer, asJSON bool) error {
	if asJSON {
		if err := json.NewEncoder(out).Encode(c); err != nil {
			return err
		}
	} else {
		c.text(out, errs)
	}
	if c.OK {
		return nil
	}
	return errBroken
}

func (c checked) text(out, errs io.Writer) {
	for _, s := range c.Settings {
		fmt.Fprintf(out, "%s = %s  # %v\n", s.Key, written(s.Value), s.Origin)
	}
	for _, n := range c.Notes {
		fmt.Fprintln(errs, "note:", n)
	}
	for _, p := range c.Errors {
		fmt.Fprintln(errs, "error:", p)
	}
}

// written is a value as a file would have it.
func written(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case []string:
		quoted := make([]string, len(v))
		for i, s := range v {
			quoted[i] = strconv.Quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	return fmt.Sprint(v)
}
