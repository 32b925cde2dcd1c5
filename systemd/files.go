package systemd

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

//go:embed units sysusers tmpfiles dbus udev
var files embed.FS

// File is a file of the system that belongs to a unit, or is one.
type File struct {
	// Name is the file's in this package, such as "units/countersignd.service".
	Name string
	// Dir is the directory it goes to, below the vendor's prefix: "lib/systemd/system"
	// is /usr/lib/systemd/system in a package.
	Dir string
	// Data is its content. Modes are 0644.
	Data []byte
}

// Base is the file's name in its directory.
func (f File) Base() string { return path.Base(f.Name) }

// The parts that are installed each on their own.
const (
	// Agent is the service of the system with what belongs to it.
	Agent = "countersignd"
	// Server is the Token Server.
	Server = "countersign-server"
	// Session is the prompt helper of each login session.
	Session = "countersign-session"
	// User is the service of one user.
	User = "countersignd --user"
)

// vendor is where the parts' programs are in what this package holds.
const vendor = "/usr/bin/"

// Files lists the files of a part, whose programs are in the directory bin, an
// absolute path. It panics on a part that there is none of.
func Files(part, bin string) []File {
	names, ok := parts()[part]
	if !ok {
		panic("systemd: no part " + part)
	}
	list := make([]File, 0, len(names))
	for _, name := range names {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			panic(err) // the embedded files are held by a test
		}
		text := strings.ReplaceAll(string(data), "="+vendor, "="+escaped(strings.TrimSuffix(bin, "/"))+"/")
		list = append(list, File{Name: name, Dir: dirOf(name), Data: []byte(text)})
	}
	return list
}

// escaped is a path as one word of a unit (systemd.service(5), systemd.syntax(7)): homes
// are called many things. systemd starts nothing whose path holds quotes or backslashes.
func escaped(path string) string {
	var b strings.Builder
	for _, c := range []byte(path) {
		switch {
		case c == '%':
			b.WriteString("%%")
		case c <= ' ' || strings.IndexByte(";$", c) >= 0:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func parts() map[string][]string {
	return map[string][]string{
		Agent: {
			"units/countersignd.service", "units/countersignd.socket", "units/countersignd-tpm.service",
			"sysusers/countersign.conf", "tmpfiles/countersign.conf",
			"dbus/io.countersign.conf", "udev/60-countersign.rules",
		},
		Server:  {"units/countersign-server.service", "sysusers/countersign-server.conf"},
		Session: {"units/user/countersign-session.service"},
		User:    {"units/user/countersignd.service", "units/user/countersignd.socket"},
	}
}

// dirOf is where a file goes, by the room it has in this package.
func dirOf(name string) string {
	return map[string]string{
		"units":      "lib/systemd/system",
		"units/user": "lib/systemd/user",
		"sysusers":   "lib/sysusers.d",
		"tmpfiles":   "lib/tmpfiles.d",
		"dbus":       "share/dbus-1/system.d",
		"udev":       "lib/udev/rules.d",
	}[path.Dir(name)]
}
