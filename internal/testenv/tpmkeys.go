package testenv

import (
	"crypto/ecdsa"
	"encoding/binary"

	"github.com/google/go-tpm/tpm2"
)

// point is a public key as a map key: the uncompressed point.
type point string

func pointOf(pub *ecdsa.PublicKey) point {
	b, err := pub.Bytes()
	if err != nil {
		return ""
	}
	return point(b)
}

// keyTracker knows which key stands behind which handle, by watching what loads
// and what is flushed, so that a signature can be put down to its key.
type keyTracker struct {
	loaded   map[tpm2.TPMHandle]point
	contexts map[string]point
	signs    map[point]int
}

func newKeyTracker() keyTracker {
	return keyTracker{map[tpm2.TPMHandle]point{}, map[string]point{}, map[point]int{}}
}

// observe learns from one command that succeeded.
func (k *keyTracker) observe(x Exchange) {
	cmd, rsp := x.commandParams(), x.responseParams()
	switch x.Code {
	case tpm2.TPMCCLoad, tpm2.TPMCCLoadExternal:
		k.loaded[x.ResponseHandle()] = parsePoint(after2B(cmd))
	case tpm2.TPMCCCreateLoaded:
		k.loaded[x.ResponseHandle()] = parsePoint(after2B(rsp))
	case tpm2.TPMCCCreatePrimary:
		k.loaded[x.ResponseHandle()] = parsePoint(rsp)
	case tpm2.TPMCCReadPublic:
		k.loaded[x.Handles[0]] = parsePoint(x.Response[headerSize:])
	case tpm2.TPMCCEvictControl:
		if len(cmd) >= 4 {
			k.loaded[handleAt(cmd)] = k.loaded[x.Handles[1]]
		}
	case tpm2.TPMCCContextSave:
		k.contexts[string(x.Response[headerSize:])] = k.loaded[x.Handles[0]]
	case tpm2.TPMCCContextLoad:
		k.loaded[x.ResponseHandle()] = k.contexts[string(x.Command[headerSize:])]
	case tpm2.TPMCCFlushContext:
		delete(k.loaded, x.Handles[0])
	case tpm2.TPMCCSign:
		k.signs[k.loaded[x.Handles[0]]]++
	}
}

// handleCount is the number of handles in a command's handle area, for the
// commands a key store sends (TPM 2.0 Part 3). FlushContext's handle is a
// parameter by the book and stands in the same place.
func handleCount(code tpm2.TPMCC) int {
	switch code {
	case tpm2.TPMCCPolicySecret, tpm2.TPMCCPolicySigned, tpm2.TPMCCStartAuthSession,
		tpm2.TPMCCNVRead, tpm2.TPMCCNVWrite, tpm2.TPMCCNVUndefineSpace,
		tpm2.TPMCCEvictControl, tpm2.TPMCCCertify, tpm2.TPMCCCertifyCreation,
		tpm2.TPMCCActivateCredential, tpm2.TPMCCObjectChangeAuth:
		return 2
	case tpm2.TPMCCNVCertify:
		return 3
	case tpm2.TPMCCCreate, tpm2.TPMCCLoad, tpm2.TPMCCCreateLoaded, tpm2.TPMCCCreatePrimary,
		tpm2.TPMCCReadPublic, tpm2.TPMCCContextSave, tpm2.TPMCCFlushContext, tpm2.TPMCCSign,
		tpm2.TPMCCNVDefineSpace, tpm2.TPMCCNVReadPublic, tpm2.TPMCCMakeCredential,
		tpm2.TPMCCPolicyAuthValue, tpm2.TPMCCPolicyCommandCode, tpm2.TPMCCPolicyGetDigest:
		return 1
	}
	return 0
}

func handleAt(b []byte) tpm2.TPMHandle { return tpm2.TPMHandle(binary.BigEndian.Uint32(b)) }

func handlesOf(cmd []byte) []tpm2.TPMHandle {
	n := handleCount(codeOf(cmd))
	if len(cmd) < headerSize+4*n {
		return make([]tpm2.TPMHandle, n)
	}
	handles := make([]tpm2.TPMHandle, n)
	for i := range handles {
		handles[i] = handleAt(cmd[headerSize+4*i:])
	}
	return handles
}

func hasSessions(msg []byte) bool {
	return tpm2.TPMST(binary.BigEndian.Uint16(msg)) == tpm2.TPMSTSessions
}

// commandParams is the parameter area of the command, behind handles and
// authorizations.
func (x Exchange) commandParams() []byte {
	b := x.Command[headerSize:]
	b = b[min(4*len(x.Handles), len(b)):]
	if !hasSessions(x.Command) || len(b) < 4 {
		return b
	}
	size := int(binary.BigEndian.Uint32(b))
	return b[min(4+size, len(b)):]
}

// responseParams is the parameter area of a response that starts with a handle.
func (x Exchange) responseParams() []byte {
	skip := headerSize + 4
	if hasSessions(x.Response) {
		skip += 4
	}
	return x.Response[min(skip, len(x.Response)):]
}

// ResponseHandle is the handle that a response of such a command starts with.
func (x Exchange) ResponseHandle() tpm2.TPMHandle {
	if len(x.Response) < headerSize+4 {
		return 0
	}
	return handleAt(x.Response[headerSize:])
}

// EndedSessions are those whose last use this command was, as it asked for: the
// TPM takes them out by itself when the command succeeds.
func (x Exchange) EndedSessions() []tpm2.TPMHandle {
	const continueSession = 1 << 0
	if !hasSessions(x.Command) || x.RC != tpm2.TPMRCSuccess {
		return nil
	}
	b := x.Command[headerSize+4*len(x.Handles):]
	b = b[4 : 4+binary.BigEndian.Uint32(b)]
	var ended []tpm2.TPMHandle
	for len(b) > 0 {
		session, rest := handleAt(b), after2B(b[4:])
		if rest[0]&continueSession == 0 && session != tpm2.TPMRSPW {
			ended = append(ended, session)
		}
		b = after2B(rest[1:])
	}
	return ended
}

// after2B skips one sized buffer.
func after2B(b []byte) []byte {
	if len(b) < 2 {
		return nil
	}
	return b[min(2+int(binary.BigEndian.Uint16(b)), len(b)):]
}

// parsePoint reads the key of a TPM2B_PUBLIC, or returns the empty point when
// it is no elliptic curve key.
func parsePoint(b []byte) point {
	if len(b) < 2 {
		return ""
	}
	pub, err := tpm2.Unmarshal[tpm2.TPM2BPublic](b[:min(2+int(binary.BigEndian.Uint16(b)), len(b))])
	if err != nil {
		return ""
	}
	area, err := pub.Contents()
	if err != nil {
		return ""
	}
	key, err := tpm2.Pub(*area)
	if err != nil {
		return ""
	}
	if ec, ok := key.(*ecdsa.PublicKey); ok {
		return pointOf(ec)
	}
	return ""
}
