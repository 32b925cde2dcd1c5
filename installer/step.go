package installer

import (
	"context"
	"fmt"
	"io/fs"
)

// Kind names a type of step.
type Kind string

// The kinds, as the JSON of a plan and the record name them.
const (
	KindDirectory       Kind = "make_directory"
	KindWrite           Kind = "write_file"
	KindUser            Kind = "make_user"
	KindService         Kind = "define_service"
	KindEnable          Kind = "enable"
	KindReload          Kind = "reload"
	KindStart           Kind = "start"
	KindStop            Kind = "stop"
	KindDisable         Kind = "disable"
	KindRemoveService   Kind = "remove_service"
	KindRemoveFile      Kind = "remove_file"
	KindRemoveDirectory Kind = "remove_directory"
	KindRemoveUser      Kind = "remove_user"
	KindPurge           Kind = "purge_keys"
	KindRemoveState     Kind = "remove_state"
	KindBegin           Kind = "begin_removal"
	KindFinish          Kind = "record"
)

// State is how a step stands before it is taken.
type State string

// The states. A step that is done already changes nothing.
const (
	Needed State = "needed"
	Done   State = "done"
	// Kept is a file that somebody changed since it was installed. It stays as
	// it is; on an upgrade the new one is put beside it, with ".new" at its end.
	Kept State = "kept"
	// Others is a file that is another's by now, such as a package's.
	Others State = "others"
)

// Step is one thing that is done: a value that says all about it.
type Step interface {
	// Kind is the type's name.
	Kind() Kind
	// String says it in a line for people.
	String() string
	// state says how it stands.
	state(ctx context.Context, m *machine) (State, error)
	// apply does it. Doing it again is doing nothing, also after it was
	// interrupted anywhere.
	apply(ctx context.Context, m *machine) error
}

// mode is a file mode that is written in octal.
type mode fs.FileMode

func (m mode) String() string { return fmt.Sprintf("%04o", fs.FileMode(m).Perm()) }

// MarshalText implements encoding.TextMarshaler.
func (m mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// scope is whose units a step is about.
type scope string

const (
	systemScope scope = "system"
	// globalScope is the units of every user, as the administrator sets them.
	globalScope scope = "global"
	userScope   scope = "user"
)

// flags are what systemctl takes for the scope.
func (s scope) flags(root string) []string {
	var flags []string
	if root != "/" {
		flags = append(flags, "--root="+root)
	}
	switch s {
	case globalScope:
		flags = append(flags, "--global")
	case userScope:
		flags = append(flags, "--user")
	case systemScope:
	}
	return flags
}

// systemctl is a command of it, as typed.
func (s scope) systemctl(root string, words ...string) []string {
	return append(append([]string{"systemctl"}, s.flags(root)...), words...)
}
