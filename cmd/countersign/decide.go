package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"countersign/internal/mend"
	"countersign/internal/secret"
	"countersign/ipc"
	"countersign/session"
	"countersign/session/prompt"
	"countersign/session/text"
)

// codeUnconfirmed is said of a decision that is safe on disk and has no
// receipt yet.
const codeUnconfirmed = "not_confirmed"

// codeNoAnswer is said where a person was asked and answered nothing.
const codeNoAnswer = "no_answer"

func (a *app) approveCommand() *cobra.Command {
	var number string
	var pinStdin bool
	cmd := &cobra.Command{
		Use: "approve ID", Short: "Approve a request", Args: usage(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeRequest,
		Long: "Approve shows what is approved, asks on the terminal for the number and the PIN\n" +
			"where they are needed and not given, and waits for the server to confirm.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.approve(cmd.Context(), args[0], number, pinStdin)
		},
	}
	cmd.Flags().StringVar(&number, "number", "", "the `number` that the relying party shows")
	cmd.Flags().BoolVar(&pinStdin, "pin-stdin", false, "read the PIN from a line on standard input")
	return cmd
}

func (a *app) denyCommand() *cobra.Command {
	var notMe bool
	cmd := &cobra.Command{
		Use: "deny ID", Short: "Deny a request", Args: usage(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeRequest,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.service().Show(cmd.Context(), args[0], session.Here())
			if err != nil {
				return err
			}
			ans := a.answer(d)
			ans.Decision, ans.Reason = ipc.Deny, ipc.Cancelled
			if notMe {
				ans.Reason = ipc.NotMe
			}
			return a.decide(cmd.Context(), d, ans, "denied")
		},
	}
	cmd.Flags().BoolVar(&notMe, "not-me", false, "say that you did not start this")
	return cmd
}

// answer is an answer about exactly what d shows.
func (a *app) answer(d ipc.Display) ipc.Answer {
	ans := ipc.Answer{RequestHash: d.RequestHash, DisplayHash: d.DisplayHash, Language: d.Language, TimeZone: d.TimeZone, Surface: ipc.SurfaceCLI}
	if a.onTerminal() {
		ans.Surface = ipc.SurfaceTTY
	}
	return ans
}

func (a *app) approve(ctx context.Context, id, number string, pinStdin bool) error {
	d, err := a.service().Show(ctx, id, session.Here())
	if err != nil {
		return err
	}
	// With --json standard output belongs to the document.
	show := a.out
	if a.json {
		show = a.err
	}
	if err := prompt.Lines(show, d, 0); err != nil {
		return err
	}
	ans := a.answer(d)
	ans.Decision, ans.Number = ipc.Approve, number
	if pinStdin {
		if ans.PIN, err = a.readLine(); err != nil {
			return err
		}
	}
	defer func() { ans.PIN.Wipe() }()
	if d.Status == "pending" {
		if ans.Number, ans.PIN, err = a.complete(ctx, d, ans); err != nil {
			return err
		}
	}
	return a.decide(ctx, d, ans, "approved")
}

// complete asks on the terminal for what the request takes and the call did
// not bring.
func (a *app) complete(ctx context.Context, d ipc.Display, ans ipc.Answer) (number string, pin secret.Value, err error) {
	number, pin = ans.Number, ans.PIN
	needNumber, needPIN := d.NumberDigits > 0 && number == "", (d.PINNeeded || d.Verify != "" && a.onTerminal()) && pin.Empty()
	if !needNumber && !needPIN {
		return number, pin, nil
	}
	tty, err := a.ask("approving this takes the number (--number) and, if it asks for one, the PIN (--pin-stdin): there is no terminal to ask on")
	if err != nil {
		return number, pin, err
	}
	defer tty.Close()
	q := prompt.Question{Display: d, Text: text.In(d.Language)}
	if needNumber {
		if number, err = prompt.ReadNumber(ctx, tty, q); err != nil {
			return number, pin, noAnswer(err)
		}
	}
	if needPIN {
		if pin, err = prompt.ReadPINFor(ctx, tty, q); err != nil {
			return number, pin, noAnswer(err)
		}
	}
	return number, pin, nil
}

// decide hands the answer in. Only a confirmed status that is the one asked
// for is a success.
func (a *app) decide(ctx context.Context, d ipc.Display, ans ipc.Answer, want string) error {
	stop := a.relayTouch(ctx, func(e ipc.Event) bool { return e.Request != nil && e.Request.ID == d.ID })
	r, err := a.service().Decide(ctx, d.ID, ans)
	stop()
	if e, ok := errors.AsType[*ipc.Error](err); ok && e.Status != "" {
		return &outcomeError{ipc.Result{ID: d.ID, Decision: ans.Decision, Reason: ans.Reason, Status: e.Status}, e}
	}
	if err != nil {
		return err
	}
	if !r.Confirmed {
		return &outcomeError{r, ipc.Errorf(codeUnconfirmed, "wait: countersign requests --all shows what becomes of it", "the decision is stored and goes on being delivered; the server has not confirmed it yet")}
	}
	if r.Status != want {
		return &outcomeError{r, ipc.Errorf(ipc.CodeNotDecidable, "", "the request is %s", r.Status)}
	}
	return a.print(r, func() {
		a.say("Sent to %s: %s.", d.Client.Name, r.Status)
		if r.Reason == ipc.NotMe {
			a.say("It may not ask you any more, until you say: %s", mend.Words("countersign", "unblock", d.Client.ID))
		}
	})
}
