package session

import (
	"context"
	"errors"

	"countersign/ipc"
	"countersign/session/prompt"
)

// outcome is how a prompt ended: with an answer that was handed in, an error,
// or nothing.
type outcome struct {
	// decided says that an answer went to the service; err is then its
	// refusal.
	decided bool
	result  ipc.Result
	err     error
}

// attend asks about one request until there is an answer that the service
// takes, or none. A number or a PIN mistyped is asked for again; nothing is
// sent again without a person's typing. The end of asking takes the prompt
// away, but what was answered before is still handed in.
func (s *Session) attend(ctx, asking context.Context, id string) outcome {
	d, err := s.Service.Show(asking, id, s.View)
	if err != nil {
		return s.unanswered(asking, err)
	}
	q := prompt.Question{Display: d, Text: s.Text}
	for {
		a, err := s.Prompter.Ask(asking, q)
		if err != nil {
			return s.unanswered(asking, err)
		}
		r, err := s.Service.Decide(ctx, id, a)
		a.PIN.Wipe()
		refused, ok := errors.AsType[*ipc.Error](err)
		if !ok || !prompt.Retryable(refused) || asking.Err() != nil {
			return outcome{decided: true, result: r, err: err}
		}
		s.Log.Info("the answer was refused, asking again", "request", id, "code", refused.Code)
		// What it takes may be more by now, and fewer tries are left.
		again, err := s.Service.Show(asking, id, s.View)
		if err != nil {
			return s.unanswered(asking, err)
		}
		q = q.Again(again, refused, a.Number)
	}
}

// unanswered is the outcome without a decision; err stays when it is worth
// telling.
func (s *Session) unanswered(asking context.Context, err error) outcome {
	if noAnswer(err) || asking.Err() != nil {
		return outcome{}
	}
	return outcome{err: err}
}
