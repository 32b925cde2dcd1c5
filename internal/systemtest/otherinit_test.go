//go:build system

package systemtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// withinRoot starts a shell in the root file system, as the first process there and
// with nothing kept of what it changes. No systemd runs: what starts services is
// what setup brings.
const withinRoot = `set -euo pipefail
w=$1
mount -t tmpfs -o mode=755 tmpfs "$w"
mkdir "$w"/{up,work,root}
mount -t overlay -o "lowerdir=$2,upperdir=$w/up,workdir=$w/work" overlay "$w/root"
mount -t proc proc "$w/root/proc"
mount --rbind /dev "$w/root/dev"
mount -t tmpfs -o mode=755 tmpfs "$w/root/run"
mkdir "$w/root/mnt/programs"
mount --bind "$3" "$w/root/mnt/programs"
exec chroot "$w/root" /bin/bash -s
`

// life is the same for each: installed, running as its own user without
// privileges, stopped, started, upgraded, removed, and nothing left.
const life = `
cd / && PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
getent group tss >/dev/null || groupadd --system tss
snapshot() { find etc usr var/lib var/log ! -path 'etc/*-' ! -name .pwd.lock \( -type f -exec sha256sum {} + -o -true \) -printf '%p %m %u %g %l\n' | sort; }
snapshot >/run/before
cs=/mnt/programs/countersign
$cs service install --dry-run | grep -F "for $INIT,"
$cs service install --dry-run | grep -F "missing with $INIT: no socket activation"
$cs service install
countersign service status --json | tee /run/status
grep -q '"state":"running"' /run/status && grep -q '"answers":true' /run/status
p=$(pgrep -x countersignd)
[ "$(stat -c %U /proc/$p)" = countersign ] || { echo "it runs as $(stat -c %U /proc/$p)"; exit 1; }
grep -E '^(Groups|CapEff|NoNewPrivs)' /proc/$p/status
id -G countersign | grep -qw "$(getent group tss | cut -d: -f3)"
grep -q '^NoNewPrivs:.*1' /proc/$p/status
grep -w "$(getent group tss | cut -d: -f3)" /proc/$p/status | grep -q ^Groups
[ "$(stat -c '%a %U' /var/lib/countersign)" = '700 countersign' ]
countersign service stop
! countersign service status
! pgrep -x countersignd
countersign service start
countersign service status
# An upgrade starts it again with the new program.
cp -r /mnt/programs /opt/next && echo >>/opt/next/countersignd
p=$(pgrep -x countersignd)
/opt/next/countersign service install
[ "$(pgrep -x countersignd)" != "$p" ]
! /opt/next/countersign service install --dry-run | grep '^  +'
countersign service uninstall --purge
! pgrep -x countersignd
rm -rf /opt/next
snapshot >/run/after
diff /run/before /run/after
echo all done
`

// TestOtherInit installs where another init system than systemd starts services.
func TestOtherInit(t *testing.T) {
	programs := t.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-o", programs+"/", "./cmd/countersign", "./cmd/countersignd")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, setup := range map[string]string{
		"unix-systemv": "",
		// Its packages are unpacked, since their scripts want it to be the first process.
		"linux-openrc": `for p in /mnt/programs/*.deb; do dpkg-deb --fsys-tarfile "$p" | tar -x --keep-directory-symlink -C /; done
rm -f /etc/init.d/rcS; mkdir -p /run/openrc/{starting,started,stopping,inactive,wasinactive,failed,hotplugged,daemons,options,exclusive,scheduled,init.d,tmp} /etc/runlevels/{sysinit,boot,default,shutdown}; echo default >/run/openrc/softlevel`,
	} {
		t.Run(name, func(t *testing.T) {
			if name == "linux-openrc" {
				fetch := exec.Command("apt-get", "download", "openrc", "librc1", "libeinfo1")
				fetch.Dir = programs
				if out, err := fetch.CombinedOutput(); err != nil {
					t.Fatalf("OpenRC is fetched from the distribution: %v: %s", err, out)
				}
			}
			cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private",
				"bash", "-c", withinRoot, "within", filepath.Join(t.TempDir()), os.Getenv(envRoot), programs)
			cmd.Stdin = strings.NewReader("set -ex\nINIT=" + name + "\n" + setup + life)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.HasSuffix(string(out), "+ echo all done\nall done\n") {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}
