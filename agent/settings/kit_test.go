package settings

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// etc is a system's configuration directory.
type etc struct {
	t   *testing.T
	dir string
}

func newEtc(t *testing.T) etc {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/1")
	t.Setenv("XDG_STATE_HOME", "/home/u/state")
	if os.Geteuid() != 0 {
		t.Skip("only root has files of the administrator's")
	}
	return etc{t, t.TempDir()}
}

// put writes a file below the directory, and returns its path.
func (e etc) put(name, text string) string {
	e.t.Helper()
	return put(e.t, filepath.Join(e.dir, name), text)
}

func put(t *testing.T, path, text string) string {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (e etc) read(o Options) (Loaded, error) {
	o.system = e.dir
	return Read(o)
}

// mustRead reads what is in order.
func (e etc) mustRead(o Options) Loaded {
	e.t.Helper()
	l, err := e.read(o)
	if err != nil {
		e.t.Fatal(err)
	}
	return l
}

// problems reads what is not.
func (e etc) problems(o Options) Problems {
	e.t.Helper()
	_, err := e.read(o)
	list, ok := errors.AsType[Problems](err)
	if !ok || len(list) == 0 {
		e.t.Fatalf("got %v, want problems", err)
	}
	return list
}
