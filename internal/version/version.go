// Package version says which build of Countersign a program is.
package version

import "runtime/debug"

// version is set by the linker: -X countersign/internal/version.version=...
var version string

// Version is what git called the source when the program was built, else the
// module version that the go command recorded, else "devel".
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}
