package testenv

import "github.com/google/go-tpm/tpm2"

// ECOperations is how many scalar multiplications on an elliptic curve the TPM
// had to do for a command that succeeded, at the least: one for a signature, for
// the recovery of a session's salt and for making a key. On chips of silicon
// they are nearly all of the time. The keys of this project's tests are on
// elliptic curves; where one is RSA, the count is that of RSA operations.
func (x Exchange) ECOperations() int {
	if x.RC != tpm2.TPMRCSuccess {
		return 0
	}
	switch x.Code {
	case tpm2.TPMCCSign, tpm2.TPMCCCertify, tpm2.TPMCCCertifyCreation, tpm2.TPMCCNVCertify, tpm2.TPMCCQuote,
		tpm2.TPMCCCreate, tpm2.TPMCCCreatePrimary, tpm2.TPMCCCreateLoaded,
		tpm2.TPMCCActivateCredential, tpm2.TPMCCECDHZGen, tpm2.TPMCCPolicySigned:
		return 1
	case tpm2.TPMCCStartAuthSession:
		if x.Handles[0] != tpm2.TPMRHNull {
			return 1
		}
	}
	return 0
}
