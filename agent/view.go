package agent

import (
	"cmp"

	"countersign/ipc"
	"countersign/protocol"
)

// language is the one that display records are rendered in where nobody asks
// for another.
const language = "en"

// view fills in what the caller left open.
func (a *Agent) view(v ipc.View) ipc.View {
	return ipc.View{Language: cmp.Or(v.Language, language), TimeZone: cmp.Or(v.TimeZone, a.cfg.TimeZone)}
}

// render makes the display record of a request. What the caller asks for and
// no record can be made with is the caller's mistake.
func render(it *item, v ipc.View) (protocol.Record, error) {
	record, err := protocol.Display(it.req, protocol.DisplayVersion, v.Language, v.TimeZone)
	if err != nil {
		return nil, ipc.Errorf(ipc.CodeBadRequest, "", "the request cannot be shown in this language and time zone")
	}
	return record, nil
}

// floor is the least class that approving a request takes here. It is never
// below the server's: local policy and what was asked of late only raise it.
func (a *Agent) floor(it *item) protocol.Class {
	class := max(it.req.Class, a.cfg.Policy.ClassFloor, a.attention.floor(it.uid))
	if class > protocol.C0 && it.req.Digits() == 0 {
		return max(class, protocol.C2) // there is no number to type: the PIN it is
	}
	return class
}
