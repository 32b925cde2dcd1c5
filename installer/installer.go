// Package installer puts Countersign's service onto a computer that has no
// package of it, and takes it away again.
//
// What is to be done is a Plan: a list of steps, each a value that says all
// about itself, made before anything is changed. Applying it goes in order. What
// is about to be done is stored first, in a record, so that a plan which ended
// anywhere can be made and applied again and ends in the same state, and so
// that uninstalling takes away exactly what was made. A file that somebody
// changed since is never overwritten and never removed; one that was there
// before is never touched.
//
// It works as root, on paths that only root can write to, and refuses others:
// nothing that a user could replace becomes a service. For the service of a
// single user it works as that user, and never above it.
package installer

import (
	"context"
	"errors"
	"path/filepath"

	"countersign/internal/version"
)

// Options say what is installed, and where.
type Options struct {
	// User is the service of the calling user instead of the system's.
	User bool
	// Root is the directory that holds the system, "" for the running one. An
	// image is only written to: nothing is started.
	Root string
	// Programs is the directory of the countersign and countersignd to install.
	Programs string
	// Home are the user's directories, for User.
	Home Home
}

// Home are the directories of a user, as the XDG specification has them.
type Home struct {
	// Bin is for programs, Config and State for what their names say.
	Bin, Config, State string
}

// Installer knows one place to install to.
type Installer struct {
	Options

	m *machine
	// programs is where the installed programs are.
	programs string
	layout   layout
}

// layout is where things go.
type layout struct {
	// record is the file of what was done.
	record string
	// state is the service's own directory.
	state string
}

// New looks at the place. Close ends the use of it.
func New(o Options) (*Installer, error) {
	if o.Root == "" {
		o.Root = "/"
	}
	if o.User && o.Root != "/" {
		return nil, fail(CodeInit, "", "an image has no users whose service could be installed")
	}
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return nil, err
	}
	o.Root = root
	t, err := openTree(root, o.User)
	if err != nil {
		return nil, err
	}
	i := &Installer{Options: o, m: &machine{tree: t, owner: "root:root"}}
	i.layout = layout{record: "/var/lib/countersign-install/record.json", state: "/var/lib/countersign"}
	if o.User {
		i.m.owner = "you"
		i.layout = layout{
			record: filepath.Join(o.Home.State, "countersign-install", "record.json"),
			state:  filepath.Join(o.Home.State, "countersign"),
		}
	}
	i.programs = i.destination()
	if i.m.book, err = openBook(t, i.layout.record); err == nil {
		i.m.init, err = detect(t, o.User, filepath.Join(i.programs, "countersignd"))
	}
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	return i, nil
}

// Close ends the use of the place.
func (i *Installer) Close() error { return i.m.tree.close() }

// StateDirectory is where the service keeps its profiles and the references of
// its keys, "" where there is none that uninstalling could take: none yet, or one
// that a package's service goes on with.
func (i *Installer) StateDirectory(ctx context.Context) string {
	if i.packageOfService(ctx) != "" || !i.m.tree.exists(i.layout.state) {
		return ""
	}
	return i.layout.state
}

// packageOfService is the package that has a service of the system here too.
func (i *Installer) packageOfService(ctx context.Context) string {
	if i.User {
		return ""
	}
	return i.m.packaged(ctx, "/usr/bin/countersignd")
}

// Plan is what is to be done, in order.
type Plan struct {
	// Action is "install", "upgrade" or "uninstall".
	Action  string `json:"action"`
	Version string `json:"version"`
	// Mode is "system" or "user".
	Mode string `json:"mode"`
	Root string `json:"root"`
	// Init is the init system, and Missing what it cannot do for the service.
	Init    string   `json:"init"`
	Missing []string `json:"missing"`
	// Notes are what else whoever installs should know.
	Notes []Note  `json:"notes"`
	Steps []*Item `json:"steps"`
}

// Note is something to know, and what to do about it where that is something.
type Note struct {
	Text string `json:"text"`
	Cure string `json:"cure,omitempty"`
}

// Item is a step of a plan, and how it stood when the plan was made.
type Item struct {
	Kind  Kind   `json:"kind"`
	State State  `json:"state"`
	Text  string `json:"text"`
	Step  Step   `json:"step"`
}

func (i *Installer) plan(action string) *Plan {
	p := &Plan{
		Action: action, Version: version.Version(), Mode: "system", Root: i.Root,
		Init: i.m.init.name, Missing: []string{}, Notes: []Note{},
	}
	if i.User {
		p.Mode = "user"
	}
	if action != "uninstall" {
		p.Missing = append(p.Missing, i.m.init.missing()...)
	}
	return p
}

// add appends steps, with how they stand. A step that depends on files of the
// plan is needed where one of them is.
func (i *Installer) add(ctx context.Context, p *Plan, steps ...Step) error {
	for _, s := range steps {
		state, err := s.state(ctx, i.m)
		if err != nil {
			return err
		}
		if state == Done && p.touches(s) {
			state = Needed
		}
		p.Steps = append(p.Steps, &Item{s.Kind(), state, s.String(), s})
	}
	return nil
}

// touches is whether the plan writes a file that a step is about.
func (p *Plan) touches(s Step) bool {
	var files []string
	switch s := s.(type) {
	case *Reload:
		files = s.files
	case *Start:
		files = s.files
	}
	for _, path := range files {
		for _, item := range p.Steps {
			if item.State == Needed && written(item.Step) == path {
				return true
			}
		}
	}
	return false
}

// written is the path of a file that a step writes, or "".
func written(s Step) string {
	switch s := s.(type) {
	case *WriteFile:
		return s.Path
	case *DefineService:
		return s.Path
	}
	return ""
}

// Nothing is whether all of the plan is done already.
func (p *Plan) Nothing() bool {
	for _, item := range p.Steps {
		if item.State == Needed {
			return false
		}
	}
	return true
}

// Apply takes the steps in order, and tells of each before it is taken. It stops
// at the first that fails; what was done is kept and is not done again.
func (i *Installer) Apply(ctx context.Context, p *Plan, tell func(step, of int, s Step)) error {
	if err := i.m.book.sweep(); err != nil {
		return fail(CodeStep, "mend that and do this again", "%v", err)
	}
	for n, item := range p.Steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if tell != nil {
			tell(n+1, len(p.Steps), item.Step)
		}
		if err := item.Step.apply(ctx, i.m); err != nil {
			if e, ok := errors.AsType[*Error](err); ok {
				return e
			}
			return fail(CodeStep, "mend that and do this again: what was done is kept", "%s: %v", item.Text, err)
		}
	}
	return nil
}
