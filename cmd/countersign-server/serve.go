package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"countersign/protocol"
	"countersign/systemd"
	"countersign/tokenserver"
)

// serveFlags are the flags of serve.
type serveFlags struct {
	serveConfig
	config string
}

func (c *cli) serveCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve --data DIR --listen HOST:PORT --device-listen HOST:PORT",
		Short: "Run the server",
		Long: "Run the server. A directory that does not exist is made, with keys, certificates and database.\n" +
			"Clients trust DIR/ca.pem. SIGTERM ends the server. Each flag may stand in the configuration\n" +
			"file instead, in the table [serve]; a flag wins.\n\n" +
			"HOST names this server to others, unless --issuer and --device-url do. \"ready\" is printed\n" +
			"when both listeners answer.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := readConfig(f.config)
			if err != nil {
				return misconfigured(ran{err})
			}
			where := f.over(conf.Serve)
			if where.Data == "" || where.Listen == "" || where.DeviceListen == "" {
				return misconfigured(errors.New("where to serve is missing: give --data, --listen and --device-listen, or set them in the table [serve] of the --config file"))
			}
			c.data = where.Data
			return do(func(ctx context.Context, _ []string) error {
				return c.withState(ctx, func(s *state) error { return c.serve(ctx, s, conf, where) })
			})(cmd, nil)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Data, "data", "", "the server's directory")
	flags.StringVar(&f.Listen, "listen", "", "HOST:PORT of the relying parties' API")
	flags.StringVar(&f.DeviceListen, "device-listen", "", "HOST:PORT of the device API")
	flags.StringVar(&f.Issuer, "issuer", "", "the server's name, an https URL (default: that of --listen)")
	flags.StringVar(&f.DeviceURL, "device-url", "", "where devices reach the device API (default: that of --device-listen)")
	flags.StringVar(&f.TLSCert, "tls-cert", "", "TLS certificate chain, PEM, that system roots vouch for")
	flags.StringVar(&f.TLSKey, "tls-key", "", "its key, PEM")
	flags.StringVar(&f.config, "config", "", "configuration `file`, TOML")
	cmd.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	return cmd
}

// misconfigured has a service manager know that starting again is of no use.
func misconfigured(err error) error {
	if !systemd.Managed() {
		return err
	}
	f := explain(err)
	f.exit = systemd.ExitConfig
	return ran{errors.Join(f, systemd.Status(f.message))}
}

func (c *cli) serve(ctx context.Context, s *state, conf config, f serveConfig) error {
	hold, err := conf.hold()
	if err != nil {
		return err
	}
	lifetime, err := conf.lifetime()
	if err != nil {
		return err
	}
	cert, err := f.certificate()
	if err != nil {
		return err
	}
	lock, err := lockData(c.data)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := s.adopt(); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(c.errOut, nil))
	srv, err := tokenserver.New(ctx, tokenserver.Config{
		Store: s.store, PKI: s.pki, Listen: f.Listen, DeviceListen: f.DeviceListen,
		Issuer: f.Issuer, DeviceURL: f.DeviceURL, TLS: cert, Enrollment: conf.policy(),
		Attestation: conf.attestation(), AttestationRoots: conf.roots(s.roots), Hold: hold,
		CertificateLifetime: lifetime, Machines: conf.machines(), Logger: log,
	})
	if err != nil {
		return err
	}
	now := served{srv.Issuer(), srv.DeviceURL(), srv.Pin()}
	if old, err := s.readServed(); err == nil && old.Issuer != now.Issuer {
		log.Info("the server has another name; devices learn it from the trust statement", "old", old.Issuer, "new", now.Issuer, "seq", s.pki.Seq())
	}
	if err := s.writeServed(now); err != nil {
		return errors.Join(err, srv.Close())
	}
	c.announce(now)
	if err := errors.Join(systemd.Status("serving "+now.Issuer), systemd.Ready()); err != nil {
		log.Warn("the service manager does not know that the server is ready", "error", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return srv.Run(ctx) })
	g.Go(func() error { return systemd.Watch(ctx, log, srv.Alive) })
	return g.Wait()
}

// lockData keeps a second server out of the directory: the links it would make
// name its own address. The lock ends with the process, however that ends.
func lockData(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "serve.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, failure{exitRefused, "in_use", "another server serves " + dir, "Stop it first, or give this one a --data of its own."}
	}
	return lock, nil
}

// announce prints the readiness lines. The listeners accept already.
func (c *cli) announce(v served) {
	pin := "none"
	if len(v.Pin) > 0 {
		pin = protocol.Pin(v.Pin)
	}
	_, _ = fmt.Fprintf(c.out, "issuer %s\ndevice %s\npin %s\nready\n", v.Issuer, v.DeviceURL, pin)
}

func (c serveConfig) certificate() (*tls.Certificate, error) {
	if c.TLSCert == "" {
		return nil, nil //nolint:nilnil // the server makes its own
	}
	cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, failure{exitRefused, "bad_tls", "TLS certificate: " + err.Error(), ""}
	}
	return &cert, nil
}
