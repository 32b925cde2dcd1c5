package installer

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/internal/testenv"
	"countersign/session/desktop"
	"countersign/systemd"
)

// open opens an image to install to.
func open(t *testing.T, root, programs string) *Installer {
	t.Helper()
	i, err := New(Options{Root: root, Programs: programs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	return i
}

func planInstall(t *testing.T, root, programs string) (*Plan, error) {
	t.Helper()
	return open(t, root, programs).PlanInstall(t.Context())
}

// code is what an error is of ours.
func code(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

func edit(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestPlansAreAsReviewed holds the steps of both plans, and their order.
func TestPlansAreAsReviewed(t *testing.T) {
	root, from := image(t), programs(t, "1")
	install, err := planInstall(t, root, from)
	if err != nil {
		t.Fatal(err)
	}
	if before := treeOf(t, root); len(before) != len(treeOf(t, image(t))) {
		t.Error("planning changed something")
	}
	do(t, "install", root, from)
	uninstall, err := open(t, root, from).PlanUninstall(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*Plan{install, uninstall} {
		var lines []string
		for _, item := range p.Steps {
			lines = append(lines, string(item.State)+" "+item.Text)
		}
		got := strings.NewReplacer(root, "ROOT", from, "PROGRAMS").Replace(strings.Join(lines, "\n") + "\n")
		got = regexp.MustCompile(`\d+ bytes, sha256 [0-9a-f]+`).ReplaceAllString(got, "N bytes, sha256 H")
		golden := filepath.Join("testdata", p.Action+".golden")
		if os.Getenv("UPDATE") != "" {
			edit(t, golden, got)
		}
		if diff := cmp.Diff(content(t, golden), got); diff != "" {
			t.Errorf("the plan to %s is not as it was reviewed:\n%s", p.Action, diff)
		}
	}
}

// TestPlanIsData: what a plan says in JSON is enough to do it by hand.
func TestPlanIsData(t *testing.T) {
	p, err := planInstall(t, image(t), programs(t, "1"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Action, Mode, Init string
		Steps              []struct {
			Kind, State, Text string
			Step              struct {
				Path, Mode, Owner, SHA256 string
				Command                   []string
			}
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Action != "install" || doc.Mode != "system" || doc.Init != initSystemd {
		t.Errorf("it is %+v", doc)
	}
	kinds := map[string]int{}
	for _, s := range doc.Steps {
		kinds[s.Kind]++
		switch Kind(s.Kind) {
		case KindWrite, KindService:
			if s.Step.Path == "" || len(s.Step.Mode) != 4 || s.Step.Owner != "root:root" || len(s.Step.SHA256) != 64 {
				t.Errorf("a file is said by %+v", s)
			}
		case KindUser, KindEnable:
			if len(s.Step.Command) < 2 {
				t.Errorf("a command is said by %+v", s)
			}
		default:
		}
	}
	if kinds["write_file"] < 10 || kinds["define_service"] != 1 || kinds["make_user"] != 1 {
		t.Errorf("the steps are %v", kinds)
	}
}

// TestDefinitionIsLiteral: all that kardianos/service puts into a unit or script
// is the program's path, so that what it writes is what was reviewed; and no
// script starts the service as root.
func TestDefinitionIsLiteral(t *testing.T) {
	for _, name := range []string{initSystemd, initOpenRC, initSysV, initUpstart} {
		s := &initSystem{name: name, program: "/usr/local/bin/countersignd"}
		_, _, template := s.definition()
		if n := strings.Count(template, "{{"); n == 0 || n != strings.Count(template, unitPath)+strings.Count(template, scriptPath) {
			t.Errorf("%s: the template holds more than the path:\n%s", name, template)
		}
		text := string(s.rendered(template))
		if !strings.Contains(text, s.program) || !strings.Contains(text, "countersign:countersign") && !strings.Contains(text, "--reuid=countersign") && !strings.Contains(text, "\nUser=countersign\n") {
			t.Errorf("%s: it is not started as its own user:\n%s", name, text)
		}
		if (name == initSystemd) != (len(s.missing()) == 0) {
			t.Errorf("%s lacks %v", name, s.missing())
		}
	}
	s := &initSystem{name: initSystemd, program: "/usr/local/bin/countersignd"}
	_, _, template := s.definition()
	if want := systemd.Files(systemd.Agent, "/usr/local/bin")[0]; string(s.rendered(template)) != string(want.Data) {
		t.Errorf("the unit is not systemd's %s", want.Name)
	}
}

// TestChangedFilesStay: what somebody changed is neither overwritten nor removed.
func TestChangedFilesStay(t *testing.T) {
	root, v1, v2 := image(t), programs(t, "1"), programs(t, "2")
	do(t, "install", root, v1)
	socket := filepath.Join(root, "etc/systemd/system/countersignd.socket")
	service := filepath.Join(root, "etc/systemd/system/countersignd.service")
	shipped := content(t, socket)
	// An older version wrote something else, which somebody changed since.
	i := open(t, root, v1)
	i.m.book.file("/etc/systemd/system/countersignd.socket").Wrote = []string{hash([]byte("older"))}
	i.m.book.file("/etc/systemd/system/countersignd.service").Wrote = []string{hash([]byte("older"))}
	if err := i.m.book.save(); err != nil {
		t.Fatal(err)
	}
	edit(t, socket, "theirs")
	edit(t, service, "theirs")
	p, err := planInstall(t, root, v2)
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for _, item := range p.Steps {
		if item.State == Kept {
			kept++
		}
	}
	if kept != 2 {
		t.Errorf("%d files are planned to be kept", kept)
	}
	do(t, "install", root, v2)
	if content(t, socket) != "theirs" || content(t, socket+".new") != shipped || content(t, service) != "theirs" {
		t.Error("the change is lost, or the new version is not beside it")
	}
	// Who has seen to the new version is not asked again.
	if err := os.Remove(socket + ".new"); err != nil {
		t.Fatal(err)
	}
	do(t, "install", root, v2)
	if _, err := os.Stat(socket + ".new"); err == nil {
		t.Error("the new version comes back")
	}
	do(t, "uninstall", root, v2)
	if content(t, socket) != "theirs" || content(t, service) != "theirs" {
		t.Error("the changed files are gone")
	}
	if _, err := os.Stat(service + ".new"); err == nil {
		t.Error("the new version stays")
	}
	if _, err := os.Lstat(filepath.Join(root, "etc/systemd/system/multi-user.target.wants/countersignd.service")); err == nil {
		t.Error("a service without a program is enabled")
	}
}

// TestFilesOfOthers: what was there before is not touched, and said.
func TestFilesOfOthers(t *testing.T) {
	from := programs(t, "1")
	for _, c := range []struct{ path, code string }{
		{"usr/local/bin/countersignd", CodeConflict},
		{"etc/systemd/system/countersignd.service", CodeConflict},
		{"etc/udev/rules.d/60-countersign.rules", CodeConflict},
	} {
		root := image(t)
		edit(t, filepath.Join(root, c.path), "theirs")
		if _, err := planInstall(t, root, from); code(err) != c.code {
			t.Errorf("%s: %v", c.path, err)
		}
	}
	// A program that was replaced is not ours any more.
	root := image(t)
	do(t, "install", root, from)
	edit(t, filepath.Join(root, "usr/local/bin/countersignd"), "theirs")
	if _, err := planInstall(t, root, programs(t, "2")); code(err) != CodeConflict {
		t.Errorf("a replaced program: %v", err)
	}
	// A file that is the same is left to whoever put it there.
	root = image(t)
	rules := filepath.Join(root, "etc/polkit-1/rules.d/50-countersign.rules")
	data, err := polkit.ReadFile("polkit/50-countersign.rules")
	if err != nil {
		t.Fatal(err)
	}
	edit(t, rules, string(data))
	do(t, "install", root, from)
	do(t, "uninstall", root, from)
	if content(t, rules) != string(data) {
		t.Error("it is gone")
	}
}

// TestNobodyElsesDirectory: a service never starts from where others may write.
func TestNobodyElsesDirectory(t *testing.T) {
	from := programs(t, "1")
	for name, spoil := range map[string]func(dir string) error{
		"another's":         func(dir string) error { return os.Chown(dir, 4711, 0) },
		"everybody's":       func(dir string) error { return os.Chmod(dir, 0o757) },
		"a group's":         func(dir string) error { return errors.Join(os.Chown(dir, 0, 50), os.Chmod(dir, 0o775)) },
		"another's, sticky": func(dir string) error { return os.Chmod(dir, 0o757|os.ModeSticky) },
	} {
		t.Run(name, func(t *testing.T) {
			root := image(t)
			dir := filepath.Join(root, "usr/local")
			if err := errors.Join(os.MkdirAll(filepath.Join(dir, "bin"), 0o755), spoil(dir)); err != nil {
				t.Fatal(err)
			}
			err := act("install", root, from, 0)
			if code(err) != CodeUnsafe {
				t.Fatalf("it is installed: %v", err)
			}
			if _, err := os.Stat(filepath.Join(dir, "bin/countersignd")); err == nil {
				t.Error("the program is there")
			}
		})
	}
}

// TestLinksOutOfImage: an image cannot have files written outside it.
func TestLinksOutOfImage(t *testing.T) {
	for _, target := range []string{"/etc", "../../.."} {
		root := image(t)
		if err := os.Symlink(target, filepath.Join(root, "usr/local")); err != nil {
			t.Fatal(err)
		}
		if err := act("install", root, programs(t, "1"), 0); err == nil {
			t.Errorf("it followed a link to %s", target)
		}
	}
}

// TestPackaged: what a distribution package has installed is the package's.
func TestPackaged(t *testing.T) {
	testenv.Need(t, "dpkg-query")
	root, from := image(t), programs(t, "1")
	do(t, "install", root, from)
	edit(t, filepath.Join(root, "var/lib/dpkg/status"), "Package: countersign\nStatus: install ok installed\nArchitecture: amd64\nMaintainer: x\nVersion: 1\nDescription: x\n")
	edit(t, filepath.Join(root, "var/lib/dpkg/info/format"), "1\n")
	action := "/usr/share/polkit-1/actions/io.countersign.policy"
	edit(t, filepath.Join(root, "var/lib/dpkg/info/countersign.list"), "/.\n/usr/bin/countersign\n"+action+"\n")
	// A package that came later took over one of the files: that stays with it.
	do(t, "uninstall", root, from)
	if _, err := os.Stat(filepath.Join(root, action)); err != nil {
		t.Error("the package's file is gone")
	}
	edit(t, filepath.Join(root, "usr/bin/countersign"), "packaged")
	_, err := planInstall(t, root, from)
	if code(err) != CodePackaged {
		t.Errorf("it is installed over the package: %v", err)
	}
	if _, err := open(t, root, from).PlanUninstall(t.Context(), true); code(err) != CodePackaged {
		t.Errorf("the package is uninstalled: %v", err)
	}
	// Removed and not purged it owns what it left, and has installed nothing.
	edit(t, filepath.Join(root, "var/lib/dpkg/status"), "Package: countersign\nStatus: deinstall ok config-files\nArchitecture: amd64\nMaintainer: x\nVersion: 1\nDescription: x\n")
	for _, path := range []string{"usr/bin/countersign", action[1:]} {
		if err := os.Remove(filepath.Join(root, path)); err != nil {
			t.Fatal(err)
		}
	}
	autostart := "/etc/xdg/autostart/countersign-session.desktop"
	edit(t, filepath.Join(root, "var/lib/dpkg/info/countersign.list"), autostart+"\n")
	edit(t, filepath.Join(root, autostart), desktop.Autostart)
	do(t, "install", root, from)
	do(t, "uninstall", root, from)
	if content(t, filepath.Join(root, autostart)) != desktop.Autostart {
		t.Error("what the package left is gone")
	}
}

// TestStateStays: without a yes the keys stay, with the user whose they are, and
// a later purge takes both.
func TestStateStays(t *testing.T) {
	root, from := image(t), programs(t, "1")
	before := treeOf(t, root)
	do(t, "install", root, from)
	edit(t, filepath.Join(root, "var/lib/countersign/profiles/p"), "key")
	do(t, "uninstall", root, from)
	if content(t, filepath.Join(root, "var/lib/countersign/profiles/p")) != "key" || !strings.Contains(content(t, filepath.Join(root, "etc/passwd")), "\ncountersign:") {
		t.Fatal("the state or its user is gone")
	}
	// Installed and removed once more, it is the same.
	do(t, "install", root, from)
	do(t, "uninstall", root, from)
	i := open(t, root, from)
	p, err := i.PlanUninstall(t.Context(), true)
	if err == nil {
		err = i.Apply(t.Context(), p, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, treeOf(t, root)); diff != "" {
		t.Errorf("the purge leaves:\n%s", diff)
	}
}

// TestRecordOfOthers: only root says what root removes, and only in words that
// this version knows.
func TestRecordOfOthers(t *testing.T) {
	from := programs(t, "1")
	for name, spoil := range map[string]func(path string) error{
		"another's":    func(path string) error { return os.Chown(path, 4711, 0) },
		"a later one":  func(path string) error { return os.WriteFile(path, []byte(`{"format":2}`), 0o644) },
		"not readable": func(path string) error { return os.WriteFile(path, []byte(`{"format":`), 0o644) },
	} {
		root := image(t)
		do(t, "install", root, from)
		if err := spoil(filepath.Join(root, "var/lib/countersign-install/record.json")); err != nil {
			t.Fatal(err)
		}
		if _, err := New(Options{Root: root, Programs: from}); code(err) != CodeRecord && code(err) != CodeUnsafe {
			t.Errorf("a record that is %s: %v", name, err)
		}
	}
}

// TestObsoleteFilesGo: what an earlier version wrote, and this one does not.
func TestObsoleteFilesGo(t *testing.T) {
	root, from := image(t), programs(t, "1")
	do(t, "install", root, from)
	i := open(t, root, from)
	old := &WriteFile{Path: "/etc/countersign/old.conf", Mode: 0o644, SHA256: hash([]byte("old")), data: []byte("old")}
	if err := i.m.place(KindWrite, old); err != nil {
		t.Fatal(err)
	}
	do(t, "install", root, from)
	if _, err := os.Stat(filepath.Join(root, old.Path)); err == nil {
		t.Error("it stays")
	}
	if strings.Contains(content(t, filepath.Join(root, i.layout.record)), "old.conf") {
		t.Error("the record still tells of it")
	}
}

// TestShortPath: su without a dash leaves the path of a user, which has no useradd.
func TestShortPath(t *testing.T) {
	root, from := image(t), programs(t, "1")
	before := treeOf(t, root)
	t.Setenv("PATH", "/usr/bin:/bin")
	do(t, "install", root, from)
	i := open(t, root, from)
	p, err := i.PlanUninstall(t.Context(), true)
	if err == nil {
		err = i.Apply(t.Context(), p, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, treeOf(t, root)); diff != "" {
		t.Errorf("it leaves:\n%s", diff)
	}
}
