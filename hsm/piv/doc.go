// Package piv keeps keys in PIV tokens (NIST SP 800-73-4) with the extensions
// of Yubico, such as YubiKeys from series 4 on.
//
// What it protects: a private key is generated inside the token, in a retired
// slot that held nothing before, and cannot leave it. An approval key has the
// PIN policy "always": each signature takes the PIN, checked and counted by the
// token. The token has one PIN and one counter for all its keys, so wrong PINs
// of any program lock this key too, until the PUK unblocks it.
//
// What the card sees: before each signature the token's serial number and the
// key in the slot are compared with the reference, so that another card never
// signs. A PIN is sent once for each signature, and the card forgets it before
// it is let go.
//
// What others see: no card is held between calls. Readers are looked at in
// shared mode, and only what answers as a PIV token is opened exclusively, for
// the milliseconds of one operation; bank and identity cards stay usable.
//
// What the caller must do: keep the reference, give each call a context, and
// bring the management key, as bytes or kept by the token under the PIN, where
// the token's content changes. It is never guessed, and a token with factory
// settings is refused.
//
// What a context cannot end: a card that waits for its touch. The caller
// returns at once, the signature that may still come is thrown away, and the
// next call waits until the card has given up.
//
// This needs cgo and PC/SC. A program built without has a Provider that says
// so in every call.
package piv
