// Package metrics writes counts in Prometheus's text format into a file, for the
// textfile collector of node_exporter.
//
// It knows names, numbers and label values that its caller has chosen from fixed
// lists. Callers put nothing personal into a label: no name of a user, a server, a
// relying party or a computer, and no id.
//
// The format is small and stable, and the client library would add a sixth to the
// service's memory at rest.
package metrics

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Types of a Family.
const (
	Counter = "counter"
	Gauge   = "gauge"
)

// Family is one metric with all its series.
type Family struct {
	Name, Help, Type string
	Labels           []string
	Series           []Series
}

// Series is a value of a metric, for one value of each label.
type Series struct {
	Labels []string
	Value  float64
}

// Of is a gauge with one series.
func Of(name, help string, value float64) Family {
	return Family{Name: name, Help: help, Type: Gauge, Series: []Series{{Value: value}}}
}

// Vec counts by labels. It is safe for concurrent use.
type Vec struct {
	family Family

	mu     sync.Mutex // guards counts
	counts map[string]float64
}

// NewVec returns a counter. Its name ends in _total. Each of the starting series,
// one value for each label, is there from the beginning: what has never happened
// is 0 and not absent.
func NewVec(name, help string, labels []string, starting ...[]string) *Vec {
	v := &Vec{family: Family{Name: name, Help: help, Type: Counter, Labels: labels}, counts: map[string]float64{}}
	for _, s := range starting {
		v.counts[strings.Join(s, "\x00")] = 0
	}
	if len(labels) == 0 {
		v.counts[""] = 0
	}
	return v
}

// Inc counts one more, with a value for each label.
func (v *Vec) Inc(values ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counts[strings.Join(values, "\x00")]++
}

// Family is what was counted so far.
func (v *Vec) Family() Family {
	f := v.family
	v.mu.Lock()
	defer v.mu.Unlock()
	for key, n := range v.counts {
		s := Series{Value: n}
		if len(f.Labels) > 0 {
			s.Labels = strings.Split(key, "\x00")
		}
		f.Series = append(f.Series, s)
	}
	return f
}

// Write writes families in the text format, in a fixed order.
func Write(w io.Writer, families []Family) error {
	families = slices.SortedFunc(slices.Values(families), func(a, b Family) int { return cmp.Compare(a.Name, b.Name) })
	var b strings.Builder
	for _, f := range families {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", f.Name, escape(f.Help, false), f.Name, f.Type)
		series := slices.SortedFunc(slices.Values(f.Series), func(a, b Series) int { return slices.Compare(a.Labels, b.Labels) })
		for _, s := range series {
			b.WriteString(f.Name + labels(f.Labels, s.Labels) + " " + strconv.FormatFloat(s.Value, 'g', -1, 64) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func labels(names, values []string) string {
	if len(names) == 0 {
		return ""
	}
	pairs := make([]string, len(names))
	for i, name := range names {
		pairs[i] = name + `="` + escape(values[i], true) + `"`
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

func escape(s string, quotes bool) string {
	s = strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(strings.ToValidUTF8(s, "?"))
	if quotes {
		s = strings.ReplaceAll(s, `"`, `\"`)
	}
	return s
}
