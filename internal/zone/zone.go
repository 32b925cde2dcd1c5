// Package zone names the time zone of this machine, or of this user where the
// environment says another.
package zone

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Local is the IANA name of the local time zone, or "UTC" where it cannot be
// told. Display records name the zone they were rendered in.
func Local() string {
	name := strings.TrimPrefix(os.Getenv("TZ"), ":")
	if name == "" {
		target, _ := filepath.EvalSymlinks("/etc/localtime")
		_, name, _ = strings.Cut(target, "/zoneinfo/")
	}
	if _, err := time.LoadLocation(name); err != nil || name == "" || name == "Local" {
		return "UTC"
	}
	return name
}
