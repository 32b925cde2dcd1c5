package agent

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"countersign/ipc"
)

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
