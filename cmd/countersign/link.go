package main

import (
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"countersign/ipc"
	"countersign/session/desktop"
)

func (a *app) linkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "link", Short: "Have the desktop open countersign: links", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "install", Short: "Open countersign: links with this program", Args: usage(cobra.NoArgs),
			Long: "Install puts a desktop entry into your home and makes it your choice for countersign:\n" +
				"links. Other choices of yours stay. Packages do the same for everybody.",
			RunE: func(*cobra.Command, []string) error { return a.link(true) },
		},
		&cobra.Command{
			Use: "uninstall", Short: "Undo install", Args: usage(cobra.NoArgs),
			RunE: func(*cobra.Command, []string) error { return a.link(false) },
		},
	)
	return cmd
}

func (a *app) link(install bool) error {
	home, err := desktop.HomeDirs()
	if err == nil && install {
		err = home.Install(ownPath())
	} else if err == nil {
		err = home.Uninstall()
	}
	if err != nil {
		return ipc.Errorf("link_failed", "check HOME, and whether the directory can be written", "the desktop's settings were not changed: %v", err)
	}
	return a.print(map[string]any{"installed": install, "entry": home.EntryPath()}, func() {
		if install {
			a.say("countersign: links are opened by this program (%s).", home.EntryPath())
		} else {
			a.say("countersign: links are not opened by this program any more.")
		}
	})
}

// ownPath is where this program is, "" where PATH leads to it.
func ownPath() string {
	own, err := os.Executable()
	if err != nil {
		return ""
	}
	found, err := exec.LookPath("countersign")
	if err == nil && same(own, found) {
		return ""
	}
	return own
}

func same(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
