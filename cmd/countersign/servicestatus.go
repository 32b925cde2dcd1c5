package main

import (
	"context"

	"countersign/installer"
	"countersign/internal/mend"
	"countersign/ipc"
)

// serviceReport is how the service stands: what the init system says, and what
// the service says itself.
type serviceReport struct {
	*installer.Standing

	Socket socketReport `json:"socket"`
	// Running is the version that answers, and RestartNeeded that another one is
	// installed by now.
	Running       string   `json:"version_running"`
	RestartNeeded bool     `json:"restart_needed"`
	Degraded      []string `json:"degraded"`
}

type socketReport struct {
	Path    string `json:"path"`
	Answers bool   `json:"answers"`
}

func (a *app) serviceStatus(ctx context.Context, f *serviceFlags) error {
	return a.withInstaller(f, false, func(i *installer.Installer) error {
		standing, err := i.Status(ctx)
		if err != nil {
			return err
		}
		r := &serviceReport{Standing: standing, Degraded: []string{}, Socket: socketReport{Path: a.serviceSocket(f)}}
		unreachable := a.askService(ctx, i, r)
		if err := a.print(r, func() { a.sayStanding(r) }); err != nil {
			return err
		}
		switch {
		case r.State == "not installed" && !r.Socket.Answers:
			return silent(ipc.Errorf(installer.CodeNotInstalled, "", "the service is not installed"))
		case unreachable != nil:
			return silent(unreachable)
		}
		return nil
	})
}

// serviceSocket is the socket of the service that is asked for.
func (a *app) serviceSocket(f *serviceFlags) string {
	switch {
	case a.socket != "":
		return a.socket
	case f.user:
		return ipc.UserSocket()
	}
	return ipc.SystemSocket
}

// askService adds what the service says. A service that is not there is not
// asked, since asking would start it by its socket.
func (a *app) askService(ctx context.Context, i *installer.Installer, r *serviceReport) error {
	if r.State == "stopped" || r.State == "failed" {
		return ipc.Errorf(ipc.CodeUnreachable, "", "the service does not run")
	}
	status, err := ipc.Dial(r.Socket.Path).Status(ctx)
	if err != nil {
		if r.State == "running" {
			e := ipc.AsError(err)
			r.Problems = append(r.Problems, installer.Problem{Code: e.Code, Text: e.Message, Cure: e.Cure})
		}
		return err
	}
	r.Socket.Answers, r.Running = true, status.Version
	r.Degraded = append(r.Degraded, status.Degraded...)
	if r.Installed != "" && r.Installed != r.Running {
		r.RestartNeeded = true
		r.Problems = append(r.Problems, installer.Problem{
			Code: "restart_needed", Text: "version " + r.Running + " still runs, and " + r.Installed + " is installed", Cure: mend.Then(i.Command("stop"), i.Command("start")),
		})
	}
	return nil
}

func (a *app) sayStanding(r *serviceReport) {
	a.say("service    %s (%s, %s)", r.State, r.Mode, r.Init)
	if r.By != "" {
		a.say("installed  by %s, version %s", r.By, orUnknown(r.Installed))
	}
	if r.Socket.Answers {
		a.say("running    version %s, answers at %s", r.Running, r.Socket.Path)
	}
	for _, u := range r.Units {
		if u.Load != "not-found" {
			a.say("unit       %s: %s (%s), %s", u.Name, u.Active, u.Sub, orUnknown(u.Enabled))
		}
	}
	for _, d := range r.Degraded {
		a.say("degraded   %s", d)
	}
	for _, p := range r.Problems {
		a.say("problem    %s", p.Text)
		if p.Cure != "" {
			a.say("           mend it: %s", p.Cure)
		}
	}
	if len(r.Degraded) > 0 {
		a.say("           to see what mends it: countersign doctor")
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
