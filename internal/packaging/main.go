// Command packaging makes the parts of our packages that follow from others: the
// changelogs of Debian and of RPM from CHANGELOG.md, what a program needs of the
// system from the program, and the notices that the licenses of linked modules
// ask for. scripts/package runs it; it is not shipped.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

const usage = `usage: packaging version GIT-DESCRIBE
       packaging changelog deb|yaml|appstream NAME VERSION CONTACT
       packaging needs deb|rpm PROGRAM...
       packaging copyright|notices PROGRAM...
       packaging sbom CYCLONEDX-GOMOD NAME VERSION PROGRAM...
with the time of the source in SOURCE_DATE_EPOCH`

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	switch {
	case len(args) == 2 && args[0] == "version":
		text, err := version(args[1])
		if err == nil {
			_, err = fmt.Fprintln(out, text)
		}
		return err
	case len(args) == 5 && args[0] == "changelog":
		now, err := sourceDate()
		if err != nil {
			return err
		}
		return changelog(out, args[1], release{name: args[2], version: args[3], contact: args[4], date: now})
	case len(args) > 2 && args[0] == "needs":
		return needs(out, args[1], args[2:])
	case len(args) > 4 && args[0] == "sbom":
		return sbom(ctx, out, args[1], args[2], args[3], args[4:])
	case len(args) > 1 && args[0] == "copyright":
		return copyright(ctx, out, args[1:])
	case len(args) > 1 && args[0] == "notices":
		return notices(ctx, out, args[1:])
	}
	return errors.New(usage)
}

func sourceDate() (time.Time, error) {
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(epoch, 0).UTC(), nil
}
