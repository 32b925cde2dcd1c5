package session_test

import (
	"testing"

	"countersign/internal/testenv"
	"countersign/ipc"
)

// two are a request and a later one that can be told apart.
func two(svc *service) {
	first, second := request("t1"), request("t2")
	second.Account = "second@bank.example"
	second.ReceivedAt = first.ReceivedAt.Add(1)
	svc.add(first)
	svc.add(second)
}

func TestPutOffLetsTheNextComeFirst(t *testing.T) {
	d, svc := desktop(t)
	two(svc)
	waitTold(t, d, "2 approval requests")
	for _, account := range []string{"alice@", "second@", "alice@"} {
		open(d)
		d.WaitWindow(account)
		d.XdoKey("Escape")
		d.WaitNoWindow("Countersign")
	}
	third := request("t3") // and now the oldest is first again
	third.Account = "third@bank.example"
	svc.add(third)
	waitTold(t, d, "3 approval requests")
	open(d)
	d.WaitWindow("alice@")
}

// TestADecisionUnderWayBlocksNothing has the chip take its time with one.
func TestADecisionUnderWayBlocksNothing(t *testing.T) {
	d, svc := desktop(t)
	svc.hold = make(chan struct{})
	two(svc)
	waitTold(t, d, "2 approval requests")
	open(d)
	d.WaitWindow("alice@")
	approvePage(d)
	typeIn(d, "Countersign number", "42")
	typeIn(d, "Countersign PIN", "123456")
	d.WaitNoWindow("Countersign")
	open(d)
	d.WaitWindow("second@")
	deny(d)
	if got := svc.waitAnswers(1)[0]; got.RequestHash != "req-t2" {
		t.Errorf("answer %+v", got)
	}
	close(svc.hold)
	if got := svc.waitAnswers(2)[1]; got.RequestHash != "req-t1" || got.Decision != ipc.Approve {
		t.Errorf("answer %+v", got)
	}
	testenv.Eventually(t, "nothing waits", func() bool { return len(svc.pending()) == 0 })
	waitTold(t, d, "Sent to Test Bank: approved")
}

func TestWaitingForAFingerIsTold(t *testing.T) {
	d, svc := desktop(t)
	svc.mu.Lock()
	r := request("t1").Request
	svc.emit(ipc.Event{Kind: ipc.EventVerify, Request: &r, Hint: "place_finger"})
	svc.mu.Unlock()
	waitTold(t, d, "Place your finger on the reader.")
}
