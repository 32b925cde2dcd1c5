package main

import (
	"context"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"countersign/installer"
	"countersign/internal/mend"
	"countersign/ipc"
	"countersign/session/notify"
	"countersign/session/prompt"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Find what is missing, and say what mends it", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context()) },
	}
}

func (a *app) doctor(ctx context.Context) error {
	checks := append(a.checkService(ctx), checkDesktop()...)
	checks = append(checks, checkPictures(ctx))
	err := a.print(report{checks, a.inventory(ctx)}, func() {
		for _, c := range checks {
			a.say("%-4s  %-8s  %s", c.Status, c.Code, c.Detail)
			if c.Cure != "" {
				label := "mend it"
				if c.Status == ipc.CheckOK {
					label = "if need be"
				}
				a.say("                %s: %s", label, c.Cure)
			}
		}
	})
	if err != nil {
		return err
	}
	if slices.ContainsFunc(checks, func(c ipc.Check) bool { return c.Status == "fail" }) {
		return silent(ipc.Errorf("doctor", "", "something is missing"))
	}
	return nil
}

// report is what doctor prints for programs: the checks, and what an inventory
// wants to know beside them, where the service answers.
type report struct {
	Checks []ipc.Check `json:"checks"`
	*ipc.Inventory
}

// inventory is nil where the service does not answer, or is older than this; the
// checks say so.
func (a *app) inventory(ctx context.Context) *ipc.Inventory {
	i, err := a.service().Inventory(ctx)
	if err != nil {
		return nil
	}
	return &i
}

func (a *app) checkService(ctx context.Context) []ipc.Check {
	checks, err := a.service().Doctor(ctx)
	if err != nil {
		return a.checkInstallation(ctx, ipc.AsError(err))
	}
	ok := ipc.Check{Code: "service", Status: "ok", Detail: "countersignd answers at " + a.socketPath()}
	return append([]ipc.Check{ok}, checks...)
}

// checkInstallation finds out why the service does not answer, as far as the init
// system knows.
func (a *app) checkInstallation(ctx context.Context, e *ipc.Error) (checks []ipc.Check) {
	f := &serviceFlags{user: a.socketPath() == ipc.UserSocket()}
	err := a.withInstaller(f, false, func(i *installer.Installer) error {
		standing, err := i.Status(ctx)
		if err != nil {
			return err
		}
		for _, p := range standing.Problems {
			c := ipc.Check{Code: "service", Status: "fail", Detail: e.Message + ": " + p.Text}
			checks = append(checks, c.Mended("as an administrator", p.Cure))
		}
		return nil
	})
	if err != nil || len(checks) == 0 || a.socketPath() != ipc.SystemSocket && !f.user {
		return []ipc.Check{{Code: "service", Status: "fail", Detail: e.Message, Cure: e.Cure}}
	}
	return checks
}

// checkDesktop looks at what prompts need. Without them approvals go by
// terminal, so nothing here is a failure.
func checkDesktop() []ipc.Check {
	display := ipc.Check{Code: "display", Status: "ok", Detail: "there is a display"}
	if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		display = ipc.Check{Code: "display", Status: "warn", Detail: "there is no display: prompts are on the terminal", Cure: "log in to a desktop, or use: countersign session --prompt terminal"}
	}
	bus := ipc.Check{Code: "bus", Status: "ok", Detail: "there is a session bus"}
	if notify.Address() == "" {
		bus = ipc.Check{Code: "bus", Status: "warn", Detail: "there is no session bus: no notifications"}.Mended("log in to a desktop, or install it", mend.Install(mend.DBus))
	}
	pinentry := ipc.Check{Code: "pinentry", Status: "ok"}
	program, err := prompt.FindPinentry()
	pinentry.Detail = program
	if err != nil {
		pinentry = ipc.Check{Code: "pinentry", Status: "warn", Detail: err.Error()}.Mended("install one", mend.Install(mend.Pinentry))
	}
	return []ipc.Check{display, bus, pinentry}
}
