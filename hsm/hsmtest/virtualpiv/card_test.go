package virtualpiv_test

import (
	"bytes"
	"crypto/aes"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"countersign/hsm/hsmtest/virtualpiv"
)

// hand is a card without a reader: the test writes the commands itself.
type hand struct {
	t    *testing.T
	card *virtualpiv.Card
}

// inHand takes a card of firmware 5.7.1 with the PIV application selected.
func inHand(t *testing.T, opts ...virtualpiv.Option) *hand {
	t.Helper()
	h := &hand{t, virtualpiv.New(t, append([]virtualpiv.Option{virtualpiv.WithFirmware("5.7.1")}, opts...)...)}
	h.ok("00a4040005a000000308")
	return h
}

// send sends one command, in hexadecimal with spaces, and splits the answer.
func (h *hand) send(command string) (data []byte, sw string) {
	h.t.Helper()
	raw, err := hex.DecodeString(strings.ReplaceAll(command, " ", ""))
	if err != nil {
		h.t.Fatal(err)
	}
	answer := h.card.Transmit(h.t.Context(), raw)
	if len(answer) < 2 {
		h.t.Fatalf("%s: no status word in %x", command, answer)
	}
	return answer[:len(answer)-2], hex.EncodeToString(answer[len(answer)-2:])
}

// want sends a command that must have this status word.
func (h *hand) want(sw, command string) []byte {
	h.t.Helper()
	data, got := h.send(command)
	if got != sw {
		h.t.Errorf("%s: status %s, want %s", command, got, sw)
	}
	return data
}

func (h *hand) ok(command string) []byte {
	h.t.Helper()
	return h.want("9000", command)
}

// manage shows the management key of the factory, by answering a challenge.
func (h *hand) manage() {
	h.t.Helper()
	block, err := aes.NewCipher(bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7, 8}, 3))
	if err != nil {
		h.t.Fatal(err)
	}
	challenge := h.ok("00870a9b 04 7c028100")
	response := make([]byte, block.BlockSize())
	block.Encrypt(response, challenge[4:])
	h.ok("00870a9b 14 7c128210" + hex.EncodeToString(response))
}

const (
	verifyPIN   = "00200080 08 313233343536ffff"
	verifyWrong = "00200080 08 393939393939ffff"
	noPINKey    = "ac09800111aa0101ab0101" // P-256
	alwaysKey   = "ac09800111aa0103ab0101"
	sign9a      = "0087119a 26 7c248200 8120 1111111111111111111111111111111111111111111111111111111111111111"
)

func TestCommandsOutOfShapeAreRefused(t *testing.T) {
	h := inHand(t)
	for _, command := range []string{
		"", "00", "00fd00", "00200080 08 31", "00200080 08 313233343536ffff 0000",
		"00cb3fff 0000", "00cb3fff 000005 5c03", "00cb3fff 000000 00", "00cb3fff 000005 5c035fff01 00",
	} {
		h.want("6700", command)
	}
	h.want("63c3", "00200080") // nothing of it was taken for a PIN
}

func TestClassesItDoesNotKnowAreRefused(t *testing.T) {
	h := inHand(t)
	h.want("6881", "01fd000000")
	h.want("6882", "0cfd000000")
	h.want("6e00", "80fd000000")
	h.want("6d00", "0001000000")
}

func TestNothingWorksBeforeSelect(t *testing.T) {
	h := inHand(t)
	h.card.Reset()
	h.want("6d00", "00fd000000")
	h.want("6a82", "00a4040005a000000397")
	h.want("6a82", "00a4040004a0000003")
	h.want("6a86", "00a4000005a000000308")
	h.ok("00a404000ba000000308000010000100")
	if got := h.ok("00fd000000"); !bytes.Equal(got, []byte{5, 7, 1}) {
		t.Errorf("version %x", got)
	}
}

func TestLongAnswersComeInPieces(t *testing.T) {
	h := inHand(t)
	whole := h.ok("00cb3fff 000005 5c035fff01 0000")
	var pieces []byte
	data, sw := h.send("00cb3fff 05 5c035fff01 00")
	for sw[:2] == "61" {
		pieces = append(pieces, data...)
		data, sw = h.send("00c0000000")
	}
	pieces = append(pieces, data...)
	if sw != "9000" || !bytes.Equal(pieces, whole) || len(whole) <= 256 {
		t.Errorf("%s: %d bytes in pieces, %d whole", sw, len(pieces), len(whole))
	}
	if data := h.ok("00c0000000"); len(data) > 0 {
		t.Errorf("there was more: %x", data)
	}
}

func TestChainedCommandsAreJoined(t *testing.T) {
	h := inHand(t)
	h.manage()
	object := bytes.Repeat([]byte{0xa5}, 600)
	put := slices.Concat([]byte{0x5c, 3, 0x5f, 0xc1, 0x05, 0x53, 0x82, 2, 0x58}, object)
	for len(put) > 255 {
		h.ok("10db3fff ff" + hex.EncodeToString(put[:255]))
		put = put[255:]
	}
	h.ok("00db3fff" + hex.EncodeToString([]byte{byte(len(put))}) + hex.EncodeToString(put))
	if !bytes.Equal(h.card.Object(0x5fc105), object) {
		t.Error("the object is another one")
	}
	// The same command in one piece, in extended form.
	h.ok("00db3fff 000009 5c035fc10a5302abcd")
	if got := h.ok("00cb3fff 05 5c035fc10a 00"); !bytes.Equal(got, []byte{0x53, 2, 0xab, 0xcd}) {
		t.Errorf("got %x", got)
	}
}

func TestBrokenChainsAreRefused(t *testing.T) {
	h := inHand(t)
	h.manage()
	h.ok("10db3fff 05 5c035fc105")
	h.want("6883", "00fd000000")
	h.want("6a80", "00db3fff 04 5302abcd") // the first part is forgotten
	for range 16 {
		h.ok("10db3fff ff" + strings.Repeat("00", 255))
	}
	h.want("6700", "10db3fff ff"+strings.Repeat("00", 255))
}

func TestManagementKeyGuards(t *testing.T) {
	h := inHand(t)
	for _, command := range []string{
		"0047009a 0b" + noPINKey, "00db3fff 08 5c035fc1055301ff", "00fe119a 03 060101",
		"00f6829a", "00ffffff 03 0a9b00", "00fa0505",
	} {
		h.want("6982", command)
	}
}

func TestManagementKeyIsShownBothWays(t *testing.T) {
	h := inHand(t)
	h.manage()
	h.card.Reset()
	h.ok("00a4040005a000000308")
	h.want("6982", "0047009a 0b"+noPINKey)

	block, err := aes.NewCipher(bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7, 8}, 3))
	if err != nil {
		t.Fatal(err)
	}
	witness := h.ok("00870a9b 04 7c028000")[4:]
	plain := make([]byte, 16)
	block.Decrypt(plain, witness)
	challenge := strings.Repeat("42", 16)
	proof := h.ok("00870a9b 26 7c24 8010" + hex.EncodeToString(plain) + "8110" + challenge)[4:]
	block.Decrypt(plain, proof)
	if hex.EncodeToString(plain) != challenge {
		t.Error("the card has not shown the key")
	}
	h.ok("0047009a 0b" + noPINKey)
}

func TestManagementKeyIsNotGuessed(t *testing.T) {
	h := inHand(t)
	h.ok("00870a9b 04 7c028100")
	h.want("6982", "00870a9b 14 7c128210"+strings.Repeat("00", 16))
	h.want("6982", "00870a9b 14 7c128210"+strings.Repeat("00", 16)) // no challenge is open
	h.want("6a80", "0087039b 04 7c028100")                          // another algorithm
	h.ok("00870a9b 04 7c028000")
	if data := h.want("6982", "00870a9b 26 7c24 8010"+strings.Repeat("00", 16)+"8110"+strings.Repeat("42", 16)); len(data) > 0 {
		t.Errorf("the card has shown its key to a stranger: %x", data)
	}
	h.want("6982", "0047009a 0b"+noPINKey)
}

func TestPINIsAskedForAndForgotten(t *testing.T) {
	h := inHand(t)
	h.want("63c3", "00200080")
	h.ok(verifyPIN)
	h.ok("00200080")
	h.ok("0020ff80")
	h.want("63c3", "00200080")
	h.ok(verifyPIN)
	h.ok("00a4040005a000000308") // the same application again
	h.want("63c3", "00200080")
	h.ok(verifyPIN)
	h.want("63c2", verifyWrong) // a wrong one ends what a right one began
	h.want("63c2", "00200080")
	h.want("6a88", "00200081 08 3132333435363738")
	h.want("6a80", "00200080 06 313233343536")
	if n := h.card.PINTriesLeft(); n != 2 {
		t.Errorf("%d tries left", n)
	}
}

func TestPINBlocks(t *testing.T) {
	h := inHand(t)
	h.want("63c2", verifyWrong)
	h.want("63c1", verifyWrong)
	h.want("63c0", verifyWrong)
	h.want("6983", verifyWrong)
	h.want("6983", verifyPIN)
	h.want("6983", "00200080")
	h.want("6983", "00240080 10 313233343536ffff 323731383238ffff")
	h.want("63c2", "002c0080 10 3939393939393939 323731383238ffff")
	h.ok("002c0080 10 3132333435363738 323731383238ffff")
	h.ok("00200080 08 323731383238ffff")
}

func TestPINsOutOfShapeAreNotTaken(t *testing.T) {
	h := inHand(t)
	for _, pin := range []string{"3132333435ffffff", "ffffffffffffffff", "313233ff343536ff", "31323334353637"} {
		_, sw := h.send("00240080" + hex.EncodeToString([]byte{byte(8 + len(pin)/2)}) + "313233343536ffff" + pin)
		if sw != "6a80" {
			t.Errorf("%s: %s", pin, sw)
		}
	}
	h.ok(verifyPIN)
}

func TestMoreThanFifteenTriesLookLikeFifteen(t *testing.T) {
	h := inHand(t)
	h.manage()
	h.want("6982", "00fa1403")
	h.ok(verifyPIN)
	h.want("6a80", "00fa0003")
	h.ok("00fa1403")
	h.want("63cf", "00200080")
	h.want("63cf", verifyWrong)
	if n := h.card.PINTriesLeft(); n != 19 {
		t.Errorf("%d tries left", n)
	}
}

func TestResetNeedsBothBlocked(t *testing.T) {
	h := inHand(t)
	h.manage()
	h.ok("0047009a 0b" + noPINKey)
	for range 3 {
		h.want("6985", "00fb0000")
		h.send(verifyWrong)
	}
	h.want("6985", "00fb0000")
	for range 3 {
		h.send("00240081 10 3939393939393939 3132333435363738")
	}
	h.ok("00fb0000")
	h.want("6a88", "00f7009a")
	h.ok(verifyPIN)
	h.want("6982", "0047009a 0b"+noPINKey) // the manager is forgotten too
	h.ok("00cb3fff 000005 5c035fff01 0000")
}

func TestKeyAsksForThePINEachTime(t *testing.T) {
	h := inHand(t)
	h.manage()
	h.ok("0047009a 0b" + alwaysKey)
	h.want("6982", sign9a)
	h.ok(verifyPIN)
	h.ok(sign9a)
	h.want("6982", sign9a)
	h.ok(verifyPIN)
	h.ok("0047009c 0b" + noPINKey)
	h.ok(strings.Replace(sign9a, "119a", "119c", 1)) // another key's use ends it too
	h.want("6982", sign9a)
}

func TestSlotsHaveTheirOwnPolicies(t *testing.T) {
	h := inHand(t)
	h.manage()
	for slot, policy := range map[string]byte{"9a": 2, "9c": 3, "9d": 2, "9e": 1, "82": 2, "95": 2} {
		h.ok("004700" + slot + "05 ac03800111")
		got := h.ok("00f700" + slot)
		if want := []byte{1, 1, 0x11, 2, 2, policy, 1, 3, 1, 1}; !bytes.HasPrefix(got, want) {
			t.Errorf("slot %s: metadata %x, want %x", slot, got, want)
		}
	}
	for _, slot := range []string{"80", "81", "96", "9b", "9f", "f9"} {
		h.want("6a86", "004700"+slot+"05 ac03800111")
	}
	for _, template := range []string{"ac03800106", "ac0380010a", "ac0380010000", "ad03800111", "ac06800111aa0104", "ac06800111ab0104", "ac0480021111"} {
		h.want("6a80", "0047009a"+hex.EncodeToString([]byte{byte(len(template) / 2)})+template)
	}
}

func TestKeysMove(t *testing.T) {
	h := inHand(t)
	h.manage()
	h.ok("0047009a 0b" + noPINKey)
	pub := h.card.PublicKey(virtualpiv.Authentication)
	h.ok("00f6829a")
	if h.card.PublicKey(virtualpiv.Authentication) != nil || h.card.PublicKey(virtualpiv.RetiredFirst) == nil {
		t.Fatal("the key has not moved")
	}
	h.want("6a88", "00f6839a") // nothing is there
	h.ok("0047009a 0b" + noPINKey)
	h.want("6985", "00f6829a") // something is there
	if h.card.PublicKey(virtualpiv.RetiredFirst) != pub {
		t.Error("a move has overwritten a key")
	}
	h.want("6a86", "00f69b9a")
	h.ok("00f6ff82")
	if h.card.PublicKey(virtualpiv.RetiredFirst) != nil {
		t.Error("the key is still there")
	}
}

func TestOlderFirmwareCanLess(t *testing.T) {
	h := inHand(t, virtualpiv.WithFirmware("5.2.7"))
	h.want("6d00", "00f7009a")
	h.want("6d00", "00f6829a")
	h.ok("00f8000000")
	h = inHand(t, virtualpiv.WithFirmware("4.3.5"))
	h.want("6d00", "00f8000000")
	h.ok("0087039b 04 7c028100") // 3DES
}

func TestObjectsBehindThePIN(t *testing.T) {
	h := inHand(t)
	h.manage()
	h.ok("00db3fff 08 5c035fc1095301ff")
	h.want("6982", "00cb3fff 05 5c035fc109 00")
	h.ok(verifyPIN)
	if got := h.ok("00cb3fff 05 5c035fc109 00"); !bytes.Equal(got, []byte{0x53, 1, 0xff}) {
		t.Errorf("got %x", got)
	}
	h.ok("00db3fff 07 5c035fc1095300")
	h.want("6a82", "00cb3fff 05 5c035fc109 00")
}

func TestObjectsOutOfPlaceAreRefused(t *testing.T) {
	h := inHand(t)
	h.manage()
	h.want("6a82", "00db3fff 06 5c017e5301ff")
	h.want("6a82", "00db3fff 08 5c0312345653 01ff")
	h.want("6a80", "00db3fff 08 5c035fc1055401ff")
	h.want("6a80", "00db3fff 05 5c035fc105")
	h.want("6a80", "00cb3fff 02 5c00")
	h.want("6a80", "00cb3fff 08 5c035fc1055301ff")
	h.want("6a86", "00cb0000 05 5c035fc105")
	h.want("6a82", "00cb3fff 05 5c035fc105")
	big := "5c035fc1055382" + "0bed" + strings.Repeat("00", 3053)
	h.want("6a84", "00db3fff 000bf6"+big)
	if got := h.ok("00cb3fff 03 5c017e 00"); got[0] != 0x7e {
		t.Errorf("discovery object %x", got)
	}
}

func TestDigestsThatDoNotFitAreNotSigned(t *testing.T) {
	h := inHand(t)
	h.manage()
	h.ok("0047009a 0b" + noPINKey)
	h.ok(sign9a)
	h.want("6a80", "0087119a 27 7c258200 8121"+strings.Repeat("11", 33))
	h.want("6a80", "0087119a 06 7c0482008100")
	h.want("6a80", "0087149a 26 7c248200 8120"+strings.Repeat("11", 32)) // another curve
	h.want("6a80", "0087119d 26 7c248200 8120"+strings.Repeat("11", 32)) // no key
	h.want("6a80", "0087119a 06 7c0482008504")                           // cut off
	h.want("6a80", "0087119a 47 7c458200 8541 04"+strings.Repeat("11", 64))
}

func TestSerialsOfAttestationsAreStable(t *testing.T) {
	h := inHand(t)
	h.manage()
	h.ok("0047009a 0b" + noPINKey)
	serial := func() string {
		cert, err := x509.ParseCertificate(h.ok("00f99a00 000000"))
		if err != nil {
			t.Fatal(err)
		}
		return cert.SerialNumber.String()
	}
	first := serial()
	if again := serial(); again != first {
		t.Errorf("two attestations of one key are numbered %s and %s", first, again)
	}
	h.ok("0047009a 0b" + noPINKey)
	if serial() == first {
		t.Error("attestations of two keys have the same number")
	}
	h.want("6a80", "00f99c00")
	h.want("6a80", "00f9f900")
}

func TestTouchOfTheManagementKey(t *testing.T) {
	h := inHand(t)
	h.manage()
	management := make([]byte, 32)
	_, _ = rand.Read(management)
	h.ok("00fffffe 23 0c9b20" + hex.EncodeToString(management))
	h.card.Reset()
	h.ok("00a4040005a000000308")
	block, err := aes.NewCipher(management)
	if err != nil {
		t.Fatal(err)
	}
	response := make([]byte, 16)
	block.Encrypt(response, h.ok("00870c9b 04 7c028100")[4:])
	h.ok("00870c9b 14 7c128210" + hex.EncodeToString(response))
	if n := h.card.TouchesAwaited(); n != 1 {
		t.Errorf("%d touches", n)
	}
	h.want("6a80", "00ffffff 23 0a9b20"+hex.EncodeToString(management)) // too long for AES-192
	h.want("6a86", "00ff00ff 23 0c9b20"+hex.EncodeToString(management))
}

func TestLogShowsWhatTheCardWasSent(t *testing.T) {
	h := inHand(t)
	h.card.ClearLog()
	h.want("63c2", verifyWrong)
	log := h.card.Log()
	if len(log) != 1 || log[0].Instruction() != virtualpiv.Verify || log[0].Status() != 0x63c2 {
		t.Errorf("the log is %x", log)
	}
	if n := h.card.Count(virtualpiv.Verify); n != 1 {
		t.Errorf("%d VERIFY commands", n)
	}
}

func TestMetadataTellsFactoryStateAndTries(t *testing.T) {
	h := inHand(t)
	wantMetadata := func(reference, want string) {
		t.Helper()
		if got := hex.EncodeToString(h.ok("00f700" + reference)); got != want {
			t.Errorf("%s: metadata %s, want %s", reference, got, want)
		}
	}
	wantMetadata("80", "0101ff"+"050101"+"06020303")
	wantMetadata("81", "0101ff"+"050101"+"06020303")
	wantMetadata("9b", "01010a"+"02020001"+"050101")
	h.want("63c2", verifyWrong)
	wantMetadata("80", "0101ff"+"050101"+"06020302")
	h.card.Personalize(t, "271828", "31415926", bytes.Repeat([]byte{1}, 16))
	wantMetadata("80", "0101ff"+"050100"+"06020303")
	wantMetadata("81", "0101ff"+"050100"+"06020303")
	wantMetadata("9b", "010108"+"02020001"+"050100")
	h.want("6a86", "00f70180")
	h.want("6a88", "00f7009a")
}

func TestOtherReferencesAreUnknown(t *testing.T) {
	h := inHand(t)
	h.want("6a88", "00240082 10 313233343536ffff 323731383238ffff")
	h.want("6a88", "002c0081 10 3132333435363738 323731383238ffff")
	h.want("6a86", "00200180 08 313233343536ffff")
}
