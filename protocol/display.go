package protocol

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// DisplayVersion is the version of the display record that Display makes now.
// A change of wording is a new version; old ones stay, since evidence is
// verified for years.
const DisplayVersion = 1

// Record is the display record: the exact lines a person sees, in order.
type Record []string

// Bytes is the record as hashed: UTF-8 lines, each ended by LF.
func (r Record) Bytes() []byte {
	return []byte(strings.Join(r, "\n") + "\n")
}

// Hash names the record in a decision.
func (r Record) Hash() string { return Hash(r.Bytes()) }

// Display makes the display record of a valid request. Device and server call
// this same function, so that what was seen can be recomputed from evidence.
// The language is one of Languages; tz is an IANA time zone name, needing the
// program to carry or find the time zone database. Texts, numbers and amounts
// of the relying party are what they are in every language.
//
// Lines that begin in the first column begin with words of ours. Text of the
// relying party stands behind two spaces, and its name behind words of ours,
// where neither can imitate a line.
func Display(r *Request, version int, language, tz string) (Record, error) {
	if version != DisplayVersion {
		return nil, errorf(CodeBadMessage, "display_v %d is unknown", version)
	}
	w := wordsOf(language)
	if w == nil {
		return nil, errorf(CodeBadMessage, "lang is unknown")
	}
	loc, err := loadZone(tz)
	if err != nil {
		return nil, err
	}
	rec := Record{w.from[0] + r.Client.Name + w.from[1], "  " + r.Message}
	for _, d := range r.Details {
		rec = append(rec, "  "+d.Label+": "+d.Value)
	}
	if r.HighValue {
		rec = append(rec, w.highValue)
	}
	if r.Origin != "" {
		rec = append(rec, w.code[0]+w.origins[r.Origin]+w.code[1], w.onlyYours)
	}
	rec = append(rec, reported(r, w)...)
	if r.SigningData != "" {
		sum := sha256.Sum256([]byte(r.SigningData))
		rec = append(rec, w.signed+hex.EncodeToString(sum[:]))
	}
	const layout = "2006-01-02 15:04:05 -07:00"
	return append(
		rec,
		w.server+r.Issuer,
		w.sent+time.Unix(r.IssuedAt, 0).In(loc).Format(layout),
		w.expires+time.Unix(r.ExpiresAt, 0).In(loc).Format(layout),
	), nil
}

// loadZone loads an IANA zone by a name that means the same on each machine.
// Not so "Local"; nor the links into a machine's configuration and the trees
// with other rules for leap seconds that some systems keep beside the zones.
func loadZone(name string) (*time.Location, error) {
	tree, _, _ := strings.Cut(name, "/")
	if slices.Contains([]string{"", "Local", "localtime", "posixrules", "posix", "right"}, tree) {
		return nil, errorf(CodeBadMessage, "tz is unknown")
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, errorf(CodeBadMessage, "tz is unknown")
	}
	return loc, nil
}

func reported(r *Request, w *words) []string {
	if r.Context == nil {
		return nil
	}
	var lines []string
	for _, c := range []struct{ label, value string }{
		{w.ip, r.Context.IP},
		{w.place, r.Context.Place},
		{w.browser, r.Context.UserAgent},
		{w.agent, r.Context.Device},
	} {
		if c.value != "" {
			lines = append(lines, "  "+c.label+": "+c.value)
		}
	}
	if lines == nil {
		return nil
	}
	return append([]string{w.reported[0] + r.Client.Name + w.reported[1]}, lines...)
}
