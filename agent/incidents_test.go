package agent

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/ipc"
)

func TestIncidentsAreBoundedForEachUser(t *testing.T) {
	var i incidents
	for n := range 3 * maxIncidents {
		if got := i.admit(1, time.Duration(n)); got != (n < maxIncidents) {
			t.Fatalf("report %d: %v", n, got)
		}
	}
	if !i.admit(2, time.Second) || !i.admit(1, time.Minute) {
		t.Error("another user's, or a later one, is not recorded")
	}
}

func TestOnlyOurWordsAreRecorded(t *testing.T) {
	k := newKit(t)
	for body, want := range map[string]bool{
		`{"kind":"forged_action","count":1000}`: true,
		`{"kind":"forged_action","count":0}`:    false,
		`{"kind":"a note","count":1}`:           false,
		`{"kind":"forged_login"}`:               false,
	} {
		_, err := k.agent.postIncident(nil, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)), scopeOf(testUID))
		if (err == nil) != want {
			t.Errorf("%s: %v", body, err)
		}
		if err != nil && codeOf(err) != ipc.CodeBadRequest {
			t.Errorf("%s: %v", body, err)
		}
	}
	kinds := slices.DeleteFunc(k.audited(), func(k string) bool { return k != recordIncident })
	if len(kinds) != 1 {
		t.Errorf("recorded %d", len(kinds))
	}
}
