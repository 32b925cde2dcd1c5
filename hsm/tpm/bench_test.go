package tpm_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"testing"
	"text/tabwriter"
	"time"

	"countersign/hsm/tpm"
	"countersign/internal/testenv"

	keyfile "github.com/foxboron/go-tpm-keyfiles"
	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// contender is one way to a signature.
type contender struct {
	name string
	// before, where not nil, is done before each signature, untimed.
	before func()
	sign   func() error
	took   []time.Duration
}

// BenchmarkSignatures times ways to a signature on one software TPM, in turns,
// so that whatever else the machine does falls on all alike. Each timed
// signature comes after an untimed one of its kind: "warm" is what a key costs
// that is used again and again. "First of a connection" is what it costs after
// two idle seconds: the key comes back from its saved context, and with a PIN
// both sessions are started. Run it with -benchtime 1000x for medians of
// 1000.
//
// The first contender is the baseline: a bare TPM2_Sign with a password on a
// persistent handle, which is the least that any program can do. The last is
// the signer of go-tpm-keyfiles, the core of ssh-tpm-agent.
//
// On a chip of silicon the commands and the elliptic-curve operations are the
// cost; they are counted by a recorder between program and TPM, in a run of its
// own since it takes time itself.
func BenchmarkSignatures(b *testing.B) {
	costs := countCosts(b)
	all := contenders(b, testenv.StartSWTPM(b).Spec())
	b.ResetTimer()
	for b.Loop() {
		for _, c := range all {
			c.run(b)
			c.prepare()
			begin := time.Now()
			c.run(b)
			c.took = append(c.took, time.Since(begin))
		}
	}
	if b.N > 1 {
		report(b, all, costs)
	}
}

func (c *contender) prepare() {
	if c.before != nil {
		c.before()
	}
}

func (c *contender) run(tb testing.TB) {
	if err := c.sign(); err != nil {
		tb.Fatalf("%s: %v", c.name, err)
	}
}

func contenders(tb testing.TB, spec string) []*contender {
	tb.Helper()
	p, err := tpm.Open(spec)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = p.Close() })
	line := tpm.Line(context.Background(), p)
	ours := func(pinText string) func() error {
		key, err := p.Create(context.Background(), bound(pinText))
		if err != nil {
			tb.Fatal(err)
		}
		return func() error {
			_, err := key.Sign(context.Background(), digest(), auth(pinText))
			return err
		}
	}
	hangUp := func() {
		if err := tpm.HangUp(context.Background(), p); err != nil {
			tb.Fatal(err)
		}
	}
	plain, withPIN := ours(""), ours(rightPIN)
	return []*contender{
		{name: "TPM2_Sign, password, persistent handle (baseline)", sign: bareSign(tb, line)},
		{name: "Key.Sign without PIN", sign: plain},
		{name: "Key.Sign with PIN", sign: withPIN},
		{name: "Key.Sign without PIN, first of a connection", before: hangUp, sign: plain},
		{name: "Key.Sign with PIN, first of a connection", before: hangUp, sign: withPIN},
		{name: "go-tpm-keyfiles (ssh-tpm-agent's signer)", sign: keyfileSign(tb, line)},
	}
}

// bareSign makes a key with a password persistent.
func bareSign(tb testing.TB, line transport.TPM) func() error {
	tb.Helper()
	const handle tpm2.TPMHandle = 0x81008001
	key, err := persistentKey(line, handle)
	if err != nil {
		tb.Fatal(err)
	}
	return func() error {
		_, err := signRaw(line, tpm2.AuthHandle{Handle: handle, Name: key, Auth: tpm2.PasswordAuth([]byte(rightPIN))})
		return err
	}
}

func persistentKey(line transport.TPM, handle tpm2.TPMHandle) (tpm2.TPM2BName, error) {
	area := signingArea()
	area.ObjectAttributes.UserWithAuth, area.ObjectAttributes.AdminWithPolicy, area.ObjectAttributes.NoDA = true, false, true
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(area),
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{UserAuth: tpm2.TPM2BAuth{Buffer: []byte(rightPIN)}}},
	}.Execute(line)
	if err != nil {
		return tpm2.TPM2BName{}, err
	}
	_, err = tpm2.EvictControl{
		Auth: tpm2.TPMRHOwner, ObjectHandle: tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name}, PersistentHandle: handle,
	}.Execute(line)
	if err != nil {
		return tpm2.TPM2BName{}, err
	}
	_, err = tpm2.FlushContext{FlushHandle: rsp.ObjectHandle}.Execute(line)
	return rsp.Name, err
}

// keyfileSign signs as ssh-tpm-agent does, with a password on the key.
func keyfileSign(tb testing.TB, line transport.TPMCloser) func() error {
	tb.Helper()
	key, err := keyfile.NewLoadableKey(line, tpm2.TPMAlgECC, 256, nil, keyfile.WithUserAuth([]byte(rightPIN)))
	if err != nil {
		tb.Fatal(err)
	}
	signer := keyfile.NewTPMKeySigner(key,
		func() ([]byte, error) { return nil, nil },
		func() transport.TPMCloser { return line },
		func(*keyfile.TPMKey) ([]byte, error) { return []byte(rightPIN), nil })
	return func() error {
		_, err := signer.Sign(rand.Reader, digest(), crypto.SHA256)
		return err
	}
}

// cost is what one signature asks of a chip.
type cost struct{ commands, ecOperations int }

// countCosts runs each contender through a recorder, warm.
func countCosts(tb testing.TB) []cost {
	tb.Helper()
	rec := testenv.RecordTPM(tb, testenv.StartSWTPM(tb))
	var costs []cost
	for _, c := range contenders(tb, rec.Spec()) {
		c.run(tb)
		c.prepare()
		before := len(rec.Log())
		c.run(tb)
		costs = append(costs, sum(rec.Log()[before:]))
	}
	return costs
}

func sum(log []testenv.Exchange) (c cost) {
	for _, x := range log {
		c.commands++
		c.ecOperations += x.ECOperations()
	}
	return c
}

// report prints the table and gives the ratios to the benchmark's own output.
func report(b *testing.B, all []*contender, costs []cost) {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(out, "\n%d signatures each, in turns, on one swtpm\n", len(all[0].took))
	fmt.Fprint(out, "ratio\tmedian\tmin\tmax\tcommands\tEC operations\t  \n")
	baseline := median(all[0].took)
	for i, c := range all {
		ratio := float64(median(c.took)) / float64(baseline)
		fmt.Fprintf(out, "%.2f\t%v\t%v\t%v\t%d\t%d\t  %s\n", ratio, median(c.took).Round(time.Microsecond),
			slices.Min(c.took).Round(time.Microsecond), slices.Max(c.took).Round(time.Microsecond),
			costs[i].commands, costs[i].ecOperations, c.name)
	}
	_ = out.Flush()
	b.ReportMetric(float64(median(all[1].took))/float64(baseline), "ratio/without-PIN")
	b.ReportMetric(float64(median(all[2].took))/float64(baseline), "ratio/with-PIN")
	b.ReportMetric(float64(median(all[4].took))/float64(baseline), "ratio/with-PIN-first")
	b.ReportMetric(float64(median(all[5].took))/float64(baseline), "ratio/keyfiles")
}

func median(d []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[len(sorted)/2]
}
