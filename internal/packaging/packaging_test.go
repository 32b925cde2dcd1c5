package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/systemd"
)

func TestVersion(t *testing.T) {
	for said, want := range map[string]string{
		"v0.5.0": "0.5.0", "0.5.0": "0.5.0", "v0.5.0-dirty": "0.5.0+dirty",
		"v0.4.0-12-gabcdef0": "0.4.0+12.gabcdef0", "v0.4.0-12-gabcdef0-dirty": "0.4.0+12.gabcdef0.dirty",
		"1234567": "0.0.0+g1234567", "abcdef0-dirty": "0.0.0+gabcdef0.dirty", "v0.5.0~rc1": "0.5.0~rc1",
	} {
		if got, err := version(said); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", said, got, err, want)
		}
	}
	for _, said := range []string{"", "next", "v0.5 0", "v0.5.0-rc1", "v0.5.0-12-gx", "$(id)"} {
		if got, err := version(said); err == nil {
			t.Errorf("%q is taken for %q", said, got)
		}
	}
}

// TestVersionsSort has dpkg judge the order in which packages replace each other.
func TestVersionsSort(t *testing.T) {
	testenv.Need(t, "dpkg")
	order := []string{"1234567", "v0.4.0", "v0.4.0-3-gfffffff", "v0.4.0-12-g0000000", "v0.5.0~rc1", "v0.5.0"}
	for i := 1; i < len(order); i++ {
		older, _ := version(order[i-1])
		newer, _ := version(order[i])
		if err := exec.CommandContext(t.Context(), "dpkg", "--compare-versions", older, "lt", newer).Run(); err != nil {
			t.Errorf("%s does not come before %s", older, newer)
		}
	}
}

const history = `# Changelog

Words.

## Unreleased

- New: ` + "`this`" + ` & that,
  and more.

## 0.4.0 (2026-01-31)

- Old.
`

func TestChangelog(t *testing.T) {
	building := release{name: "thing", version: "0.4.0+1.gabc", contact: "A <a@b.example>", date: time.Unix(1700000000, 0).UTC()}
	list, err := releases(history, building)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d releases, %v", len(list), err)
	}
	for format, want := range map[string]string{
		"deb": "thing (0.4.0+1.gabc) unstable; urgency=medium\n\n  * New: `this` & that, and more.\n\n" +
			" -- A <a@b.example>  Tue, 14 Nov 2023 22:13:20 +0000\n\n",
		"yaml":      "- semver: \"0.4.0+1.gabc-1\"\n  date: 2023-11-14T22:13:20Z\n  packager: \"A <a@b.example>\"\n  changes:\n    - note: \"New: `this` & that, and more.\"\n",
		"appstream": `<release version="0.4.0+1.gabc" date="2023-11-14"><description><ul><li>New: this &amp; that, and more.</li></ul></description></release>` + "\n",
	} {
		var out bytes.Buffer
		entry(format)(&out, list[0])
		if out.String() != want {
			t.Errorf("%s:\n%s\nwant\n%s", format, out.String(), want)
		}
	}
	if got := list[1]; got.version != "0.4.0" || got.date.Format(time.DateOnly) != "2026-01-31" {
		t.Errorf("the release is %+v", got)
	}
}

// TestChangelogIsAboutWhatIsBuilt: no package comes with another version's history.
func TestChangelogIsAboutWhatIsBuilt(t *testing.T) {
	released := strings.Replace(history, "## Unreleased\n\n- New: `this` & that,\n  and more.\n\n", "", 1)
	if _, err := releases(released, release{version: "0.4.0"}); err != nil {
		t.Errorf("a release: %v", err)
	}
	for name, text := range map[string]string{
		"of another version": released,
		"no heading":         "# Changelog\n",
		"an empty release":   "## Unreleased\n",
		"a bad date":         "## 0.5.0 (2026-02-31)\n- x\n",
		"a bad heading":      "## 0.5.0\n- x\n",
		"a stray line":       "## Unreleased\n- x\nstray\n",
	} {
		if _, err := releases(text, release{version: "0.5.0"}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestTheChangelog is that there is one, and that it can be read.
func TestTheChangelog(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", changelogFile))
	if err != nil {
		t.Fatal(err)
	}
	first := heading.FindStringSubmatch("## " + strings.SplitN(strings.SplitN(string(text), "\n## ", 2)[1], "\n", 2)[0])
	if _, err := releases(string(text), release{version: first[2], date: time.Now()}); err != nil {
		t.Error(err)
	}
}

func TestLicenses(t *testing.T) {
	for name, text := range map[string]string{
		"GPL":     "GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007",
		"nothing": "All rights reserved.",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "LICENSE"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := (module{path: name, dir: dir}).licenses(); err == nil {
			t.Errorf("%s passes as %v", name, got)
		}
	}
	if got, err := (module{path: "none", dir: t.TempDir()}).licenses(); err == nil {
		t.Errorf("a module without a license passes as %v", got)
	}
	ours, err := module{path: "countersign", dir: "../.."}.licenses()
	if err != nil || len(ours) != 1 || ours[0] != "Apache-2.0" {
		t.Errorf("ours is %v, %v", ours, err)
	}
}

// TestNeeds reads programs that are there: this very test, and a shell.
func TestNeeds(t *testing.T) {
	if err := needs(new(bytes.Buffer), "deb", []string{"/nonexistent"}); err == nil {
		t.Error("a program that is not there needs nothing")
	}
	testenv.Need(t, "gcc")
	dir := t.TempDir()
	source := filepath.Join(dir, "x.c")
	if err := os.WriteFile(source, []byte("#include <stdio.h>\nint main(void){puts(\"x\");return 0;}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{"": "libc6 (>= 2.", "-static": "", "-l:libm.so.6 -Wl,--no-as-needed": "no dependency of ours"} {
		program := filepath.Join(dir, "x")
		cmd := exec.CommandContext(t.Context(), "gcc", append(append([]string{"-Wl,--no-as-needed", "-o", program, source}, strings.Fields(args)...), "-O1")...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var out bytes.Buffer
		said := ""
		if err := needs(&out, "deb", []string{program}); err != nil {
			said = err.Error()
		}
		if said += out.String(); !strings.Contains(said, want) || want == "" && said != "" {
			t.Errorf("gcc %s: it needs %q, want %q", args, said, want)
		}
	}
}

// TestUnitsAreInThePackages: whoever adds a unit adds it to what is installed.
func TestUnitsAreInThePackages(t *testing.T) {
	for part, packages := range map[string][]string{
		systemd.Agent: {"countersign", "countersign-static"}, systemd.Session: {"countersign", "countersign-static"},
		systemd.User: {"countersign", "countersign-static"}, systemd.Server: {"countersign-server"},
	} {
		for _, pkg := range packages {
			for _, format := range []string{".deb", ".rpm"} {
				list, err := os.ReadFile(filepath.Join("..", "..", "packaging", "golden", pkg+format))
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range systemd.Files(part, "/usr/bin") {
					if line := "-rw-r--r-- root/root /usr/" + f.Dir + "/" + f.Base() + "\n"; !strings.Contains(string(list), line) {
						t.Errorf("%s%s has no %s", pkg, format, f.Name)
					}
				}
			}
		}
	}
}
