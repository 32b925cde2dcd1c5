package settings

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWords holds what people read about each kind of mistake to a golden file.
func TestWords(t *testing.T) {
	e := newEtc(t)
	var got strings.Builder
	for _, text := range []string{
		"forbid_clli = true",
		"password = \"hunter2\"",
		"[policy]\nclass_flor = \"C2\"",
		"class_floor = \"C2\"",
		"[policy]\ntpm = \"x\"",
		"[policies]\nclass_floor = \"C2\"\nhunter2 = 1",
		"policy.foo.bar = 1",
		"[[policy]]\nclass_floor = \"C2\"",
		"[tpm]",
		"policy = \"C2\"",
		"piv = \"yes\"",
		"piv = 1",
		"tpm = true",
		"tpm = [\"a\"]",
		"tpm = 2024-01-01",
		"policy.servers = \"a.example\"",
		"policy.servers = [1, 2]",
		"policy.servers = [[\"a.example\"]]",
		"policy.pin_min_length = \"8\"",
		"policy.pin_min_length = 8.5",
		"policy.pin_min_length = 99999999999999999999999",
		"piv = true\n# what was it?\npiv = false",
		"[verify]\ncustom = \"\"\n[metrics]\n[verify]\nplugin = \"\"",
		"verify.custom = \"\"\n[verify]\nplugin = \"\"",
		"verify = { custom = \"\", plugin = 1 }",
		"piv = ture",
		"piv true",
		"tpm = \"device:/dev/tpmrm0",
		"tpm = device:/dev/tpmrm0",
		"tpm = 'a' 'b'",
		"tpm = \"\\d\"",
		"tpm =",
		"policy.servers = [\"a\"",
		"[policy\nclass_floor = \"C2\"",
		"= 1",
		"hunter2",
		"sesame = \"open",
		"# \xff",
		"\"tpm\" = 1",
		"\"to\\nken\" = 1",
		"state = \"\"",
		"floor = \"C7\"",
		"floor = \"C1\"\npolicy.class_floor = \"C2\"",
		"forbid_cli = true\npolicy.local_approvals = \"prompt\"",
		"verify.custom = \"password\"",
		"verify.plugin = \"/x\"",
		"verify = { custom = \"plugin\", plugin_timeout = \"soon\" }",
		"verify = { custom = \"plugin\", plugin_timeout = \"6m\" }",
		"PIV = true",
		"network.proxy = \"http://alice:hunter2@proxy.example:3128\"",
		"network.proxy = \"http://alice:hunter2@proxy.example:port\"",
		"network.proxy = \"socks5://proxy.example\"",
		"network.proxy = \"proxy.example:3128\"",
		"network.no_proxy = [\"a.example\"]",
		"[network]\nproxy = \"https://proxy.example\"\nno_proxy = [\"a.example,b.example\"]\nproxy_password_file = \"/p\"",
		"[network]\nproxy = \"direct\"\nproxy_user = \"alice\"",
		"network.proxy = \"http://proxy.example:70000\"",
		"[network]\nproxy = \"https://proxy.example\"\nproxy_user = \"alice\"\nproxy_password_file = \"password\"",
		"[network]\nproxy = \"https://proxy.example\"\nno_proxy = [\"10.0.0.0/33\"]",
		"[network]\nproxy = \"https://proxy.example\"\nno_proxy = [\"https://auth.example\"]",
		"[network]\nproxy = \"https://proxy.example\"\nno_proxy = [\"*\", \"fd77::/16\", \"[fd77::2]\"]",
		"[network]\nproxy = \"https://proxy.example\"\nno_proxy = [\"auth.example:https\"]",
		"metrics.textfile = \"x.prom\"",
		"metrics.textfile = \"/x.txt\"",
		"metrics.interval = \"14s\"",
		"policy.class_floor = \"c2\"",
		"policy.servers = []",
		"policy.servers = [\"a.example:443\"]",
		"policy.pin_min_length = 5",
		"policy.pin_min_length = 64",
		"policy.mute_max = \"25h\"",
		"policy.mute_max = \"-1s\"",
		"policy.local_approvals = \"never\"",
		"policy.keys = []",
		"policy.keys = [\"soft\"]",
	} {
		file := e.put(mainName, text+"\n")
		_, err := e.read(Options{})
		if err == nil {
			t.Errorf("%q is in order", text)
			continue
		}
		for line := range strings.Lines(strings.ReplaceAll(err.Error(), file, "FILE") + "\n") {
			if strings.TrimSpace(line) != "" {
				fmt.Fprint(&got, line)
			}
		}
	}
	for _, secret := range []string{"hunter2\"", "hunter2@", "open"} {
		if strings.Contains(got.String(), secret) {
			t.Errorf("%s is shown", secret)
		}
	}
	golden := filepath.Join("testdata", "words.golden")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Error(diff)
	}
}

// TestSecretsAreNotShown: a setting that is marked so shows neither its value nor
// its line.
func TestSecretsAreNotShown(t *testing.T) {
	s := schemaOf(struct {
		Proxy string `toml:"proxy" secret:"yes"`
		Name  string `toml:"name"`
	}{})
	for _, text := range []string{"proxy = 4711", "proxy = \"4711\nx", "proxy = [4711]", "proxy = 4711 4711", "name = \"a\" # x\nproxy = 4711"} {
		c := scanFile(s, []byte(text))
		if len(c.problems) == 0 {
			t.Errorf("%s: nothing is wrong", text)
		}
		for _, p := range c.problems {
			if strings.Contains(p.String(), "4711") || p.Text != "" {
				t.Errorf("%s: %v", text, p)
			}
		}
	}
}

func TestManyProblemsAreCounted(t *testing.T) {
	e := newEtc(t)
	var text strings.Builder
	for i := range 30 {
		fmt.Fprintf(&text, "zzzzzzzz%d = 1\n", i)
	}
	e.put(mainName, text.String())
	_, err := e.read(Options{})
	list, _ := errors.AsType[Problems](err)
	if len(list) != 30 || !strings.HasSuffix(err.Error(), "and 10 more") {
		t.Errorf("%d, and %v", len(list), err)
	}
}

// TestTerminalsAreSafe: what a file says reaches no terminal as a command.
func TestTerminalsAreSafe(t *testing.T) {
	e := newEtc(t)
	for _, text := range []string{"piv = \"\x1b[2J\"", "piv = \"\\u001b[2J\"", "\"\\u001b[2J\" = 1", "piv = \"" + strings.Repeat("x", 1000) + "\""} {
		e.put(mainName, text+"\n")
		for _, p := range e.problems(Options{}) {
			if s := p.String(); strings.ContainsRune(s, 0x1b) || len(s) > 500 {
				t.Errorf("%q", s)
			}
		}
	}
}

func FuzzScan(f *testing.F) {
	manual, err := os.ReadFile(filepath.Join("..", "..", "docs", "countersignd.toml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{string(manual), strings.ReplaceAll(string(manual), "\n#", "\n"), "policy = { servers = [\"a\"] }", "a.b.c = 1", "[[a]]"} {
		f.Add([]byte(text))
	}
	s := schemaOf(Settings{})
	f.Fuzz(func(t *testing.T, data []byte) {
		c := scanFile(s, data)
		var v Settings
		if len(c.problems) > 0 || len(c.decode(data, &v)) > 0 {
			return
		}
		for key, line := range c.at {
			if line < 1 || line > len(c.lines) {
				t.Errorf("%s is on line %d of %d", key, line, len(c.lines))
			}
		}
	})
}
