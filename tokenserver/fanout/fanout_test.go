package fanout_test

import (
	"testing"

	"countersign/tokenserver/fanout"
)

func woken(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestPublish(t *testing.T) {
	h := fanout.New()
	a, cancelA := h.Subscribe("a")
	a2, cancelA2 := h.Subscribe("a")
	b, cancelB := h.Subscribe("b")
	defer cancelB()

	h.Publish("a")
	h.Publish("a", "nobody's")
	if !woken(a) || !woken(a2) || woken(b) {
		t.Error("not exactly the subscribers of the topic are woken")
	}
	if woken(a) {
		t.Error("two wake-ups do not become one")
	}
	h.PublishAll()
	if !woken(a) || !woken(a2) || !woken(b) {
		t.Error("not everybody is woken")
	}
	cancelA()
	h.Publish("a")
	if woken(a) || !woken(a2) {
		t.Error("who has left is woken, or who has not is not")
	}
	cancelA2()
}
