package protocol

import "slices"

// words are the record's own in one language. Each pair stands before and
// behind a text of the relying party. They are frozen with DisplayVersion 1:
// evidence is verified for years, so a change is a new version, and a language
// comes with a test that holds its bytes.
type words struct {
	from, reported, code      [2]string
	highValue, signed         string
	ip, place, browser, agent string
	server, sent, expires     string
	onlyYours                 string
	origins                   map[string]string
}

// Languages are those that a record can be made in, as RFC 5646 tags.
func Languages() []string { return []string{"en", "nl", "fr", "de"} }

// wordsOf returns the words of a language, nil where there are none.
func wordsOf(language string) *words {
	if i := slices.Index(Languages(), language); i >= 0 {
		return []func() *words{english, dutch, french, german}[i]()
	}
	return nil
}

func english() *words {
	return &words{
		from:      [2]string{"Request from ", ":"},
		highValue: "This is marked as high value.",
		code:      [2]string{"This came by a code, not to you alone: ", "."},
		onlyYours: "Approve only if you started this.",
		origins: map[string]string{
			OriginTyped: "it was typed or pasted", OriginLink: "a link was opened",
			OriginImage: "it was read from an image", OriginScreen: "it was read from the screen",
		},
		reported: [2]string{"Reported by ", ", not checked:"},
		ip:       "IP address", place: "Place", browser: "Browser", agent: "Device",
		signed: "Signed data, SHA-256: ", server: "Server: ", sent: "Sent: ", expires: "Expires: ",
	}
}

func dutch() *words {
	return &words{
		from:      [2]string{"Verzoek van ", ":"},
		highValue: "Dit is gemarkeerd als van hoge waarde.",
		code:      [2]string{"Dit kwam via een code, niet alleen naar u: ", "."},
		onlyYours: "Keur dit alleen goed als u er zelf mee bent begonnen.",
		origins: map[string]string{
			OriginTyped: "ingetypt of geplakt", OriginLink: "er werd een koppeling geopend",
			OriginImage: "gelezen uit een afbeelding", OriginScreen: "gelezen van het scherm",
		},
		reported: [2]string{"Opgegeven door ", ", niet gecontroleerd:"},
		ip:       "IP-adres", place: "Plaats", browser: "Browser", agent: "Apparaat",
		signed: "Ondertekende gegevens, SHA-256: ", server: "Server: ", sent: "Verzonden: ", expires: "Verloopt: ",
	}
}

func french() *words {
	return &words{
		from:      [2]string{"Demande de ", " :"},
		highValue: "Cette demande est signalée comme étant de grande valeur.",
		code:      [2]string{"Cette demande est venue par un code, pas à vous seul : ", "."},
		onlyYours: "N'approuvez que si vous en êtes à l'origine.",
		origins: map[string]string{
			OriginTyped: "saisi ou collé", OriginLink: "un lien a été ouvert",
			OriginImage: "lu dans une image", OriginScreen: "lu à l'écran",
		},
		reported: [2]string{"Indiqué par ", ", non vérifié :"},
		ip:       "Adresse IP", place: "Lieu", browser: "Navigateur", agent: "Appareil",
		signed: "Données signées, SHA-256 : ", server: "Serveur : ", sent: "Envoyée : ", expires: "Expire : ",
	}
}

func german() *words {
	return &words{
		from:      [2]string{"Anfrage von ", ":"},
		highValue: "Diese Anfrage ist als hochwertig gekennzeichnet.",
		code:      [2]string{"Diese Anfrage kam über einen Code, nicht nur an Sie: ", "."},
		onlyYours: "Bestätigen Sie nur, wenn Sie dies selbst begonnen haben.",
		origins: map[string]string{
			OriginTyped: "eingegeben oder eingefügt", OriginLink: "ein Link wurde geöffnet",
			OriginImage: "aus einem Bild gelesen", OriginScreen: "vom Bildschirm gelesen",
		},
		reported: [2]string{"Angaben von ", ", nicht geprüft:"},
		ip:       "IP-Adresse", place: "Ort", browser: "Browser", agent: "Gerät",
		signed: "Signierte Daten, SHA-256: ", server: "Server: ", sent: "Gesendet: ", expires: "Läuft ab: ",
	}
}
