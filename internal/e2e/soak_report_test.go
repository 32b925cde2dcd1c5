package e2e

import (
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the "sqlite" driver
)

// Bounds of how long a start may take until it is ready.
const (
	serviceReady = 2 * time.Second
	serverReady  = 3 * time.Second
)

type soakStats struct {
	kills           map[string]int
	at              map[string]int
	traced          int
	service, server []time.Duration // without those that were traced
	decided         atomic.Int64
}

func (s *soak) progress() {
	s.tb.Helper()
	s.tb.Logf("%s: killed %v; %d decisions made", time.Since(s.began).Round(time.Second), s.stats.kills, s.stats.decided.Load())
}

// report prints what was measured, and demands what was promised of it: of all
// starts but one in twenty, since the machine has other work too.
func (s *soak) report(kills int) {
	s.tb.Helper()
	s.progress()
	for _, at := range slices.Sorted(maps.Keys(s.stats.at)) {
		s.tb.Logf("killed: %s: %d", at, s.stats.at[at])
	}
	s.tb.Logf("transactions: %v", s.ledger.counts)
	for _, m := range []struct {
		name  string
		took  []time.Duration
		bound time.Duration
	}{{"service", s.stats.service, serviceReady}, {"server", s.stats.server, serverReady}} {
		slices.Sort(m.took)
		s.tb.Logf("%s ready: median %s, 95%% %s, 99%% %s, longest %s of %d", m.name,
			quantile(m.took, 50), quantile(m.took, 95), quantile(m.took, 99), quantile(m.took, 100), len(m.took))
		if q := quantile(m.took, 95); q > m.bound {
			s.tb.Errorf("the %s was ready after %s, and it was to be %s", m.name, q, m.bound)
		}
	}
	if n := s.ledger.counts["approved"]; n < kills {
		s.tb.Errorf("%d transactions approved in %d kills of each: the load is no load", n, kills)
	}
}

// quantile expects a sorted list.
func quantile(list []time.Duration, percent int) time.Duration {
	if len(list) == 0 {
		return 0
	}
	return list[(len(list)-1)*percent/100].Round(time.Millisecond)
}

// compareStores reads what both sides have on disk: each transaction was
// decided once, by a decision that the device has as delivered, and the chain
// of decisions has neither gap nor fork.
func (s *soak) compareStores() {
	s.tb.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.server.data, "server.db")+"?mode=ro")
	if err != nil {
		s.tb.Fatal(err)
	}
	defer db.Close()
	for what, query := range map[string]string{
		"transactions without an end": `SELECT count(*) FROM transactions WHERE status NOT IN ('approved', 'denied')`,
		"transactions that were not decided once": `SELECT count(*) FROM transactions t
			LEFT JOIN (SELECT transaction_id, count(*) AS n FROM decisions WHERE status = 200 GROUP BY 1) d ON d.transaction_id = t.id WHERE ifnull(d.n, 0) != 1`,
		"transactions whose end was not told once": `SELECT count(*) FROM transactions t
			LEFT JOIN (SELECT transaction_id, kind, count(*) AS n FROM events GROUP BY 1, 2) e ON e.transaction_id = t.id AND e.kind = 'transaction.' || t.status WHERE ifnull(e.n, 0) != 1`,
		"wrong numbers that did not count once": `SELECT count(*) FROM transactions t
			LEFT JOIN (SELECT transaction_id, count(*) AS n FROM decisions WHERE status = 422 GROUP BY 1) d ON d.transaction_id = t.id WHERE ifnull(d.n, 0) != t.tries`,
		"gaps, forks and suspensions": `SELECT count(*) FROM events WHERE kind IN ('decision.gap', 'decision.forked', 'device.suspended')`,
	} {
		var n int
		if err := db.QueryRow(query).Scan(&n); err != nil {
			s.tb.Fatal(err)
		}
		if n != 0 {
			s.tb.Errorf("%s: %d", what, n)
		}
	}
	s.compareOutbox(db)
}

// compareOutbox: what the device has of its last decisions is what the server
// has of them.
func (s *soak) compareOutbox(db *sql.DB) {
	s.tb.Helper()
	for _, e := range s.outbox() {
		var receipt string
		err := db.QueryRow(`SELECT receipt FROM decisions WHERE transaction_id = ? AND compact = ?`, e.ID, e.Decision).Scan(&receipt)
		if e.State == "queued" || err != nil || receipt != e.Receipt {
			s.tb.Errorf("%s: the device has it as %s with receipt %.20q, the server has %.20q (%v)", e.ID, e.State, e.Receipt, receipt, err)
		}
	}
}

// outboxEntry is a decision as the device keeps it.
type outboxEntry struct{ ID, Decision, State, Receipt string }

func (s *soak) outbox() (list []outboxEntry) {
	s.tb.Helper()
	files, err := filepath.Glob(filepath.Join(s.device.profile().dir, "outbox", "*.json"))
	if err != nil || len(files) == 0 {
		s.tb.Fatalf("no outbox: %v", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) {
			continue // it was old
		}
		var e outboxEntry
		if err == nil {
			err = json.Unmarshal(data, &e)
		}
		if err != nil {
			s.tb.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}
