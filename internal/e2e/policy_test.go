package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"countersign/internal/testenv"
)

// governed writes the device's configuration, and starts it anew where it runs.
func (d *device) governed(policy string) {
	d.tb.Helper()
	d.config = filepath.Join(d.dir, "countersignd.toml")
	if err := os.WriteFile(d.config, []byte("[policy]\n"+policy+"\n"), 0o600); err != nil {
		d.tb.Fatal(err)
	}
	if d.proc != nil {
		d.proc.stop()
	}
	d.start()
}

func (a answer) cure() string {
	e, _ := a.json["error"].(map[string]any)
	s, _ := e["cure"].(string)
	return s
}

// refusedByPolicy demands a refusal with a code, and that it names who can help.
func (a answer) refusedByPolicy(t *testing.T, code string) {
	t.Helper()
	if a.want(t, 1); a.code() != code || !strings.Contains(a.cure(), "ask your administrator") {
		t.Errorf("got %s, want %s", a.stdout, code)
	}
}

// checked is what doctor says under a code.
func (d *device) checked(code string) (status, detail string) {
	d.tb.Helper()
	list, _ := d.cli("", "doctor").json["checks"].([]any)
	for _, c := range list {
		if m := c.(map[string]any); m["code"] == code {
			return m["status"].(string), m["detail"].(string)
		}
	}
	return "", ""
}

// TestPolicyOfServers: nobody enrolls at a server that is not allowed. A profile
// at one receives nothing and can be ended, which the server is told; and it works
// again where the policy allows it again.
func TestPolicyOfServers(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p, d := newPortal(t, s), newDevice(t)
	d.governed(`servers = ["*.example.org", "https://127.0.0.1"]`) // not this server's issuer, which has a port
	d.cli(pin+"\n", "enroll", s.link(), "--pin-stdin").refusedByPolicy(t, "server_forbidden")
	if a := d.cli("", "profiles").ok(t); !strings.Contains(a.stdout, "server_forbidden") {
		t.Errorf("the server's name was not known before: %s", a.stdout)
	}
	d.cli("", "unenroll", d.profile().ID).ok(t)
	d.governed(`servers = ["auth.example.org"]`)
	d.cli(pin+"\n", "enroll", s.link(), "--pin-stdin").refusedByPolicy(t, "server_forbidden")
	if dirs, _ := filepath.Glob(filepath.Join(d.state(), "*", "*", "profile.json")); len(dirs) != 0 {
		t.Errorf("left: %v", dirs)
	}

	d.governed(`servers = ["127.0.0.1"]`)
	d.enroll(s.link())
	d.approve(arrived(d, p)).ok(t)

	d.governed(`servers = ["auth.example.org"]`)
	tx := p.begin("login")
	if status, detail := d.checked("server_forbidden"); status != "fail" || !strings.Contains(detail, "held off") {
		t.Errorf("doctor says %s: %s", status, detail)
	}
	a := d.cli("", "status").ok(t)
	if !strings.Contains(a.stdout, "held off") || !strings.Contains(a.stdout, `"servers":["auth.example.org"]`) {
		t.Errorf("status says %s", a.stdout)
	}
	if a := d.cli("", "enrolled", d.profile().ID); a.status != 3 {
		t.Errorf("enrolled says %d", a.status)
	}
	d.cli(pin+"\n", "renew", d.profile().ID, "--pin-stdin").refusedByPolicy(t, "server_forbidden")
	if got := p.now(tx.ID).Status; got != "pending" || d.lists(tx.ID) {
		t.Errorf("the transaction is %s, and listed: %v", got, d.lists(tx.ID))
	}

	d.governed(`servers = ["*"]`)
	d.waitFor(tx.ID)
	d.approve(tx).ok(t)
	p.verified(p.get(tx.ID))

	d.governed(`servers = ["auth.example.org"]`)
	id := d.profile().ID
	if a := d.cli("", "unenroll", id).ok(t); a.json["server_told"] != true {
		t.Errorf("unenroll says %s", a.stdout)
	}
	if a := s.command("", "device", "list", "--json").ok(t); !strings.Contains(a.stdout, "revoked") {
		t.Errorf("the server lists %s", a.stdout)
	}
}

// arrived begins a login and waits until it is listed.
func arrived(d *device, p *portal) transaction {
	d.tb.Helper()
	tx := p.begin("login")
	d.waitFor(tx.ID)
	return tx
}

// TestPolicyOfPINs: at the enrollment, when it is changed and when it goes on to
// another key, a PIN is as long as the policy says.
func TestPolicyOfPINs(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p, d := newPortal(t, s), newDevice(t)
	d.governed("pin_min_length = 8")
	if a := d.cli("1234567\n", "enroll", s.link(), "--pin-stdin").want(t, 1); a.code() != "pin_too_short" {
		t.Errorf("seven: %s", a.stdout)
	}
	d.cli("31415926\n", "enroll", s.link(), "--pin-stdin").ok(t)
	if a := d.changePIN("31415926", "1234567").want(t, 1); a.code() != "pin_too_short" {
		t.Errorf("changed into seven: %s", a.stdout)
	}
	d.governed("pin_min_length = 10")
	d.approveWith("31415926", arrived(d, p)).ok(t)
	if a := d.cli("31415926\n", "renew", d.profile().ID, "--pin-stdin").want(t, 1); a.code() != "pin_too_short" || !strings.Contains(a.cure(), "countersign pin change") {
		t.Errorf("renewed with eight: %s", a.stdout)
	}
	d.changePIN("31415926", "3141592653").ok(t)
	d.cli("3141592653\n", "renew", d.profile().ID, "--pin-stdin").ok(t)
	d.approveWith("3141592653", arrived(d, p)).ok(t)
}

// TestPolicyOfMuting at both sides of its edge, and where nothing is muted.
func TestPolicyOfMuting(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	d.governed(`mute_max = "1h"`)
	d.cli("", "mute", "--for", "1h1s").refusedByPolicy(t, "mute_forbidden")
	if a := d.cli("", "mute", "--for", "1h").ok(t); a.text("muted_until") == "" {
		t.Errorf("muted: %s", a.stdout)
	}
	d.governed(`mute_max = "0s"`)
	d.cli("", "mute", "--for", "1s").refusedByPolicy(t, "mute_forbidden")
	if a := d.cli("", "mute", "--for", "0s").ok(t); a.text("muted_until") != "" {
		t.Errorf("muted still: %s", a.stdout)
	}
}

// TestPolicyOfApprovals: with "terminal" no program approves, with "prompt" no
// terminal either; a denial is always taken.
func TestPolicyOfApprovals(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p, d := newPortal(t, s), newDevice(t)
	d.governed(`local_approvals = "terminal"`)
	d.enroll(s.link())
	tx := arrived(d, p)
	d.approve(tx).refusedByPolicy(t, "surface_forbidden")
	command := d.approveOnTerminal(t, tx)
	command.Answer("PIN: ", pin)
	p.verified(p.get(tx.ID))
	d.governed(`local_approvals = "prompt"`)
	tx = arrived(d, p)
	term, proc := atTerminal(t, d, "approve", tx.ID, "--number", tx.Number)
	term.Answer("PIN: ", pin)
	testenv.Eventually(t, "the refusal", func() bool { return strings.Contains(proc.log.String(), "prompt of the desktop") })
	if got := p.now(tx.ID).Status; got != "pending" {
		t.Errorf("it is %s", got)
	}
	d.cli("", "deny", tx.ID).ok(t)
}

// TestPolicyOfAttestation: without proof there is no enrollment, and nothing of
// one stays; with it there is.
func TestPolicyOfAttestation(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	tpm, maker := testenv.StartManufacturedTPM(t)
	d := newDeviceWith(t, tpm)
	d.governed("attestation_required = true")
	d.cli(pin+"\n", "enroll", s.link(), "--pin-stdin", "--no-attestation").refusedByPolicy(t, "attestation_required")
	d.cli(pin+"\n", "enroll", s.link(), "--pin-stdin").refusedByPolicy(t, "attestation_required")
	if a := d.cli("", "profiles").ok(t); strings.Contains(a.stdout, "p_") {
		t.Errorf("there is a profile: %s", a.stdout)
	}
	s.trust(maker.Issuer)
	d.enroll(s.link())
	p := newPortal(t, s)
	d.approve(arrived(d, p)).ok(t)
}

// settingsOf are the values of --check-config by key, and their origins.
func settingsOf(t *testing.T, a answer) (values map[string]any, origins map[string]string) {
	t.Helper()
	var doc struct {
		Settings []struct {
			Key    string
			Value  any
			Origin struct {
				File, Flag string
				Line       int
			}
		}
	}
	if err := json.Unmarshal([]byte(a.stdout), &doc); err != nil {
		t.Fatal(err)
	}
	values, origins = map[string]any{}, map[string]string{}
	for _, s := range doc.Settings {
		values[s.Key] = s.Value
		origins[s.Key] = s.Origin.File + s.Origin.Flag
	}
	return values, origins
}

// TestCheckConfig says what is in effect and where from, what is wrong, and
// starts nothing.
func TestCheckConfig(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "c.toml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("tpm = \"device:/dev/tpm7\"\n[policy]\nclass_floor = \"C2\"\n")
	args := []string{"--user", "--check-config", "--config", file, "--socket", "/nowhere/s", "--state", "/nowhere/state", "--json"}
	values, origins := settingsOf(t, command(t, "", "countersignd", args...).ok(t))
	for key, want := range map[string]any{"tpm": "device:/dev/tpm7", "policy.class_floor": "C2", "socket": "/nowhere/s", "piv": false} {
		if values[key] != want {
			t.Errorf("%s is %v", key, values[key])
		}
	}
	if origins["tpm"] != file || origins["socket"] != "--socket" || origins["piv"] != "" {
		t.Errorf("from %v", origins)
	}
	a := command(t, "", "countersignd", args[:len(args)-1]...).ok(t)
	if !strings.Contains(a.stdout, `policy.class_floor = "C2"  # `+file+":3\n") {
		t.Errorf("people read:\n%s", a.stdout)
	}
	write("piv = \"yes\"\nforbid_clli = true\n")
	a = command(t, "", "countersignd", args...).want(t, 1)
	if strings.Count(a.stdout, `"line"`) != 2 || a.json["ok"] != false || strings.Contains(a.stderr, "error") {
		t.Errorf("with mistakes: %s%s", a.stdout, a.stderr)
	}
	a = command(t, "", "countersignd", args[:len(args)-1]...).want(t, 1)
	if !strings.Contains(a.stderr, file+":1: piv takes true or false") || !strings.Contains(a.stderr, "did you mean forbid_cli?") {
		t.Errorf("people read:\n%s", a.stderr)
	}
	write("verify = { custom = \"plugin\", plugin = \"/nowhere/plugin\" }\n")
	if a = command(t, "", "countersignd", args...).want(t, 1); !strings.Contains(a.stdout, "/nowhere/plugin") {
		t.Errorf("a plug-in that is not there: %s", a.stdout)
	}
}

// TestCheckConfigSeesWhatTheServiceSees: in a file system of its own, root asks about a
// service that runs as somebody else.
func TestCheckConfigSeesWhatTheServiceSees(t *testing.T) {
	t.Parallel()
	testenv.NeedMounts(t)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"passwd": "root:x:0:0::/root:/bin/sh\ncountersign:x:4711:4711::/nonexistent:/bin/false\nalice:x:4712:4712::/:/bin/sh\n",
		"countersign/countersignd.toml": "[network]\nproxy = \"http://proxy.example:3128\"\nproxy_user = \"alice\"\n" +
			"proxy_password_file = \"/etc/countersign/password\"\n",
		"countersign/password": "sesame\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(change string, as ...string) answer {
		script := `mount -t tmpfs -o mode=755 tmpfs /etc && cp -r "$0"/* /etc && chmod 755 /etc/countersign && ` + change + ` && exec "$@"`
		line := append([]string{"--mount", "--propagation", "private", "sh", "-c", script, dir}, as...)
		return runCommand(t, "", exec.Command("unshare", append(line, filepath.Join(bin, "countersignd"), "--check-config", "--json")...))
	}
	const file = "/etc/countersign/password"
	for change, want := range map[string]string{
		"chmod 0600 " + file:                            "the service may not read " + file,
		"chmod 0644 " + file:                            file + " can be read or replaced by others",
		"chown 4712 " + file + " && chmod 0600 " + file: "the service may not read " + file,
		"rm " + file:                                    file + " does not exist",
		"chown 4711 " + file + " && chmod 0600 " + file + " && : > " + file: file + " is empty",
	} {
		a := run(change).want(t, 1)
		if !strings.Contains(a.stdout, want) || !strings.Contains(a.stdout, "chown countersign: "+file) || !strings.Contains(a.stdout, `"line":4`) {
			t.Errorf("%s: %s", change, a.stdout)
		}
	}
	run("chown 4711 " + file + " && chmod 0600 " + file).ok(t)
	a := run("chmod 0600 "+file, "setpriv", "--reuid", "4712", "--regid", "4712", "--clear-groups").ok(t)
	if notes, _ := a.json["notes"].([]any); len(notes) != 1 || !strings.Contains(notes[0].(string), "sudo") {
		t.Errorf("somebody else is told: %s", a.stdout)
	}
}

// TestSystemPolicyHoldsForUsers: in a file system of its own, where /etc has a
// configuration of several files.
func TestSystemPolicyHoldsForUsers(t *testing.T) {
	t.Parallel()
	testenv.NeedMounts(t)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"countersignd.toml": "state = \"/var/lib/elsewhere\"\n[policy]\nservers = [\"auth.example.org\"]\n",
		"conf.d/50-x.toml":  "policy.mute_max = \"1h\"\n",
		"conf.d/60-y.toml":  "policy.mute_max = \"0s\"\n",
		"own.toml":          "[policy]\nmute_max = \"24h\"\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) answer {
		script := `mount -t tmpfs -o mode=755 tmpfs /etc && cp -r "$0" /etc/countersign && chmod 755 /etc/countersign && exec "$@"`
		line := append([]string{"--mount", "--propagation", "private", "sh", "-c", script, dir, filepath.Join(bin, "countersignd"), "--check-config", "--json"}, args...)
		return runCommand(t, "", exec.Command("unshare", line...))
	}
	values, origins := settingsOf(t, run().ok(t))
	if values["state"] != "/var/lib/elsewhere" || values["policy.mute_max"] != "0s" || origins["policy.mute_max"] != "/etc/countersign/conf.d/60-y.toml" {
		t.Errorf("the system's service has %v from %v", values, origins)
	}
	user := []string{"--user", "--state", "/s", "--socket", "/s/s"}
	values, origins = settingsOf(t, run(user...).ok(t))
	if values["state"] != "/s" || values["policy.mute_max"] != "0s" || origins["policy.servers"] != "/etc/countersign/countersignd.toml" {
		t.Errorf("a user's service has %v from %v", values, origins)
	}
	if a := run(append(user, "--config", filepath.Join(dir, "own.toml"))...).want(t, 1); !strings.Contains(a.stdout, "set by the administrator") {
		t.Errorf("the user changes it: %s", a.stdout)
	}
}
