// Package virtualpiv is a PIV card made of software, for tests: SP 800-73-4
// with Yubico's extensions, as a YubiKey of a chosen firmware has them. In a
// reader of testenv.PCSCD, programs use it through the real smart card daemon:
//
//	card := virtualpiv.New(t, virtualpiv.WithFirmware("5.7.1"))
//	testenv.StartPCSCD(t, card).Use()
//
// It refuses what a real card refuses: a private key is used only after the PIN
// and the touch that its policies demand, tries are counted, and objects and
// keys change only under the management key. It protects nothing: keys lie in
// plain memory, and a test may look at everything.
//
// It knows P-256, P-384 and RSA-2048 keys, and firmware from 4.3.
package virtualpiv
