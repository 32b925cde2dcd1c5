package agent

import (
	"context"

	"countersign/hsm"
)

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
	}{{p.device(), s.DeviceChain[0]}, {p.approval(), s.ApprovalChain[0]}} {
		key, err := k.key.open(ctx)
		if err == nil {
			if keeper, ok := key.(hsm.CertificateKeeper); ok {
				err = keeper.StoreCertificate(ctx, k.der, n.auth)
			}
		}
		if err != nil {
			n.log.Warn("certificate not written into the chip", "provider", k.key.facts.Provider, "error", err)
		}
	}
}
