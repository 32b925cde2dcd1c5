package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"countersign/installer"
	"countersign/internal/mend"
	"countersign/ipc"
	"countersign/session/desktop"
)

// serviceFlags are what the words of "countersign service" have in common.
type serviceFlags struct {
	user, dryRun, purge bool
	root                string
}

const serviceLong = `Install countersignd, the service that keeps the keys, where no package has done so; start and
stop it, and say how it stands. With a package, install and uninstall refuse and name it.

The two programs, countersign and countersignd, are taken from the directory that this one is
started from. Without --user the service is the system's, which takes an administrator:

  sudo ./countersign service install --dry-run     what it would do, step by step
  sudo ./countersign service install
  countersign service status`

// serviceLongs are of its words, where one line does not say it.
func serviceLongs() map[string]string {
	return map[string]string{
		"install": `Copy the programs, make the service's user, define the service and its socket, and start it. Done
again from the directory of another version it upgrades in place; interrupted, it is done again.
Files that somebody changed stay, and the new ones are put beside them with .new at the end.`,
		"uninstall": `Undo what install did, by its record. It asks whether the keys go too: only "yes" is a yes, and
without a terminal they stay. Servers are not told: countersign unenroll does that, before.`,
		"status": `Show how the service stands: what the init system says, and what the service says itself.
Exit status 0 where it answers, 3 where it is not installed, 4 where it does not answer.`,
	}
}

func (a *app) serviceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "service", Short: "Install, start and look after the service on this computer", Long: serviceLong, Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f := &serviceFlags{}
	word := func(use, short string, run func(context.Context, *serviceFlags) error) *cobra.Command {
		c := &cobra.Command{
			Use: use, Short: short, Long: serviceLongs()[use], Args: usage(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), f) },
		}
		c.Flags().BoolVar(&f.user, "user", false, "the service of this user alone, without an administrator")
		cmd.AddCommand(c)
		return c
	}
	install := word("install", "Install the service, or upgrade it in place", a.serviceInstall)
	uninstall := word("uninstall", "Take the service away again", a.serviceUninstall)
	for _, c := range []*cobra.Command{install, uninstall} {
		c.Flags().BoolVar(&f.dryRun, "dry-run", false, "print what would be done, and do nothing")
		c.Flags().StringVar(&f.root, "root", "", "the `directory` of an image's file system instead of this computer's")
	}
	uninstall.Flags().BoolVar(&f.purge, "purge", false, "delete the keys and all else that the service stored, without a question")
	word("start", "Start the service", a.serviceStart)
	word("stop", "Stop the service", a.serviceStop)
	word("status", "Show how the service stands, and what is missing", a.serviceStatus)
	return cmd
}

func (a *app) serviceInstall(ctx context.Context, f *serviceFlags) error {
	return a.withInstaller(f, !f.dryRun, func(i *installer.Installer) error {
		plan, err := i.PlanInstall(ctx)
		if err != nil {
			return err
		}
		return a.carryOut(ctx, f, i, plan)
	})
}

func (a *app) serviceUninstall(ctx context.Context, f *serviceFlags) error {
	return a.withInstaller(f, !f.dryRun, func(i *installer.Installer) error {
		plan, err := i.PlanUninstall(ctx, f.purge)
		if err != nil {
			return err // before anybody is asked anything
		}
		if dir := i.StateDirectory(ctx); !f.purge && !f.dryRun && !a.json && dir != "" && a.onTerminal() {
			purge, err := a.confirmPurge(dir)
			if err == nil {
				plan, err = i.PlanUninstall(ctx, purge)
			}
			if err != nil {
				return err
			}
		}
		return a.carryOut(ctx, f, i, plan)
	})
}

// confirmPurge asks whether the keys go too. Only "yes" is a yes.
func (a *app) confirmPurge(dir string) (bool, error) {
	fmt.Fprintf(a.err, "%s holds the profiles, and what opens their keys. Nothing brings them back, and servers\n"+
		"go on listing this computer: countersign unenroll tells them first.\n"+
		"Delete them too? Write yes to delete, anything else to keep them: ", dir)
	line, err := a.readLine()
	if err != nil {
		return false, err
	}
	return strings.TrimSpace(string(line.Reveal())) == "yes", nil
}

func (a *app) serviceStart(ctx context.Context, f *serviceFlags) error {
	return a.withInstaller(f, true, func(i *installer.Installer) error {
		if err := i.Start(ctx); err != nil {
			return err
		}
		return a.print(map[string]any{"state": "running"}, func() { a.say("started") })
	})
}

func (a *app) serviceStop(ctx context.Context, f *serviceFlags) error {
	return a.withInstaller(f, true, func(i *installer.Installer) error {
		if err := i.Stop(ctx); err != nil {
			return err
		}
		return a.print(map[string]any{"state": "stopped"}, func() { a.say("stopped") })
	})
}

// withInstaller opens the place to install to. Whoever changes something must be
// who it belongs to.
func (a *app) withInstaller(f *serviceFlags, changes bool, do func(*installer.Installer) error) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return err
	}
	if changes {
		if err := rightUser(f.user, program); err != nil {
			return err
		}
	}
	o := installer.Options{User: f.user, Root: f.root, Programs: filepath.Dir(program)}
	if f.user {
		if o.Home, err = userHome(); err != nil {
			return err
		}
	}
	i, err := installer.New(o)
	if err == nil {
		err = errors.Join(do(i), i.Close())
	}
	if refused, ok := errors.AsType[*installer.Error](err); ok {
		return ipc.Errorf(refused.Code, refused.Cure, "%s", refused.Message)
	}
	return err
}

// rightUser refuses root for a user's service, and others for the system's.
func rightUser(user bool, program string) error {
	command := os.Args[1:]
	switch root := os.Geteuid() == 0; {
	case user && root && os.Getenv("SUDO_UID") != "":
		return ipc.Errorf(codeNeedsUser, mend.Words(append([]string{program}, command...)...), "this is root, whose service you do not mean: a user's own takes no sudo")
	case !user && !root:
		return ipc.Errorf(installer.CodeNeedsRoot, mend.Words(append([]string{"sudo", program}, command...)...), "the service of the system is root's to change")
	}
	return nil
}

// codeNeedsUser is answered to root who asks for a user's own service.
const codeNeedsUser = "needs_user"

// userHome says where a user's programs, configuration and state are.
func userHome() (installer.Home, error) {
	xdg, err := desktop.HomeDirs()
	if err != nil {
		return installer.Home{}, err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return installer.Home{}, err
	}
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		state = filepath.Join(home, ".local", "state")
	}
	return installer.Home{Bin: filepath.Join(home, ".local", "bin"), Config: filepath.Clean(xdg.Config), State: filepath.Clean(state)}, nil
}

// carryOut prints the plan, or applies it and says what goes on.
func (a *app) carryOut(ctx context.Context, f *serviceFlags, i *installer.Installer, plan *installer.Plan) error {
	if f.dryRun {
		return a.print(plan, func() { a.sayPlan(plan) })
	}
	err := i.Apply(ctx, plan, func(n, of int, s installer.Step) {
		fmt.Fprintf(a.err, "[%d/%d] %s\n", n, of, s)
	})
	if err != nil {
		return err
	}
	return a.print(plan, func() {
		a.sayKept(plan)
		a.sayNotes(plan)
		a.say("%s: done", plan.Action)
	})
}

// sayPlan prints a plan: what is done with a plus, what is so already with an
// equals sign, what somebody has changed with an exclamation mark.
func (a *app) sayPlan(plan *installer.Plan) {
	a.say("%s of Countersign %s: the service of the %s, for %s, in %s", plan.Action, plan.Version, plan.Mode, plan.Init, plan.Root)
	mark := map[installer.State]string{installer.Needed: "+", installer.Done: "=", installer.Kept: "!", installer.Others: "-"}
	for _, item := range plan.Steps {
		a.say("  %s %s", mark[item.State], item.Text)
	}
	a.sayKept(plan)
	a.sayNotes(plan)
}

func (a *app) sayKept(plan *installer.Plan) {
	for _, item := range plan.Steps {
		switch {
		case item.State == installer.Others:
			a.say("kept: %s: it belongs to a package by now", item.Text)
		case item.State == installer.Kept && plan.Action == "uninstall":
			a.say("kept: %s: somebody changed it since it was installed", item.Text)
		case item.State == installer.Kept:
			a.say("kept: somebody changed it since it was installed, the new version has .new at its end: %s", item.Text)
		}
	}
}

func (a *app) sayNotes(plan *installer.Plan) {
	for _, text := range plan.Missing {
		a.say("missing with %s: %s", plan.Init, text)
	}
	for _, n := range plan.Notes {
		a.say("note: %s", n.Text)
		if n.Cure != "" {
			a.say("      %s", n.Cure)
		}
	}
}
