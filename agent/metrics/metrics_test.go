package metrics

import (
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func text(t *testing.T, families ...Family) string {
	t.Helper()
	var b strings.Builder
	if err := Write(&b, families); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestWrite holds the text to what it must be, and to Prometheus's own parser.
func TestWrite(t *testing.T) {
	v := NewVec("a_total", "Things.\nAnd \\ more.", []string{"kind", "of"}, []string{"x", "y"})
	v.Inc("x", "z")
	v.Inc("x", "z")
	v.Inc("with \"quotes\", \\ and\nlines", "\xff")
	got := text(t, Of("z_seconds", "Zs.", 1764069000.5), v.Family(), NewVec("b_total", "Bs.", nil).Family())
	want := `# HELP a_total Things.\nAnd \\ more.
# TYPE a_total counter
a_total{kind="with \"quotes\", \\ and\nlines",of="?"} 1
a_total{kind="x",of="y"} 0
a_total{kind="x",of="z"} 2
# HELP b_total Bs.
# TYPE b_total counter
b_total 0
# HELP z_seconds Zs.
# TYPE z_seconds gauge
z_seconds 1.7640690005e+09
`
	if got != want {
		t.Errorf("got\n%s", got)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(got))
	if err != nil || len(families) != 3 {
		t.Fatalf("%v, %v", families, err)
	}
	if got := families["a_total"].GetMetric()[0].GetLabel()[0].GetValue(); got != "with \"quotes\", \\ and\nlines" {
		t.Errorf("the label says %q", got)
	}
}
