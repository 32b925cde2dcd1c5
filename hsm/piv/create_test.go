//go:build cgo

package piv_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"

	"countersign/hsm"
	"countersign/hsm/hsmtest/virtualpiv"
	"countersign/internal/secret"
	"countersign/internal/testenv"

	yubico "github.com/go-piv/piv-go/v2/piv"
)

func retired(n uint32) yubico.Slot {
	slot, _ := yubico.RetiredKeyManagementSlot(n)
	return slot
}

func place(t testing.TB, key hsm.Key) string {
	t.Helper()
	health, err := key.(hsm.Inspector).Inspect(t.Context())
	if err != nil {
		t.Fatalf("Inspect: %v", err)
	}
	return health.Place
}

// What is in a slot, be it a key, a certificate or a key of a kind that we do
// not make, stays there.
func TestNeverOverwrites(t *testing.T) {
	for _, version := range []string{firstOld, firstNew} {
		t.Run(version, func(t *testing.T) {
			r := newRig(t, virtualpiv.WithFirmware(version))
			r.withToken(func(yk *yubico.YubiKey) error {
				ec := yubico.Key{Algorithm: yubico.AlgorithmEC256, PINPolicy: yubico.PINPolicyNever, TouchPolicy: yubico.TouchPolicyNever}
				rsa := ec
				rsa.Algorithm = yubico.AlgorithmRSA2048
				software, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
				_, err1 := yk.GenerateKey(rightAdmin(), retired(0x82), ec)
				_, err2 := yk.GenerateKey(rightAdmin(), retired(0x83), rsa)
				err3 := yk.SetPrivateKeyInsecure(rightAdmin(), retired(0x84), software, ec)
				other, err4 := yk.Attest(retired(0x82))
				err5 := yk.SetCertificate(rightAdmin(), retired(0x85), other)
				return errors.Join(err1, err2, err3, err4, err5)
			})
			before := fmt.Sprint(r.card.PublicKey(0x82), r.card.PublicKey(0x83), r.card.PublicKey(0x84), [][]byte{r.card.Object(0x5fc110)})
			key := r.approval()
			if got := place(t, key); !strings.HasPrefix(got, "slot 86 ") {
				t.Errorf("the key is in %s, want the first free slot, 86", got)
			}
			if after := fmt.Sprint(r.card.PublicKey(0x82), r.card.PublicKey(0x83), r.card.PublicKey(0x84), [][]byte{r.card.Object(0x5fc110)}); after != before {
				t.Error("what was in the other slots has changed")
			}
		})
	}
}

func TestNoRoom(t *testing.T) {
	r := newRig(t, virtualpiv.WithFirmware(firstNew))
	var last hsm.Key
	for range 20 {
		last = r.device()
	}
	_, err := r.Create(t.Context(), hsm.Template{Auth: admin()})
	mustBe(t, "the 21st key", err, hsm.ErrNoRoom)
	if err := last.Delete(t.Context(), admin()); err != nil {
		t.Fatal(err)
	}
	mustSign(t, r.device(), hsm.Auth{})
}

// Deleting destroys the key, and the slot is free again, with every firmware.
func TestDeletedSlotIsFree(t *testing.T) {
	eachFirmware(t, func(t *testing.T, firmware virtualpiv.Option) {
		r := newRig(t, firmware)
		key := r.approval()
		if err := key.Delete(t.Context(), admin()); err != nil {
			t.Fatal(err)
		}
		if now, ok := r.card.PublicKey(0x82).(*ecdsa.PublicKey); ok && now.Equal(key.Public()) {
			t.Error("the deleted key is still in its slot")
		}
		if got := place(t, r.device()); !strings.HasPrefix(got, "slot 82 ") {
			t.Errorf("the next key is in %s, want slot 82", got)
		}
	})
}

// Where a token cannot delete, the placeholder speaks of one key: another
// program's key in that slot is not free for us.
func TestDeletedSlotTakenByAnother(t *testing.T) {
	r := newRig(t, virtualpiv.WithFirmware(firstOld))
	if err := r.approval().Delete(t.Context(), admin()); err != nil {
		t.Fatal(err)
	}
	r.withToken(func(yk *yubico.YubiKey) error {
		_, err := yk.GenerateKey(rightAdmin(), retired(0x82), yubico.Key{
			Algorithm: yubico.AlgorithmEC256, PINPolicy: yubico.PINPolicyNever, TouchPolicy: yubico.TouchPolicyNever,
		})
		return err
	})
	theirs := r.card.PublicKey(0x82).(*ecdsa.PublicKey)
	if got := place(t, r.device()); !strings.HasPrefix(got, "slot 83 ") {
		t.Errorf("the next key is in %s, want slot 83", got)
	}
	if !theirs.Equal(r.card.PublicKey(0x82)) {
		t.Error("another program's key was overwritten")
	}
}

func TestPolicies(t *testing.T) {
	r := newRig(t, virtualpiv.WithFirmware(firstNew))
	for name, tc := range map[string]struct {
		template   hsm.Template
		pin        yubico.PINPolicy
		touch      yubico.TouchPolicy
		protection hsm.Protection
	}{
		"device":   {hsm.Template{}, yubico.PINPolicyNever, yubico.TouchPolicyNever, hsm.Protection{}},
		"approval": {hsm.Template{PINBound: true}, yubico.PINPolicyAlways, yubico.TouchPolicyNever, hsm.Protection{Counter: hsm.CounterToken}},
		"touch":    {hsm.Template{PINBound: true, Touch: true}, yubico.PINPolicyAlways, yubico.TouchPolicyAlways, hsm.Protection{Counter: hsm.CounterToken, Touch: true}},
	} {
		tc.template.Auth = admin()
		key := r.create(tc.template)
		again, err := r.Open(t.Context(), key.Reference())
		if err != nil {
			t.Fatal(err)
		}
		if key.Protection() != tc.protection || again.Protection() != tc.protection {
			t.Errorf("%s: protection %+v, reopened %+v, want %+v", name, key.Protection(), again.Protection(), tc.protection)
		}
		var slot uint32
		_, _ = fmt.Sscanf(place(t, key), "slot %x", &slot)
		r.withToken(func(yk *yubico.YubiKey) error {
			info, err := yk.KeyInfo(retired(slot))
			if info.PINPolicy != tc.pin || info.TouchPolicy != tc.touch || info.Origin != yubico.OriginGenerated {
				t.Errorf("%s: the card says %+v", name, info)
			}
			c, certErr := yk.Certificate(retired(slot))
			if certErr == nil && !key.Public().(*ecdsa.PublicKey).Equal(c.PublicKey) {
				t.Errorf("%s: the placeholder is for another key", name)
			}
			return errors.Join(err, certErr)
		})
	}
}

func TestOnlyES256(t *testing.T) {
	r := newRig(t)
	_, err := r.Create(t.Context(), hsm.Template{Auth: admin(), Algorithm: hsm.RS256})
	mustBe(t, "RS256", err, hsm.ErrUnsupported)
}

// The management key is never assumed.
func TestManagementKey(t *testing.T) {
	eachFirmware(t, func(t *testing.T, firmware virtualpiv.Option) {
		r := newRig(t, firmware)
		before := r.card.Object(0x5fc10d)
		for name, tc := range map[string]hsm.Auth{
			"nothing":      {},
			"only the PIN": auth(rightPIN),
			"a wrong key":  {PIN: pin(rightPIN), Admin: secret.New(bytes.Repeat([]byte{3}, 24))},
			"a short key":  {PIN: pin(rightPIN), Admin: secret.New([]byte("short"))},
		} {
			_, err := r.Create(t.Context(), hsm.Template{Auth: tc})
			mustBe(t, name, err, hsm.ErrAdminRequired)
		}
		if r.card.PublicKey(0x82) != nil || !bytes.Equal(r.card.Object(0x5fc10d), before) {
			t.Error("something was left in the slot")
		}
		r.protect()
		mustSign(t, r.create(hsm.Template{Auth: auth(rightPIN)}), hsm.Auth{})
	})
}

// With the person's consent a known key becomes a random one under the PIN.
func TestKeepAdmin(t *testing.T) {
	eachFirmware(t, func(t *testing.T, firmware virtualpiv.Option) {
		r := newRig(t, firmware)
		_, err := r.Create(t.Context(), hsm.Template{Auth: auth(rightPIN), KeepAdmin: true})
		mustBe(t, "consent without the present key", err, hsm.ErrAdminRequired)
		key := r.create(hsm.Template{Auth: admin(), PINBound: true, KeepAdmin: true})
		r.withToken(func(yk *yubico.YubiKey) error {
			data, err := yk.Metadata(rightPIN)
			if err == nil && (data.ManagementKey == nil || bytes.Equal(*data.ManagementKey, rightAdmin())) {
				t.Error("the token does not keep a new management key")
			}
			return err
		})
		mustSign(t, key, auth(rightPIN))
		if got := r.card.Object(0x5fff00); !bytes.Equal(got, []byte{0x80, 3, 0x81, 1, 2}) {
			t.Errorf("the note for ykman is %x", got)
		}
		mustSign(t, r.create(hsm.Template{Auth: auth(rightPIN), PINBound: true}), auth(rightPIN))
		_, err = r.Create(t.Context(), hsm.Template{Auth: admin()})
		mustBe(t, "the former key", err, hsm.ErrAdminRequired)
	})
}

// Whatever step of the change the card is pulled at, the old key or the one
// under the PIN still opens it.
func TestKeepAdminPulled(t *testing.T) {
	for _, step := range []virtualpiv.Instruction{virtualpiv.PutData, virtualpiv.SetManagementKey, virtualpiv.GenerateKey} {
		for name, pull := range map[string]func(*virtualpiv.Card, virtualpiv.Instruction){
			"before": (*virtualpiv.Card).PullBefore, "after": (*virtualpiv.Card).PullAfter,
		} {
			t.Run(fmt.Sprintf("%s %02x", name, byte(step)), func(t *testing.T) {
				r := newRig(t, virtualpiv.WithFirmware(firstNew))
				pull(r.card, step)
				_, err := r.Create(t.Context(), hsm.Template{Auth: admin(), KeepAdmin: true})
				mustBe(t, "pulled", err, hsm.ErrTokenAbsent)
				r.pcscd.Reader(0).Insert(r.card)
				_, oldErr := r.Create(t.Context(), hsm.Template{Auth: admin()})
				_, newErr := r.Create(t.Context(), hsm.Template{Auth: auth(rightPIN)})
				if oldErr != nil && newErr != nil {
					t.Errorf("the management key is lost: %v; %v", oldErr, newErr)
				}
			})
		}
	}
}

// A token that everybody can open is refused, at no cost, with the command that
// mends it.
func TestFactorySettings(t *testing.T) {
	factoryKey := bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7, 8}, 3)
	for _, tc := range []struct {
		what, pin, puk string
		admin          []byte
		command        string
		oldToo         bool
	}{
		{"PIN", "123456", rightPUK, rightAdmin(), "piv access change-pin", true},
		{"PUK", rightPIN, "12345678", rightAdmin(), "piv access change-puk", false},
		{"management key", rightPIN, rightPUK, factoryKey, "piv access change-management-key --generate --protect", true},
	} {
		eachFirmware(t, func(t *testing.T, firmware virtualpiv.Option) {
			card := virtualpiv.New(t, firmware)
			r := rigWith(t, card)
			r.withToken(func(yk *yubico.YubiKey) error {
				return errors.Join(
					change(yk.SetPIN, "123456", tc.pin), change(yk.SetPUK, "12345678", tc.puk),
					change(yk.SetManagementKey, factoryKey, tc.admin))
			})
			_, err := r.Create(t.Context(), hsm.Template{PINBound: true, Auth: hsm.Auth{PIN: pin(tc.pin), Admin: secret.New(tc.admin)}})
			if old := strings.Contains(t.Name(), "/4.3.5") || strings.Contains(t.Name(), "/5.2.7"); old && !tc.oldToo {
				if err != nil {
					t.Errorf("old firmware does not tell of its %s: %v", tc.what, err)
				}
				return
			}
			var factory *hsm.FactoryError
			if !errors.As(err, &factory) || !errors.Is(err, hsm.ErrFactorySettings) {
				t.Fatalf("factory %s: %v", tc.what, err)
			}
			if want := fmt.Sprintf("ykman --device %d %s", card.Serial(), tc.command); factory.What != tc.what || factory.Command != want {
				t.Errorf("got %+v, want %s and %q", factory, tc.what, want)
			}
			if card.PINTriesLeft() != 3 || card.PUKTriesLeft() != 3 || card.Count(virtualpiv.GenerateKey) != 0 {
				t.Error("a try was spent, or a key made")
			}
		})
	}
}

// change changes nothing where nothing is to change, so that a value stays the
// factory's.
func change[T string | []byte](set func(from, to T) error, from, to T) error {
	if string(from) == string(to) {
		return nil
	}
	return set(from, to)
}

// A factory management key that is about to be replaced is no reason to refuse.
func TestKeepAdminFromFactory(t *testing.T) {
	eachFirmware(t, func(t *testing.T, firmware virtualpiv.Option) {
		factoryKey := bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7, 8}, 3)
		r := rigWith(t, virtualpiv.New(t, firmware))
		r.withToken(func(yk *yubico.YubiKey) error {
			return errors.Join(yk.SetPIN("123456", rightPIN), yk.SetPUK("12345678", rightPUK))
		})
		r.create(hsm.Template{KeepAdmin: true, Auth: hsm.Auth{PIN: pin(rightPIN), Admin: secret.New(factoryKey)}})
		mustSign(t, r.create(hsm.Template{Auth: auth(rightPIN)}), hsm.Auth{})
	})
}

func TestCreateChecksThePIN(t *testing.T) {
	r := newRig(t)
	wrong := admin()
	wrong.PIN = pin(wrongPIN)
	_, err := r.Create(t.Context(), hsm.Template{Auth: wrong, PINBound: true})
	var refused *hsm.PINError
	if !errors.As(err, &refused) || refused.TriesLeft != 2 {
		t.Errorf("Create with a wrong PIN: %v", err)
	}
	if r.card.PublicKey(0x82) != nil || r.card.Object(0x5fc10d) != nil {
		t.Error("something was left in the slot")
	}
}

func TestSeveralTokens(t *testing.T) {
	one, two := newToken(t), newToken(t)
	testenv.StartPCSCD(t, one, two).Use()
	r := &rig{t: t, Provider: newProvider()}
	_, err := r.Create(t.Context(), hsm.Template{Auth: admin()})
	mustBe(t, "no token named", err, hsm.ErrManyTokens)
	for _, card := range []*virtualpiv.Card{one, two} {
		if err == nil || !strings.Contains(err.Error(), fmt.Sprint(card.Serial())) {
			t.Errorf("%v does not name token %d", err, card.Serial())
		}
		key := r.create(hsm.Template{Auth: admin(), PINBound: true, Token: fmt.Sprint(card.Serial())})
		if card.PublicKey(0x82) == nil {
			t.Error("the key is on the other token")
		}
		mustSign(t, key, auth(rightPIN))
	}
	for _, serial := range []string{"1", "0", "first"} {
		_, err := r.Create(t.Context(), hsm.Template{Auth: admin(), Token: serial})
		mustBe(t, "token "+serial, err, hsm.ErrTokenAbsent)
	}
}

func TestStoreCertificate(t *testing.T) {
	eachFirmware(t, func(t *testing.T, firmware virtualpiv.Option) {
		r := newRig(t, firmware)
		r.protect()
		key := r.create(hsm.Template{Auth: auth(rightPIN), PINBound: true})
		issuer, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		keeper := key.(hsm.CertificateKeeper)
		der := certificate(t, key.Public(), issuer)
		if err := keeper.StoreCertificate(t.Context(), der, auth(rightPIN)); err != nil {
			t.Fatal(err)
		}
		r.withToken(func(yk *yubico.YubiKey) error {
			c, err := yk.Certificate(retired(0x82))
			if err == nil && !bytes.Equal(c.Raw, der) {
				t.Error("another certificate is in the slot")
			}
			return err
		})
		if err := keeper.StoreCertificate(t.Context(), certificate(t, &issuer.PublicKey, issuer), auth(rightPIN)); err == nil {
			t.Error("took a certificate of another key")
		}
		if err := keeper.StoreCertificate(t.Context(), []byte("garbage"), auth(rightPIN)); err == nil {
			t.Error("took garbage for a certificate")
		}
		mustSign(t, key, auth(rightPIN))
	})
}

func certificate(t testing.TB, public any, issuer *ecdsa.PrivateKey) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: serialOne()}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, issuer)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
