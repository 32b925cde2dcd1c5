package agent

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// BootTime is CLOCK_BOOTTIME: it runs on in suspend and no one sets it, so a
// lifetime measured by it ends when it should, whatever the wall clock says.
func BootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Linux has had this clock since 2.6.39; without it nothing expires
		// in time, and a panic is the closed way to fail.
		panic("agent: no CLOCK_BOOTTIME: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// LocalZone is the IANA name of this machine's time zone, or "UTC" where it
// cannot be told. Display records name the zone they were rendered in.
func LocalZone() string {
	name := os.Getenv("TZ")
	if name == "" {
		target, _ := filepath.EvalSymlinks("/etc/localtime")
		_, name, _ = strings.Cut(target, "/zoneinfo/")
	}
	if _, err := time.LoadLocation(name); err != nil || name == "" || name == "Local" {
		return "UTC"
	}
	return name
}
