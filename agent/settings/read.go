package settings

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"countersign/agent/policy"
	"countersign/internal/owned"
)

// Bounds of what is read: a configuration is some lines.
const (
	maxBytes = 64 << 10
	maxFiles = 64
)

// Options say what to read.
type Options struct {
	// User is the service of one user: of the system's files it takes the policy
	// alone.
	User bool
	// File is the main file, "" the system's. It must be there.
	File string
	// Flags are the values that win over every file.
	Flags []Flag

	system string // SystemDir, but in tests
}

// Flag is the value of a command line flag for a setting.
type Flag struct {
	Key, Flag string
	Value     any
}

// Loaded is the configuration in effect.
type Loaded struct {
	Settings
	// Locks is what the policy means.
	Locks policy.Policy
	// Origins says of each setting that is set where, by its key.
	Origins map[string]Origin
	// Files are those that were read, in the order in which they win.
	Files []string
	// Notes are what is not wrong, and good to know.
	Notes []string
}

// Read reads the configuration. An error is Problems. What is returned with one
// has the defaults and the flags: enough to say what is wrong, and nothing to
// work with.
func Read(o Options) (Loaded, error) {
	if o.system == "" {
		o.system = SystemDir
	}
	l := Loaded{Settings: o.defaults(), Origins: map[string]Origin{}}
	r := reader{schema: schemaOf(Settings{}), loaded: &l, scans: map[string]*scan{}}
	if o.User {
		r.user(o)
	} else {
		r.system(o)
	}
	for _, f := range o.Flags {
		r.set(f.Key, f.Value, Origin{Flag: f.Flag})
	}
	r.resolve()
	if len(r.problems) == 0 {
		return l, nil
	}
	l = Loaded{Settings: o.defaults(), Origins: map[string]Origin{}, Files: l.Files, Notes: l.Notes}
	l.TPM, l.PIV = "", false
	fallback := reader{schema: r.schema, loaded: &l}
	for _, f := range o.Flags {
		if f.Key == "state" || f.Key == "socket" {
			fallback.set(f.Key, f.Value, Origin{Flag: f.Flag})
		}
	}
	return l, Problems(r.problems)
}

func (o Options) defaults() Settings {
	if o.User {
		return userDefaults()
	}
	return Defaults()
}

// reader gathers values and what is wrong with them.
type reader struct {
	schema   schema
	loaded   *Loaded
	scans    map[string]*scan // by file
	problems []Problem
}

// system reads what the system service is configured by. What lies beside a file
// that somebody named is not for it: only the system's own file has a conf.d.
func (r *reader) system(o Options) {
	defer r.oldNames()
	main := filepath.Join(o.system, mainName)
	named := o.File != ""
	if named && abs(o.File) != main {
		r.file(abs(o.File), owned.Root(), true)
		return
	}
	r.file(main, owned.Root(), named)
	for _, path := range r.over(filepath.Join(o.system, overDir)) {
		r.file(path, owned.Root(), true)
	}
}

// user reads the system's policy, then the user's own file, which cannot change
// it.
func (r *reader) user(o Options) {
	admin := reader{schema: r.schema, scans: r.scans, loaded: &Loaded{Settings: Defaults(), Origins: map[string]Origin{}}}
	admin.system(Options{system: o.system})
	admin.problems = slices.DeleteFunc(admin.problems, func(p Problem) bool {
		if !p.unreadable {
			return false
		}
		r.loaded.Notes = append(r.loaded.Notes, "the policy of this computer is not known: "+p.Message)
		return true
	})
	r.problems = append(r.problems, admin.problems...)
	r.loaded.Files = append(r.loaded.Files, admin.loaded.Files...)
	if o.File != "" {
		r.file(abs(o.File), owned.RootOrService(), true)
	}
	r.oldNames()
	for _, key := range slices.Sorted(maps.Keys(admin.loaded.Origins)) {
		if strings.HasPrefix(key, "policy.") {
			r.lock(key, admin.loaded)
		}
	}
}

// lock sets what the administrator has set.
func (r *reader) lock(key string, admin *Loaded) {
	s := r.schema.byKey[key]
	value := reflect.ValueOf(admin.Settings).FieldByIndex(s.index).Interface()
	if _, own := r.loaded.Origins[key]; own && !reflect.DeepEqual(value, r.value(s)) {
		r.complain(key, "%s is set by the administrator of this computer in %v, and cannot be changed here", key, admin.Origins[key])
		return
	}
	r.set(key, value, admin.Origins[key])
}

func (r *reader) value(s setting) any {
	return reflect.ValueOf(r.loaded.Settings).FieldByIndex(s.index).Interface()
}

func (r *reader) set(key string, value any, from Origin) {
	field := reflect.ValueOf(&r.loaded.Settings).Elem().FieldByIndex(r.schema.byKey[key].index)
	field.Set(reflect.ValueOf(value))
	r.loaded.Origins[key] = from
}

// file overlays one file. One that need not be there may be absent.
func (r *reader) file(path string, by owned.Owners, needed bool) {
	data, err := readFile(path, by)
	if errors.Is(err, fs.ErrNotExist) && !needed {
		return
	}
	if err != nil {
		r.fail(path, err)
		return
	}
	r.loaded.Files = append(r.loaded.Files, path)
	c := scanFile(r.schema, data)
	r.scans[path] = c
	if len(c.problems) == 0 {
		c.problems = c.decode(data, &r.loaded.Settings)
	}
	for _, p := range c.problems {
		p.File = path
		r.problems = append(r.problems, p)
	}
	for key, line := range c.at {
		r.loaded.Origins[key] = Origin{File: path, Line: line}
	}
}

func (r *reader) fail(path string, err error) {
	message := err.Error()
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		message = e.Path + ": " + e.Err.Error()
	}
	r.problems = append(r.problems, Problem{File: path, Message: message, unreadable: errors.Is(err, fs.ErrPermission)})
}

// complain tells of a setting where it is set.
func (r *reader) complain(key, format string, args ...any) {
	from := r.loaded.Origins[key]
	p := Problem{File: from.File, Line: from.Line, Key: key, Message: fmt.Sprintf(format, args...)}
	if c := r.scans[from.File]; c != nil && !r.schema.byKey[key].secret {
		p.Text = c.text(from.Line)
	}
	r.problems = append(r.problems, p)
}

// over lists the files that lie over the main one, in the order of their names.
func (r *reader) over(dir string) []string {
	d, err := owned.OpenDir(dir, owned.Root())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		r.fail(dir, err)
		return nil
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		r.fail(dir, err)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasSuffix(name, ".toml") || strings.HasPrefix(name, ".")
	})
	slices.Sort(names)
	if len(names) > maxFiles {
		r.problems = append(r.problems, Problem{File: dir, Message: fmt.Sprintf("there are %d files, and %d at most are read: put them together", len(names), maxFiles)})
		return nil
	}
	for i := range names {
		names[i] = filepath.Join(dir, names[i])
	}
	return names
}

func readFile(path string, by owned.Owners) ([]byte, error) {
	f, err := owned.Open(path, by)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err == nil && len(data) > maxBytes {
		err = fmt.Errorf("it is larger than %d KiB", maxBytes>>10)
	}
	return data, err
}

// abs is the plain absolute path. Where there is no working directory it is what
// it was, and is refused.
func abs(path string) string {
	if a, err := filepath.Abs(path); err == nil {
		return a
	}
	return path
}
