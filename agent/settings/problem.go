package settings

import (
	"fmt"
	"strings"
	"unicode"
)

const (
	// maxProblems is how many are told at once, maxText how much of a line.
	maxProblems = 20
	maxText     = 120
)

// Problem is one thing that is wrong. It can be shown to everybody.
type Problem struct {
	// File and Line are where it is; "" and 0 where it is nowhere in a file.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	// Key is the setting, with its tables, where it is about one.
	Key     string `json:"key,omitempty"`
	Message string `json:"message"`
	// Text is the line, where nothing on it can be secret.
	Text string `json:"text,omitempty"`

	// unreadable says that it is a file which this user may not read.
	unreadable bool
}

func (p Problem) String() string {
	s := p.Message
	if place := (Origin{File: p.File, Line: p.Line}).String(); p.File != "" {
		s = place + ": " + s
	}
	if p.Text != "" {
		s += "\n    " + p.Text
	}
	return s
}

// Problems is the error that reading ends with.
type Problems []Problem

// Error implements error.
func (p Problems) Error() string {
	lines := make([]string, 0, len(p))
	for _, one := range p[:min(len(p), maxProblems)] {
		lines = append(lines, one.String())
	}
	if more := len(p) - maxProblems; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return "configuration: " + strings.Join(lines, "\n")
}

// Origin is where a value comes from. The zero Origin is the default.
type Origin struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Flag string `json:"flag,omitempty"`
}

func (o Origin) String() string {
	switch {
	case o.Flag != "":
		return o.Flag
	case o.File == "":
		return "default"
	case o.Line == 0:
		return o.File
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// shown is a text of a file as a terminal can take it.
func shown(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, "?"))
	s = strings.TrimSpace(s)
	if r := []rune(s); len(r) > maxText {
		s = string(r[:maxText]) + "…"
	}
	return s
}
