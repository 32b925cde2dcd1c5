package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	pass := `{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`
	skip := `{"Action":"output","Package":"p","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:3: no swtpm here\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
`
	fail := `{"Action":"output","Package":"q","Test":"TestC","Output":"    c_test.go:9: got 1, want 2\n"}
{"Action":"fail","Package":"q","Test":"TestC"}
{"Action":"output","Package":"q","Output":"FAIL\tq\t0.2s\n"}
{"Action":"fail","Package":"q"}
`
	died := `{"Action":"output","Package":"r","Test":"TestD","Output":"panic: oh\n"}
{"Action":"output","Package":"r","Output":"FAIL\tr\t0.2s\n"}
{"Action":"fail","Package":"r"}
`
	broken := `{"ImportPath":"s","Action":"build-output","Output":"s.go:1: undefined: x\n"}
{"Action":"fail","Package":"s"}
`
	for name, tc := range map[string]struct {
		in     string
		ok     bool
		want   []string
		absent []string
	}{
		"pass":    {pass, true, []string{"ok  \tp", "PASS: 1 tests passed, 0 failed, 0 skipped in 1 packages"}, []string{"chatter"}},
		"skip":    {skip + pass, true, []string{"skipped p TestB: b_test.go:3: no swtpm here", "1 skipped"}, nil},
		"fail":    {fail + pass, false, []string{"got 1, want 2", "FAILED q TestC", "FAIL: 1 tests passed, 1 failed"}, nil},
		"died":    {died, false, []string{"panic: oh", "(1 failed)"}, nil},
		"broken":  {broken, false, []string{"undefined: x", "(1 failed)"}, nil},
		"nothing": {"", false, []string{"FAIL: 0 tests"}, nil},
		"foreign": {"go: no such module\n", false, []string{"go: no such module"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			ok, err := newReport(&out).read(strings.NewReader(tc.in))
			if err != nil || ok != tc.ok {
				t.Errorf("got %v, %v, want %v", ok, err, tc.ok)
			}
			for _, want := range tc.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is missing in:\n%s", want, &out)
				}
			}
			for _, absent := range tc.absent {
				if strings.Contains(out.String(), absent) {
					t.Errorf("%q is in:\n%s", absent, &out)
				}
			}
		})
	}
}
