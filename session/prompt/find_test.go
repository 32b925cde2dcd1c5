package prompt_test

import (
	"os"
	"path/filepath"
	"testing"

	"countersign/session/prompt"
)

func TestWhichPinentry(t *testing.T) {
	for name, c := range map[string]struct {
		have []string
		link string // what "pinentry" points to
		want string
	}{
		"the owner's choice":  {[]string{"pinentry-qt", "pinentry-gtk-2"}, "pinentry-qt", "pinentry"},
		"that is for text":    {[]string{"pinentry-curses", "pinentry-qt"}, "pinentry-curses", "pinentry-qt"},
		"that cannot deny":    {[]string{"pinentry-gnome3", "pinentry-qt"}, "pinentry-gnome3", "pinentry-qt"},
		"nothing that denies": {[]string{"pinentry-gnome3", "pinentry-curses"}, "pinentry-gnome3", "pinentry-gnome3"},
		"no window":           {[]string{"pinentry-curses", "pinentry-tty"}, "pinentry-tty", ""},
		"none":                {nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, program := range c.have {
				if err := os.WriteFile(filepath.Join(dir, program), nil, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if c.link != "" {
				if err := os.Symlink(c.link, filepath.Join(dir, "pinentry")); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", dir)
			got, err := prompt.FindPinentry()
			if want := filepath.Join(dir, c.want); c.want != "" && got != want || (c.want == "") != (err != nil) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
