package installer

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// recordFormat is of the record that this version writes. A record of a later
// format is not touched: it may name things that this version would leave.
const recordFormat = 1

// recordMode lets everybody ask how the installation stands. Nothing in it is
// secret, and none but root may say what root removes.
const recordMode = 0o644

// record is what installing did. Each entry is stored before the change that it
// is about, so that what was done is in it whenever the process ends; undoing
// what was not done yet is doing nothing.
//
// It is what uninstalling goes by, as root: so it stands in a directory that
// the service cannot write to.
type record struct {
	Format int `json:"format"`
	// Version is the program's that installed last.
	Version string `json:"version"`
	// Init is the init system that was installed for.
	Init string `json:"init"`
	// Complete says that all of a plan was done once, so that what is not so any
	// more was changed by somebody.
	Complete bool `json:"complete"`
	// Fresh are the files written since the service was started with them.
	Fresh   []string `json:"fresh,omitempty"`
	Entries []*entry `json:"entries"`
}

// entry is one thing that was made.
type entry struct {
	// Kind is that of the step that made it.
	Kind Kind `json:"kind"`
	// Path is the file's, or Name the unit's or user's.
	Path string `json:"path,omitempty"`
	Name string `json:"name,omitempty"`
	// Scope is whose units it is about, where it is about one.
	Scope scope `json:"scope,omitempty"`
	// Wrote are the SHA-256 of all contents that were written there.
	Wrote []string `json:"wrote,omitempty"`
	// Done is set once it is made.
	Done bool `json:"done,omitempty"`
}

// book is the record in its file.
type book struct {
	record

	tree *tree
	path string
}

func openBook(t *tree, path string) (*book, error) {
	b := &book{record: record{Format: recordFormat}, tree: t, path: path}
	data, err := t.read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err == nil {
		err = t.guarded(path)
	}
	if err != nil {
		return nil, err
	}
	const cure = "see docs/service.md, \"The record\""
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&b.record); err != nil {
		return nil, fail(CodeRecord, cure, "the record of the installation, %s, cannot be read: %v", path, err)
	}
	if b.Format != recordFormat {
		return nil, fail(CodeRecord, "use the countersign that installed it, or a later one",
			"the record of the installation, %s, is of format %d, which this version does not know", path, b.Format)
	}
	return b, nil
}

// find returns the entry of a thing, or nil.
func (b *book) find(kind Kind, path, name string, s scope) *entry {
	for _, e := range b.Entries {
		if e.Kind == kind && e.Path == path && e.Name == name && e.Scope == s {
			return e
		}
	}
	return nil
}

// file returns the entry of a file that was written, or nil.
func (b *book) file(path string) *entry {
	if e := b.find(KindWrite, path, "", ""); e != nil {
		return e
	}
	return b.find(KindService, path, "", "")
}

// intend stores that a thing is about to be made.
func (b *book) intend(e entry) error {
	old := b.find(e.Kind, e.Path, e.Name, e.Scope)
	if old == nil {
		b.Entries = append(b.Entries, &e)
		return b.save()
	}
	for _, sum := range e.Wrote { // the latest is the last
		old.Wrote = append(slices.DeleteFunc(old.Wrote, func(s string) bool { return s == sum }), sum)
	}
	old.Done = false
	return b.save()
}

// done stores that it is made.
func (b *book) done(kind Kind, path, name string, s scope) error {
	if e := b.find(kind, path, name, s); e != nil && !e.Done {
		e.Done = true
		return b.save()
	}
	return nil
}

// freshen stores that the service does not run with this file yet.
func (b *book) freshen(path string) {
	if !slices.Contains(b.Fresh, path) {
		b.Fresh = append(b.Fresh, path)
	}
}

func (b *book) save() error {
	dir := filepath.Dir(b.path)
	if !b.tree.exists(dir) {
		return b.begin(dir)
	}
	data, err := b.encode()
	if err != nil {
		return err
	}
	return b.tree.write(b.path, data, recordMode)
}

func (b *book) encode() ([]byte, error) {
	data, err := json.MarshalIndent(b.record, "", "  ")
	return append(data, '\n'), err
}

// begin makes the record's directory with the record in it, and what is missing
// of the directories above, all in one renaming: there is no moment at which a
// directory is there that no record tells of.
func (b *book) begin(dir string) error {
	top, above := dir, []string(nil)
	for !b.tree.exists(filepath.Dir(top)) {
		top = filepath.Dir(top)
		above = append([]string{top}, above...)
	}
	for _, d := range above {
		b.Entries = append(b.Entries, &entry{Kind: KindDirectory, Path: d, Done: true})
	}
	data, err := b.encode()
	if err != nil {
		return err
	}
	stage := temporary(top)
	if err := b.tree.removeAll(stage); err != nil {
		return err
	}
	for _, d := range append(above, dir) {
		if err := b.tree.mkdir(stage+strings.TrimPrefix(d, top), 0o755); err != nil {
			return err
		}
	}
	if err := b.tree.write(stage+strings.TrimPrefix(b.path, top), data, recordMode); err != nil {
		return err
	}
	return b.tree.rename(stage, top)
}

// erase removes the record, its directory and what was made for it above, in one
// renaming again.
func (b *book) erase() error {
	top := filepath.Dir(b.path)
	for {
		above := filepath.Dir(top)
		if b.find(KindDirectory, above, "", "") == nil || b.tree.count(above) != 1 {
			break
		}
		top = above
	}
	if b.tree.exists(top) {
		if err := b.tree.rename(top, temporary(top)); err != nil {
			return err
		}
	}
	return b.sweep()
}

// sweep removes what an interruption of save, begin or erase has left.
func (b *book) sweep() error {
	for path := b.path; path != "/"; path = filepath.Dir(path) {
		if stage := temporary(path); b.tree.exists(stage) {
			if err := b.tree.removeAll(stage); err != nil {
				return err
			}
		}
	}
	return nil
}
