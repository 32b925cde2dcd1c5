package installer

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"countersign/internal/testenv"
)

// small makes an image on a file system of its own, and a function that leaves only
// so many pages of it free, or all with -1.
func small(t *testing.T) (root string, leave func(pages int)) {
	t.Helper()
	root = image(t)
	disk := filepath.Join(root, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=4m,mode=0700"); err != nil {
		t.Skip("no file system can be mounted here: ", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	if err := os.CopyFS(disk, os.DirFS(image(t))); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(disk, "filler")
	return disk, func(pages int) {
		if err := os.Remove(filler); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if pages < 0 {
			return
		}
		var st unix.Statfs_t
		if err := unix.Statfs(disk, &st); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filler, bytes.Repeat([]byte{1}, (int(st.Bfree)-pages)*int(st.Bsize)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFullDisk fills the disk so that installing, upgrading or removing ends at any of
// the files. With room again, the same again or the opposite ends as if nothing had
// happened.
func TestFullDisk(t *testing.T) {
	v1, v2 := programs(t, "1"), programs(t, "2")
	bare, installed, upgraded := image(t), image(t), image(t)
	do(t, "install", installed, v1)
	do(t, "install", upgraded, v1)
	do(t, "install", upgraded, v2)
	for _, c := range interruptions(v1, v2, bare, installed, upgraded) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			want := treeOf(t, c.want)
			failed := 0
			for pages := 0; ; pages += testenv.Stride(3) {
				root, leave := small(t)
				if c.before != "" {
					do(t, "install", root, c.before)
				}
				leave(pages)
				err := act(c.action, root, c.with, 0)
				leave(-1)
				if err == nil {
					break
				}
				failed++
				do(t, c.after, root, c.afterWith)
				if diff := cmp.Diff(want, treeOf(t, root)); diff != "" {
					t.Fatalf("%s with %d pages free: %v\nthen %s:\n%s", c.action, pages, err, c.after, diff)
				}
			}
			if failed == 0 {
				t.Error("the disk was never full")
			}
		})
	}
}
