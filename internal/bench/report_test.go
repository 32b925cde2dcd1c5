package bench

import (
	"fmt"
	"io"
	"os"
	"testing"
	"text/tabwriter"
	"time"
)

// baseline is the place of the hello-world in each table.
const baseline = 1

// report prints the tables and gives the ratios to the benchmark's own output.
func report(b *testing.B, rows []*row, window time.Duration, times []started) {
	b.Helper()
	reportWaiting(rows, window)
	reportStarts(times)
	reportSizes(b)
	base, plain, worked := rows[baseline], rows[baseline+2], rows[baseline+6]
	b.ReportMetric(ratio(plain.rss, base.rss), "ratio/RSS")
	b.ReportMetric(ratio(worked.rss, base.rss), "ratio/RSS-after-approvals")
	b.ReportMetric(plain.switches/base.switches, "ratio/switches")
	b.ReportMetric(ratio(times[baseline+1].median(), times[baseline].median()), "ratio/start")
}

func reportWaiting(rows []*row, window time.Duration) {
	title := fmt.Sprintf("waiting, watched for %v; memory in KiB, switches of context and CPU time per minute", window)
	table(title, "RSS\tPSS\tprivate\tthreads\tgoroutines\tfiles\tswitches\tCPU ms\tRSS\tprivate\tswitches", func(out io.Writer) {
		base := rows[baseline]
		for _, r := range rows {
			fmt.Fprintf(out, "%d\t%d\t%d\t%d\t%d\t%d\t%.0f\t%.2f\t×%.2f\t×%.2f\t×%.2f\t  %s\n", r.rss, r.pss, r.private, r.threads, r.goroutines, r.files,
				r.switches, ms(r.cpu), ratio(r.rss, base.rss), ratio(r.private, base.private), r.switches/base.switches, r.name)
		}
	})
}

func reportStarts(times []started) {
	table(fmt.Sprintf("from start to ready in ms, %d starts of each, in turns", starts), "median\tmin\tmax\tmedian", func(out io.Writer) {
		for _, s := range times {
			fmt.Fprintf(out, "%.2f\t%.2f\t%.2f\t×%.2f\t  %s\n", ms(s.median()), ms(s.took[0]), ms(s.took[len(s.took)-1]), ratio(s.median(), times[baseline].median()), s.name)
		}
	})
}

// reportSizes prints how much disk each program takes: as "make build" makes it,
// and without symbols and debugging information.
func reportSizes(b *testing.B) {
	b.Helper()
	const stripped = "bench/stripped/"
	base := size(b, stripped+"hello")
	table("size in KiB", "built\tstripped\tstripped", func(out io.Writer) {
		for _, p := range []struct{ name, built, stripped string }{
			{"empty Go program", "bench/empty", "empty"},
			{"hello-world (baseline)", "bench/hello", "hello"},
			{"countersignd", "countersignd", "countersignd"},
			{"countersignd without tokens, static", "bench/static/countersignd", "static/countersignd"},
			{"countersign", "countersign", "countersign"},
			{"countersign-server", "countersign-server", "countersign-server"},
		} {
			n := size(b, stripped+p.stripped)
			fmt.Fprintf(out, "%d\t%d\t×%.2f\t  %s\n", size(b, p.built), n, ratio(n, base), p.name)
		}
	})
}

func size(b *testing.B, name string) int64 {
	b.Helper()
	info, err := os.Stat(program(b, name))
	if err != nil {
		b.Fatal(err)
	}
	return info.Size() >> 10
}

func table(title, head string, rows func(io.Writer)) {
	fmt.Printf("\n%s\n", title)
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(out, "%s\t  \n", head)
	rows(out)
	_ = out.Flush()
}

func ratio[T int | int64 | time.Duration](a, b T) float64 { return float64(a) / float64(b) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
