package virtualpiv_test

import (
	"encoding/hex"
	"testing"

	"countersign/hsm/hsmtest/virtualpiv"
)

// FuzzCommands sends whatever to a card, two commands in a row, so that chains
// and answers in pieces are met. Every answer must have a status word, and
// nobody makes a key who has not shown the management key.
func FuzzCommands(f *testing.F) {
	for _, seed := range [][2]string{
		{"00a4040005a000000308", "00fd000000"},
		{"10db3fff055c035fc105", "00db3fff045302abcd"},
		{"00cb3fff055c035fff0100", "00c0000000"},
		{"00870a9b047c028000", "00870a9b047c028100"},
		{"0087119a267c2482008120" + "1111111111111111111111111111111111111111111111111111111111111111", "00f99a00"},
		{"00cb3fff0000055c035fff010000", "00f7009a"},
		{"0047009a0bac09800111aa0103ab0101", "00200080"},
	} {
		one, _ := hex.DecodeString(seed[0])
		other, _ := hex.DecodeString(seed[1])
		f.Add(one, other)
	}
	ca := virtualpiv.NewCA(f)
	f.Fuzz(func(t *testing.T, one, other []byte) {
		card := virtualpiv.New(t, virtualpiv.WithFirmware("5.7.1"), virtualpiv.WithCA(ca))
		card.Transmit(t.Context(), []byte{0x00, 0xa4, 0x04, 0x00, 0x05, 0xa0, 0x00, 0x00, 0x03, 0x08})
		for _, command := range [][]byte{one, other} {
			if answer := card.Transmit(t.Context(), command); len(answer) < 2 {
				t.Fatalf("%x: no status word in %x", command, answer)
			}
		}
		for slot := range 0x100 {
			if card.PublicKey(virtualpiv.Slot(slot)) != nil {
				t.Fatalf("%x, %x made a key in slot %x", one, other, slot)
			}
		}
	})
}
