// Package mend knows the commands that an administrator types to mend a computer.
// Each is a line for a shell, whole and ready, that works as it stands.
package mend

import (
	"os"
	"strings"
)

// Part is something of the operating system that can be installed.
type Part int

// The parts.
const (
	// PCSCD is the smart card daemon.
	PCSCD Part = iota
	// DBus is the message bus of the system and of each user.
	DBus
	// Pinentry is a window that asks for a PIN.
	Pinentry
	// TPMTools are the commands that administer a TPM.
	TPMTools
)

// manager is how a family of distributions installs its packages.
type manager struct {
	program, install, remove string
	// names are those of the parts, in their order.
	names [4]string
}

func managers() []manager {
	return []manager{
		{"/usr/bin/apt-get", "sudo apt-get install --yes", "sudo apt-get remove --yes", [...]string{"pcscd", "dbus dbus-user-session", "pinentry-gtk2", "tpm2-tools"}},
		{"/usr/bin/dnf", "sudo dnf install --assumeyes", "sudo dnf remove --assumeyes", [...]string{"pcsc-lite", "dbus", "pinentry-gtk", "tpm2-tools"}},
		{"/usr/bin/zypper", "sudo zypper --non-interactive install", "sudo zypper --non-interactive remove", [...]string{"pcsc-lite", "dbus-1", "pinentry-gtk2", "tpm2.0-tools"}},
		{"/usr/bin/pacman", "sudo pacman --sync --noconfirm", "sudo pacman --remove --noconfirm", [...]string{"pcsclite", "dbus", "pinentry", "tpm2-tools"}},
		{"/sbin/apk", "sudo apk add", "sudo apk del", [...]string{"pcsc-lite", "dbus", "pinentry-gtk", "tpm2-tools"}},
	}
}

// Install is the command that installs a part on this computer, or "" where it is
// not known how that is done.
func Install(p Part) string {
	for _, m := range managers() {
		if Exists(m.program) {
			return m.install + " " + m.names[p]
		}
	}
	return ""
}

// Remove is the command that removes a package of this computer, whose configuration
// stays, or the package's name where it is not known how that is done.
func Remove(name string) string {
	for _, m := range managers() {
		if Exists(m.program) {
			return m.remove + " " + Words(name)
		}
	}
	return name
}

// Enable is the command that starts a unit now and at each boot.
func Enable(unit string) string { return "sudo systemctl enable --now " + unit }

// Restart is the command that starts a unit again.
func Restart(unit string) string { return "sudo systemctl restart " + unit }

// Then is one command after another, each if those before it succeeded.
func Then(commands ...string) string { return strings.Join(commands, " && ") }

// Words writes a command's words as a shell takes them, each as it is: names of files
// and of people may hold what a shell would act on.
func Words(words ...string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=/.,:@+"
	quoted := make([]string, 0, len(words))
	for _, w := range words {
		if w == "" || strings.Trim(w, plain) != "" {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		quoted = append(quoted, w)
	}
	return strings.Join(quoted, " ")
}

// Exists reports whether one of the files is there.
func Exists(paths ...string) bool {
	for _, p := range paths {
		if _, err := os.Stat(p); err == nil {
			return true
		}
	}
	return false
}
