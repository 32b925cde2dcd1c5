package sqlite

import (
	"countersign/protocol"
	"countersign/tokenserver/store"
)

const attestationColumns = "device, start, credential, secret, proof"

func (t *tx) AddAttestation(a store.Attestation) error {
	docs, err := encodeAll(a.Start, a.Credential, a.Proof)
	if err != nil {
		return err
	}
	return t.exec("INSERT INTO attestations ("+attestationColumns+") VALUES (?, ?, ?, ?, ?)", a.Device, docs[0], docs[1], a.Secret, docs[2])
}

func (t *tx) Attestation(device string) (store.Attestation, error) {
	return one(t, func(row scanner) (a store.Attestation, err error) {
		err = row.Scan(&a.Device, document{&a.Start}, document{&a.Credential}, &a.Secret, document{&a.Proof})
		return a, err
	}, "SELECT "+attestationColumns+" FROM attestations WHERE device = ?", device)
}

func (t *tx) ProveAttestation(device string, proof protocol.ProofAttestation) error {
	text, err := encode(proof)
	if err != nil {
		return err
	}
	return t.swap("UPDATE attestations SET proof = ? WHERE device = ? AND proof = 'null'", text, device)
}
