//go:build system

package systemtest

import (
	"strings"
	"time"
)

// tpm gives the machine a TPM that is manufactured here: software, behind a socket
// that belongs to the group tss, as /dev/tpmrm0 does.
func (m *machine) tpm() {
	m.t.Helper()
	m.run(`
mkdir -p /var/lib/swtpm/ca /etc/countersign/conf.d && cd /var/lib/swtpm
getent group tss >/dev/null || groupadd --system tss
cat >ca/localca.conf <<E
statedir = $PWD/ca
signingkey = $PWD/ca/signkey.pem
issuercert = $PWD/ca/issuercert.pem
certserial = $PWD/ca/certserial
E
printf -- '--platform-%s\n' 'manufacturer countersign' 'version 1' 'model test' >ca/options
cat >ca/setup.conf <<E
create_certs_tool = $(command -v swtpm_localca)
create_certs_tool_config = $PWD/ca/localca.conf
create_certs_tool_options = $PWD/ca/options
active_pcr_banks = sha256
E
mkdir tpm && swtpm_setup --tpm2 --tpmstate dir://$PWD/tpm --create-ek-cert --lock-nvram --config ca/setup.conf --logfile setup.log || { cat setup.log; exit 1; }
cat >/etc/systemd/system/tpm.service <<E
[Service]
ExecStart=/usr/bin/swtpm socket --tpm2 --tpmstate dir=/var/lib/swtpm/tpm --server type=unixio,path=/run/tpm/sock,mode=0660,gid=$(getent group tss | cut -d: -f3) --ctrl type=unixio,path=/run/tpm/sock.ctrl --flags not-need-init,startup-clear
RuntimeDirectory=tpm
RuntimeDirectoryMode=0755
Restart=always
[Install]
WantedBy=multi-user.target
E
echo 'tpm = "swtpm:/run/tpm/sock"' >/etc/countersign/conf.d/10-tpm.toml
systemctl daemon-reload && systemctl enable --now --quiet tpm.service`)
}

// server installs and starts the Token Server on the machine itself.
func (m *machine) server() {
	m.t.Helper()
	m.install("countersign-server")
	m.serve()
}

// serve configures the Token Server that is installed, and starts it.
func (m *machine) serve() {
	m.t.Helper()
	m.run(`
printf '[serve]\nlisten = "127.0.0.1:8443"\ndevice_listen = "127.0.0.1:8444"\n' >/etc/countersign/countersign-server.toml
chmod 644 /etc/countersign/countersign-server.toml
systemctl enable --now --quiet countersign-server.service
countersign-server user add alice --data /var/lib/countersign-server
countersign-server client add Shop --data /var/lib/countersign-server --json >/root/client.json`)
}

// login makes a user and logs them in at the machine's screen, with a desktop.
func (m *machine) login(user string) {
	m.t.Helper()
	m.run(`id -u ` + user + ` >/dev/null 2>&1 || useradd -m -s /bin/bash ` + user + `
cat >/usr/local/bin/desktop <<'E'
#!/bin/bash
Xvfb :7 -screen 0 1000x700x24 -nolisten tcp &
until [ -S /tmp/.X11-unix/X7 ]; do sleep .1; done
systemctl --user import-environment DISPLAY XDG_SESSION_ID XDG_SEAT XDG_SESSION_TYPE
openbox &
/usr/lib/x86_64-linux-gnu/xfce4/notifyd/xfce4-notifyd &
systemctl --user start desktop.target
wait
E
chmod 755 /usr/local/bin/desktop
mkdir -p /etc/systemd/user
printf '[Unit]\nBindsTo=graphical-session.target\nBefore=graphical-session.target\n' >/etc/systemd/user/desktop.target
systemd-run --quiet --unit=login-` + user + ` --uid=` + user + ` -p PAMName=login -E HOME=/home/` + user + ` -E XDG_SEAT=seat0 -E XDG_SESSION_TYPE=x11 -E XDG_SESSION_CLASS=user -E DISPLAY=:7 /usr/local/bin/desktop`)
	m.within(30*time.Second, "the session of "+user, func() bool {
		out, _ := m.user(user, "systemctl --user is-active graphical-session.target; busctl --user status org.freedesktop.Notifications >/dev/null && echo notified")
		return strings.Contains(out, "active\nnotified")
	})
}

// user runs a script as a user, with the environment of their session.
func (m *machine) user(user, script string) (string, error) {
	home := "HOME=/home/" + user
	return m.as([]string{"--uid=" + user, "-p", "PAMName=login", "-E", home, "-E", "DISPLAY=:7"}, script)
}

// runAs is user for what must succeed.
func (m *machine) runAs(user, script string) string {
	m.t.Helper()
	out, err := m.user(user, script)
	if err != nil {
		m.t.Fatalf("as %s: %s\n%v:\n%s", user, script, err, out)
	}
	return out
}
