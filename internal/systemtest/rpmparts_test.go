//go:build system

package systemtest

// rpmDistribution makes the machine one of RPM's: with the policy of most, that
// nothing is enabled unless a preset says so, and a package for what ours need.
func (m *machine) rpmDistribution() {
	m.t.Helper()
	m.run(`mkdir -p /etc/rpm && echo '%_dbpath /var/lib/rpm' >/etc/rpm/macros
for manager in system user; do
  mkdir -p /usr/lib/systemd/$manager-preset /etc/systemd/$manager-preset
  echo 'disable *' >/usr/lib/systemd/$manager-preset/99-default-disable.preset
done
cat >/root/distribution.spec <<E
Name: distribution
Version: 1
Release: 1
Summary: What packages need
License: none
BuildArch: noarch
$(rpm -qp --requires /mnt/packages/*.rpm | grep -v '^rpmlib' | sort -u | sed 's/^/Provides: /')
%description
It has no files.
%files
E
rpmbuild --quiet --define '_topdir /root/rpmbuild' -bb /root/distribution.spec
rpm --upgrade /root/rpmbuild/RPMS/noarch/distribution-*.rpm`)
}

// upgrade installs packages for RPM, by their names, from a directory below the one
// of the packages under test, and returns what is said.
func (m *machine) upgrade(dir string, names ...string) string {
	m.t.Helper()
	command := "rpm --upgrade --oldpackage"
	for _, name := range names {
		command += " /mnt/packages/" + dir + name + "-[0-9]*.$(uname -m).rpm"
	}
	return m.run(command + " 2>&1")
}

// exchange installs a package and erases another in one transaction, as "dnf swap"
// does.
func (m *machine) exchange(comes, goes string) string {
	m.t.Helper()
	return m.run(`cat >/root/exchange.py <<'E'
import os, rpm, sys
comes, goes = sys.argv[1:]
ts = rpm.TransactionSet("/", rpm._RPMVSF_NOSIGNATURES)
files = {}
def callback(what, amount, total, key, data):
    if what == rpm.RPMCALLBACK_INST_OPEN_FILE:
        files[key] = os.open(key, os.O_RDONLY)
        return files[key]
    if what == rpm.RPMCALLBACK_INST_CLOSE_FILE:
        os.close(files[key])
with open(comes) as file:
    ts.addInstall(ts.hdrFromFdno(file), comes, "u")
ts.addErase(goes)
problems = ts.check() or ts.order() or ts.run(callback, "")
sys.exit(str(problems) if problems else 0)
E
python3 /root/exchange.py /mnt/packages/` + comes + `-[0-9]*.$(uname -m).rpm ` + goes + ` 2>&1`)
}
