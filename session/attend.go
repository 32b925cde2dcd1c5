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
	id string
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
func (l *loop) attend(ctx, asking context.Context, id string) outcome {
	o := l.converse(ctx, asking, id)
	o.id = id
	return o
}

func (l *loop) converse(ctx, asking context.Context, id string) outcome {
	q := prompt.Question{Text: l.Text}
	for again := false; ; again = true {
		a, o := l.ask(ctx, asking, id, &q, again)
		if o != nil {
			return *o
		}
		r, err := l.Service.Decide(ctx, id, a)
		a.PIN.Wipe()
		refused, ok := errors.AsType[*ipc.Error](err)
		if !ok || !prompt.Retryable(refused) || asking.Err() != nil {
			return outcome{decided: true, result: r, err: err}
		}
		l.Log.Info("the answer was refused, asking again", "request", id, "code", refused.Code)
		q.Refused, q.Number = refused, a.Number
	}
}

// ask shows one prompt when it is its turn. An outcome, unless nil, is the end.
func (l *loop) ask(ctx, asking context.Context, id string, q *prompt.Question, again bool) (ipc.Answer, *outcome) {
	select {
	case <-asking.Done():
		return ipc.Answer{}, &outcome{}
	case l.turn <- struct{}{}:
	}
	defer func() { <-l.turn }()
	if again {
		l.report(ctx, phase{id, true})
	}
	d, err := l.Service.Show(asking, id, l.View)
	if err != nil {
		return ipc.Answer{}, l.unanswered(asking, err)
	}
	// What it takes may be more by now, and fewer tries are left.
	*q = q.Again(d, q.Refused, q.Number)
	a, err := l.Prompter.Ask(asking, *q)
	if err != nil {
		return ipc.Answer{}, l.unanswered(asking, err)
	}
	l.report(ctx, phase{id, false})
	return a, nil
}

func (l *loop) report(ctx context.Context, p phase) {
	select {
	case <-ctx.Done():
	case l.phase <- p:
	}
}

// unanswered is the outcome without a decision; err stays when it is worth
// telling.
func (s *Session) unanswered(asking context.Context, err error) *outcome {
	if noAnswer(err) || asking.Err() != nil {
		return &outcome{}
	}
	return &outcome{err: err}
}
