// Package systemtest installs the packages on a Debian that boots systemd in a
// container, and lives with them there: its tests are what an administrator and a
// user see. They take root and minutes, so they have a build tag of their own,
// "system", and a target, make test-system.
package systemtest
