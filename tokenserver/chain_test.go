package tokenserver_test

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/servertest"
	"countersign/tokenserver/store"
)

// recorded are the events of a device, in order.
func recorded(t *testing.T, s *servertest.Server, device string) (out []string) {
	t.Helper()
	events, err := s.Office.Events(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Device == device {
			out = append(out, e.Kind)
		}
	}
	return out
}

func has(list []string, kind string) bool { return slices.Contains(list, kind) }

// TestTwoCopiesOfADeviceAreSuspended lets two devices with one state go on from
// it apart.
func TestTwoCopiesOfADeviceAreSuspended(t *testing.T) {
	for name, second := range map[string]string{"over by then": "first", "still pending": "second"} {
		t.Run(name, func(t *testing.T) {
			s, bank, d := scene(t)
			d.decide(bank.start("confirm", "alice").ID, protocol.Deny, "").want(t, http.StatusOK)
			txs := map[string]transaction{"first": bank.start("confirm", "alice"), "second": bank.start("confirm", "alice")}
			clone := *d
			compact, r := d.request(txs[second].ID)
			copied := clone.sign(clone.decision(compact, r, protocol.Approve, txs[second].Number))
			first := d.decide(txs["first"].ID, protocol.Deny, "").want(t, http.StatusOK)

			parked := d.parked(protocol.PathRequests, "Prefer", "wait=30", "If-None-Match", d.get(protocol.PathRequests).header.Get("ETag"))
			clone.send(txs[second].ID, copied).refused(t, http.StatusForbidden, protocol.ProblemSuspended)
			// Each copy hears of it, also the one that waits.
			await(t, parked).refused(t, http.StatusForbidden, protocol.ProblemSuspended)
			clone.get(protocol.PathRequests).refused(t, http.StatusForbidden, protocol.ProblemSuspended)
			var st protocol.EnrollmentState
			d.get(protocol.PathEnrollment).want(t, http.StatusOK).decode(t, &st)
			if st.State != protocol.EnrollmentSuspended || st.Reason != store.SuspendedForked {
				t.Errorf("the device reads %+v", st)
			}
			if got := recorded(t, s, d.enrolled.Device); !has(got, "device.suspended") || !has(got, "decision.forked") {
				t.Errorf("recorded: %q", got)
			}
			if got := bank.read(txs["second"].ID); got.Status != protocol.StatePending {
				t.Errorf("the other transaction is %s", got.Status)
			}
			bank.post("/v1/transactions", map[string]any{"type": "confirm", "user": "alice", "message": "m"}).
				refused(t, http.StatusUnprocessableEntity, "no_device")
			// What had its answer has it still.
			if again := d.send(txs["first"].ID, d.last); again.status != http.StatusOK || string(again.body) != string(first.body) {
				t.Errorf("answered %d %s", again.status, again.body)
			}
		})
	}
}

func TestSuspendedUntilResumed(t *testing.T) {
	s, bank, d := scene(t)
	tx := bank.start("confirm", "alice")
	compact, r := d.request(tx.ID)
	sent := d.sign(d.decision(compact, r, protocol.Deny, ""))
	for range 2 {
		if _, err := s.Desk.Suspend(t.Context(), d.enrolled.Device); err != nil {
			t.Fatal(err)
		}
	}
	d.send(tx.ID, sent).refused(t, http.StatusForbidden, protocol.ProblemSuspended)
	if _, err := s.Desk.Resume(t.Context(), d.enrolled.Device); err != nil {
		t.Fatal(err)
	}
	d.send(tx.ID, sent).want(t, http.StatusOK)
	if got := recorded(t, s, d.enrolled.Device); has(got, "decision.forked") || has(got, "decision.gap") {
		t.Errorf("recorded: %q", got)
	}
	if _, err := s.Desk.Suspend(t.Context(), "d_x"); err == nil {
		t.Error("a device that is not there is suspended")
	}
}

// TestAnHonestDeviceNeverLooksLikeTwo sends what an honest device does, over a
// link that loses answers and after restarts of the server: decisions made
// before any is answered, sent again, refused, wrong, and by both of its keys.
func TestAnHonestDeviceNeverLooksLikeTwo(t *testing.T) {
	for seed := range uint64(6) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			s, bank, d := scene(t)
			rng := rand.New(rand.NewPCG(seed, 1))
			type queued struct{ id, compact string }
			var outbox []queued
			for range 40 {
				tx := bank.start([]string{"login", "confirm"}[rng.IntN(2)], "alice")
				compact, r := d.request(tx.ID)
				number := tx.Number
				if rng.IntN(4) == 0 {
					number = other(number)
				}
				verb := []string{protocol.Approve, protocol.Deny}[rng.IntN(2)]
				outbox = append(outbox, queued{tx.ID, d.sign(d.decision(compact, r, verb, number))})
				if rng.IntN(5) == 0 {
					bank.post("/v1/transactions/"+tx.ID+"/cancel", nil).want(t, http.StatusOK)
				}
				for len(outbox) > 0 && rng.IntN(3) > 0 {
					a := d.send(outbox[0].id, outbox[0].compact)
					if rng.IntN(3) == 0 {
						continue // the answer was lost: the same bytes again
					}
					if a.status == http.StatusForbidden {
						t.Fatalf("seed %d: %s", seed, a.body)
					}
					outbox = outbox[1:]
				}
				if rng.IntN(15) == 0 {
					s.Restart()
				}
			}
			if got := recorded(t, s, d.enrolled.Device); has(got, "device.suspended") || has(got, "decision.gap") {
				t.Errorf("seed %d: recorded %q", seed, got)
			}
		})
	}
}

func TestALostDecisionIsAGapAndNoMore(t *testing.T) {
	s, bank, d := scene(t)
	lost := bank.start("confirm", "alice")
	compact, r := d.request(lost.ID)
	d.sign(d.decision(compact, r, protocol.Deny, ""))
	d.decide(bank.start("confirm", "alice").ID, protocol.Deny, "").want(t, http.StatusOK)
	if got := recorded(t, s, d.enrolled.Device); !has(got, "decision.gap") || has(got, "device.suspended") {
		t.Errorf("recorded: %q", got)
	}
}

func TestNotMeBlocksUntilItIsLifted(t *testing.T) {
	s, bank, d := scene(t)
	theirs := newParty(t, s, "Other")
	bank.start("confirm", "alice") // it waits meanwhile
	started := bank.start("confirm", "alice")
	d.notMe(started.ID)
	if got := d.pending(); len(got) != 0 {
		t.Errorf("%d requests of the blocked relying party are listed", len(got))
	}
	body := map[string]any{"type": "confirm", "user": "alice", "message": "m"}
	bank.post("/v1/transactions", body).refused(t, http.StatusUnprocessableEntity, "client_blocked")
	theirs.start("confirm", "alice")
	// Who is asked on another device too goes on there.
	second := enrollDevice(t, s, alice)
	if tx := bank.start("confirm", "alice"); len(tx.Devices) != 1 || tx.Devices[0] != second.enrolled.Device {
		t.Errorf("asked %q", tx.Devices)
	}
	var blocks protocol.Blocks
	d.get(protocol.PathBlocks).want(t, http.StatusOK).decode(t, &blocks)
	if len(blocks.Clients) != 1 || blocks.Clients[0].Name != "Bank" {
		t.Fatalf("blocked: %+v", blocks)
	}
	for range 2 {
		d.call(t.Context(), http.MethodDelete, protocol.PathBlocks+"/"+blocks.Clients[0].ID, nil).want(t, http.StatusNoContent)
	}
	if got := d.pending(); len(got) != 2 {
		t.Errorf("%d requests are listed, of the one that waited and the other's", len(got))
	}
	if got := recorded(t, s, d.enrolled.Device); !has(got, "client.blocked") || !has(got, "client.unblocked") {
		t.Errorf("recorded: %q", got)
	}
}

func TestOperatorLiftsABlock(t *testing.T) {
	s, bank, d := scene(t)
	tx := bank.start("confirm", "alice")
	d.notMe(tx.ID)
	clients, err := s.Office.Clients(t.Context())
	if err != nil || len(clients) != 1 || len(clients[0].Blocks) != 1 || clients[0].Blocks[0].User != "alice" {
		t.Fatalf("%+v, %v", clients, err)
	}
	if _, err := s.Office.Unblock(t.Context(), "Nobody", "alice"); err == nil {
		t.Error("an unknown relying party is unblocked")
	}
	if _, err := s.Office.Unblock(t.Context(), "Bank", "nobody"); err == nil {
		t.Error("an unknown user's block is lifted")
	}
	if lifted, err := s.Office.Unblock(t.Context(), "Bank", "alice"); err != nil || len(lifted) != 1 {
		t.Errorf("%+v, %v", lifted, err)
	}
	bank.start("confirm", "alice")
}

func TestHighValueWaitsAfterAnEnrollment(t *testing.T) {
	s, bank, d := scene(t)
	if err := s.Office.SetType(t.Context(), store.Type{Name: "pay", Method: protocol.MethodPIN, Class: protocol.C2, TTL: time.Minute, Digits: 6, HighValue: true}); err != nil {
		t.Fatal(err)
	}
	body := map[string]any{"type": "pay", "user": "alice", "message": "m"}
	bank.post("/v1/transactions", body).refused(t, http.StatusUnprocessableEntity, "high_value_hold")
	s.Skip(servertest.Hold)
	tx := bank.start("pay", "alice")
	d.decide(tx.ID, protocol.Approve, tx.Number).want(t, http.StatusOK)
	// The hold is of the new device alone.
	second := enrollDevice(t, s, alice)
	if tx := bank.start("pay", "alice"); len(tx.Devices) != 1 || tx.Devices[0] == second.enrolled.Device {
		t.Errorf("asked %q", tx.Devices)
	}
}

func TestQuietIsRememberedAndNothingIsHeldBack(t *testing.T) {
	s, bank, d := scene(t)
	until := s.Now().Add(time.Hour).Truncate(time.Second)
	put := func(q protocol.Quiet) answer {
		return d.put(protocol.PathQuiet, q)
	}
	put(protocol.Quiet{Until: until.Unix(), Reason: protocol.QuietMuted}).want(t, http.StatusNoContent)
	quiet := func() *time.Time {
		devices, err := s.Desk.Devices(t.Context(), "alice")
		if err != nil || len(devices) != 1 {
			t.Fatal(errors.Join(err, errors.New("not one device")))
		}
		return devices[0].QuietAt(s.Now())
	}
	if got := quiet(); got == nil || !got.Equal(until) {
		t.Errorf("quiet until %v", got)
	}
	bank.start("confirm", "alice")
	if len(d.pending()) != 1 {
		t.Error("a quiet device is not told what waits")
	}
	put(protocol.Quiet{}).want(t, http.StatusNoContent)
	if quiet() != nil {
		t.Error("it is quiet still")
	}
	for name, q := range map[string]protocol.Quiet{
		"too long": {Until: until.Add(30 * time.Hour).Unix(), Reason: protocol.QuietMuted}, "reason": {Until: until.Unix(), Reason: "tired"},
		"no reason": {Until: until.Unix()}, "before": {Until: -1, Reason: protocol.QuietMuted},
	} {
		if a := put(q); a.status != http.StatusBadRequest {
			t.Errorf("%s: answered %d", name, a.status)
		}
	}
}
