package agent

import (
	"context"

	"countersign/hsm"
)

// certificateKeeper is a Key whose chip has room for its certificate, beside
// the key and for other programs to read.
type certificateKeeper interface {
	StoreCertificate(ctx context.Context, der []byte, auth hsm.Auth) error
}

// keepCertificates writes the issued certificates where the chips keep them.
// Nothing of ours reads them there, so a failure is only logged.
func (n *enrolling) keepCertificates(ctx context.Context, p *profile) {
	if n.auth.PIN.Empty() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, signWait)
	defer cancel()
	s := p.get()
	for _, k := range []struct {
		key *lazyKey
		der []byte
	}{{p.device, s.DeviceChain[0]}, {p.approval, s.ApprovalChain[0]}} {
		key, err := k.key.open(ctx)
		if err == nil {
			if keeper, ok := key.(certificateKeeper); ok {
				err = keeper.StoreCertificate(ctx, k.der, n.auth)
			}
		}
		if err != nil {
			n.log.Warn("certificate not written into the chip", "provider", k.key.facts.Provider, "error", err)
		}
	}
}
