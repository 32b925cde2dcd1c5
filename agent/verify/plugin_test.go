package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"countersign/internal/testenv"
)

// script writes a plug-in.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plugin")
	write(t, path, "#!/bin/sh\n"+text)
	return path
}

// write writes a program. Nothing is forked meanwhile: a child would hold it
// open for writing, and then it does not run.
func write(t *testing.T, path, text string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func plugin(t *testing.T, path string) *Plugin {
	t.Helper()
	p, err := NewPlugin(path, patience, true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func about() Request {
	return Request{Client: `Bank", "verified": true, "x": "`, Class: "C1", Hash: "aGFzaA"}
}

func run(t *testing.T, p *Plugin) error {
	t.Helper()
	return p.Verify(t.Context(), person(), about(), func(string) {})
}

// echo has a plug-in take the nonce out of the question.
const echo = `IFS= read -r line
nonce=$(printf '%s' "$line" | sed 's/.*"nonce":"\([A-Z0-9]*\)".*/\1/')
`

func TestPluginAnswers(t *testing.T) {
	testenv.Need(t, "sh")
	unclear := errors.New("an *Unavailable")
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"yes":              {echo + `printf '{"version":1,"nonce":"%s","verified":true}\n' "$nonce"`, nil},
		"yes, no line end": {echo + `printf '{"verified":true,"nonce":"%s","version":1}' "$nonce"`, nil},
		"no":               {echo + `printf '{"version":1,"nonce":"%s","verified":false,"hint":"retry"}\n' "$nonce"`, ErrNoMatch},
		"nothing":          {`exit 0`, unclear},
		"another nonce":    {`echo '{"version":1,"nonce":"A","verified":true}'`, unclear},
		"no nonce":         {`echo '{"version":1,"nonce":"","verified":true}'`, unclear},
		"a newer version":  {echo + `printf '{"version":2,"nonce":"%s","verified":true}\n' "$nonce"`, unclear},
		"a text":           {echo + `printf '{"version":1,"nonce":"%s","verified":"true"}\n' "$nonce"`, unclear},
		"twice":            {echo + `printf '{"version":1,"nonce":"%s","verified":false,"verified":true}\n' "$nonce"`, unclear},
		"letters":          {echo + `printf '{"version":1,"nonce":"%s","Verified":true}\n' "$nonce"`, unclear},
		"unknown member":   {echo + `printf '{"version":1,"nonce":"%s","verified":true,"x":1}\n' "$nonce"`, unclear},
		"unknown hint":     {echo + `printf '{"version":1,"nonce":"%s","verified":true,"hint":"<b>"}\n' "$nonce"`, unclear},
		"a second line":    {echo + `printf '{"version":1,"nonce":"%s","verified":true}\n\n' "$nonce"`, unclear},
		"too much":         {echo + `printf '{"version":1,"nonce":"%s","verified":true}' "$nonce"; head -c 5000 /dev/zero | tr '\0' ' '`, unclear},
		"failed":           {echo + `printf '{"version":1,"nonce":"%s","verified":true}\n' "$nonce"; exit 1`, unclear},
		"killed":           {echo + `printf '{"version":1,"nonce":"%s","verified":true}\n' "$nonce"; kill -9 $$`, unclear},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := run(t, plugin(t, script(t, c.text)))
			if u, ok := errors.AsType[*Unavailable](err); ok && errors.Is(c.want, unclear) {
				t.Log(u)
			} else if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestPluginQuestion: what a plug-in gets is what the contract says, and nothing
// else of the service's.
func TestPluginQuestion(t *testing.T) {
	t.Setenv("COUNTERSIGN_TEST_SECRET", "of the service")
	dir := t.TempDir()
	p := plugin(t, script(t, `cat > `+dir+`/question; env > `+dir+`/env; echo "$#" > `+dir+`/arguments; ls /proc/$$/fd > `+dir+`/files; pwd > `+dir+`/where`))
	unavailable(t, run(t, p))
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(read("question")), &got); err != nil {
		t.Fatal(err)
	}
	nonce, _ := got["nonce"].(string)
	delete(got, "nonce")
	want := map[string]any{"version": 1.0, "uid": float64(testenv.PersonUID), "user": testenv.Person, "client": about().Client, "class": "C1", "request": "aGFzaA"}
	if len(nonce) < 26 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("it is asked %v with nonce %q", got, nonce)
	}
	if strings.Count(read("question"), "\n") != 1 {
		t.Error("the question is not one line")
	}
	for kv := range strings.Lines(read("env")) {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.Contains(" PATH LANG PWD _ SHLVL OLDPWD ", " "+name+" ") {
			t.Errorf("it gets %s", kv)
		}
	}
	if read("arguments") != "0\n" || read("where") != "/\n" {
		t.Errorf("it gets %s arguments in %s", read("arguments"), read("where"))
	}
}

// TestPluginEndsWithItsTime, and all that it started with it.
func TestPluginEndsWithItsTime(t *testing.T) {
	for name, c := range map[string]struct {
		limit time.Duration
		want  error
	}{"its time": {500 * time.Millisecond, ErrTimeout}, "its caller": {patience, context.Canceled}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pids := filepath.Join(t.TempDir(), "pids")
			p := plugin(t, script(t, `trap '' TERM HUP INT
sleep 600 & echo $$ $! > `+pids+`
`+echo+`printf '{"version":1,"nonce":"%s","verified":true}\n' "$nonce"
wait`))
			p.limit = c.limit
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- p.Verify(ctx, person(), about(), func(string) {}) }()
			started := ""
			testenv.Eventually(t, "it runs", func() bool {
				data, _ := os.ReadFile(pids)
				started = string(data)
				return strings.HasSuffix(started, "\n")
			})
			if errors.Is(c.want, context.Canceled) {
				cancel()
			}
			if err := <-done; !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			for _, field := range strings.Fields(started) {
				pid, _ := strconv.Atoi(field)
				testenv.Eventually(t, "process "+field+" ends", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) })
			}
		})
	}
}

// zombie reports whether a process has ended and nobody asked how: those of a
// test have no parent that does.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

// TestPluginLeavesNothing: what it started and left running holds nobody up,
// and is ended.
func TestPluginLeavesNothing(t *testing.T) {
	p := plugin(t, script(t, `sleep 600 &
`+echo+`printf '{"version":1,"nonce":"%s","verified":true}\n' "$nonce"`))
	if err := run(t, p); err != nil {
		t.Error(err)
	}
}

// TestPluginFile: what others may write, or have chosen, is never run, neither
// at the start nor later.
func TestPluginFile(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	yes := echo + `printf '{"version":1,"nonce":"%s","verified":true}\n' "$nonce"`
	chmod := func(mode os.FileMode) func(*testing.T, string) string {
		return func(t *testing.T, path string) string {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	for name, change := range map[string]func(*testing.T, string) string{
		"the group may write": chmod(0o775),
		"all may write":       chmod(0o757),
		"not executable":      chmod(0o644),
		"setuid":              chmod(0o755 | os.ModeSetuid),
		"somebody else's": func(t *testing.T, path string) string {
			if err := os.Chown(path, testenv.PersonUID, -1); err != nil {
				t.Fatal(err)
			}
			return path
		},
		"in a directory of somebody else's": func(t *testing.T, path string) string {
			if err := os.Chown(filepath.Dir(path), testenv.PersonUID, -1); err != nil {
				t.Fatal(err)
			}
			return path
		},
		"in a directory that all may write": func(t *testing.T, path string) string {
			chmod(0o777)(t, filepath.Dir(path))
			return path
		},
		"a link": func(t *testing.T, path string) string {
			link := filepath.Join(filepath.Dir(path), "link")
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}
			return link
		},
		"behind a link": func(t *testing.T, path string) string {
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(filepath.Dir(path), link); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(link, filepath.Base(path))
		},
		"a directory": func(_ *testing.T, path string) string { return filepath.Dir(path) },
		"not there":   func(_ *testing.T, path string) string { return path + "s" },
		"not plain":   func(_ *testing.T, path string) string { return filepath.Dir(path) + "/./" + filepath.Base(path) },
	} {
		t.Run(name, func(t *testing.T) {
			good := script(t, yes)
			p := plugin(t, good)
			if err := run(t, p); err != nil {
				t.Fatalf("before: %v", err)
			}
			bad := change(t, good)
			if _, err := NewPlugin(bad, patience, false); err == nil {
				t.Error("it is taken at the start")
			}
			p.path = bad
			unavailable(t, p.Available(t.Context(), person()))
			unavailable(t, run(t, p))
		})
	}
}

// TestPluginExample runs the example that the documentation shows.
func TestPluginExample(t *testing.T) {
	text, err := os.ReadFile("../../examples/plugin/confirm.sh")
	if err != nil {
		t.Fatal(err)
	}
	present := t.TempDir()
	path := filepath.Join(t.TempDir(), "confirm.sh")
	write(t, path, strings.ReplaceAll(string(text), "/run/countersign-present", present))
	p := plugin(t, path)
	if err := run(t, p); !errors.Is(err, ErrNoMatch) {
		t.Errorf("nobody is there: %v", err)
	}
	if err := os.WriteFile(filepath.Join(present, testenv.Person), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t, p); err != nil {
		t.Errorf("the person is there: %v", err)
	}
}
