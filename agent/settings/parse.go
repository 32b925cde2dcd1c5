package settings

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// scan reads one file against the schema, and remembers the line of each key.
// The TOML library decodes afterwards; its own words for what is wrong are for
// programmers, and it does not say on which line a value is.
type scan struct {
	schema   schema
	lines    [][]byte
	parser   unstable.Parser
	at       map[string]int // lines of keys
	tables   map[string]int // lines of [tables]
	problems []Problem
}

func scanFile(s schema, data []byte) *scan {
	c := &scan{schema: s, lines: bytes.Split(data, []byte("\n")), at: map[string]int{}, tables: map[string]int{}}
	c.parser.Reset(data)
	table, known := "", true
	for c.parser.NextExpression() {
		e := c.parser.Expression()
		if e.Kind == unstable.Table || e.Kind == unstable.ArrayTable {
			table, known = c.table(e)
		} else if e.Kind == unstable.KeyValue && known {
			c.keyValue(table, e)
		}
	}
	if err := c.parser.Error(); err != nil {
		c.syntax(err)
	}
	return c
}

// table reads a [table] line. What is below one that is not known is not looked
// at: its name is wrong, and nothing else.
func (c *scan) table(e *unstable.Node) (prefix string, known bool) {
	name, line := c.name(e.Key())
	first, again := c.tables[name]
	switch {
	case e.Kind == unstable.ArrayTable:
		c.complain(line, name, "%s is written with one bracket on each side: [%s]", name, name)
	case c.schema.byKey[name].key != "":
		c.complain(line, name, "%s is a setting and no table: write %s = …", name, name)
	case !c.schema.tables[name]:
		c.unknown(line, name, "table ["+shown(name)+"]")
	case again:
		c.complain(line, name, "the table [%s] is there twice, first on line %d: put its settings together", name, first)
		return name + ".", true
	default:
		c.tables[name] = line
		return name + ".", true
	}
	return "", false
}

func (c *scan) keyValue(prefix string, e *unstable.Node) {
	name, line := c.name(e.Key())
	key, value := prefix+name, e.Value()
	if c.schema.tables[key] {
		if value.Kind != unstable.InlineTable {
			c.complain(line, key, "%s is a table: write [%s] on a line of its own, and its settings below", key, key)
			return
		}
		for it := value.Children(); it.Next(); {
			c.keyValue(key+".", it.Node())
		}
		return
	}
	s, known := c.schema.byKey[key]
	first, again := c.at[key]
	switch {
	case !known:
		c.unknown(line, key, "setting "+shown(key))
	case again:
		c.complain(line, key, "%s is there twice, first on line %d: leave one", key, first)
	case !s.kind.takes(value):
		c.complain(line, key, "%s takes %s, and not %s%s", key, s.kind.words(), wordsFor(value.Kind), hint(s.kind, value))
	default:
		c.at[key] = line
	}
}

// takes reports whether a value is of the kind.
func (k kind) takes(v *unstable.Node) bool {
	switch k {
	case flag:
		return v.Kind == unstable.Bool
	case number:
		return v.Kind == unstable.Integer
	case texts:
		for it := v.Children(); v.Kind == unstable.Array && it.Next(); {
			if it.Node().Kind != unstable.String {
				return false
			}
		}
		return v.Kind == unstable.Array
	case text:
	}
	return v.Kind == unstable.String
}

func wordsFor(k unstable.Kind) string {
	switch k { //nolint:exhaustive // the rest are dates and times
	case unstable.String:
		return "a text"
	case unstable.Bool:
		return "true or false"
	case unstable.Integer:
		return "a number"
	case unstable.Float:
		return "a number with a fraction"
	case unstable.Array:
		return "this list"
	case unstable.InlineTable:
		return "a table"
	}
	return "a date or a time"
}

func hint(k kind, v *unstable.Node) string {
	switch {
	case k == flag && v.Kind == unstable.String, k == number && v.Kind == unstable.String:
		return ": write it without quotes"
	case k == text && v.Kind != unstable.Array && v.Kind != unstable.InlineTable:
		return ": put it in quotes"
	case k == texts && v.Kind == unstable.String:
		return ": put it in brackets"
	}
	return ""
}

// name is a dotted key, and its line.
func (c *scan) name(it unstable.Iterator) (name string, line int) {
	var parts []string
	for it.Next() {
		part := string(it.Node().Data)
		if part == "" || strings.ContainsAny(part, ". \t\n\"'") {
			part = fmt.Sprintf("%.60q", part) // none of ours
		}
		parts = append(parts, part)
		line = c.parser.Shape(it.Node().Raw).Start.Line
	}
	return strings.Join(parts, "."), line
}

func (c *scan) unknown(line int, key, what string) {
	message := "there is no " + what
	switch near := c.schema.near(key); {
	case near == "":
	case lastOf(near) == lastOf(key) && strings.Contains(near, "."):
		table, _, _ := strings.Cut(near, ".")
		message += fmt.Sprintf(" here: it belongs into the table [%s]", table)
	case lastOf(near) == lastOf(key):
		message += fmt.Sprintf(": %s stands above all tables", near)
	default:
		message += ": did you mean " + near + "?"
	}
	// The line is not shown: nobody knows what its value is.
	c.problems = append(c.problems, Problem{Line: line, Key: shown(key), Message: message})
}

func (c *scan) complain(line int, key, format string, args ...any) {
	p := Problem{Line: line, Key: shown(key), Message: fmt.Sprintf(format, args...)}
	if !c.schema.byKey[key].secret {
		p.Text = c.text(line)
	}
	c.problems = append(c.problems, p)
}

func (c *scan) text(line int) string {
	if line < 1 || line > len(c.lines) {
		return ""
	}
	return shown(string(c.lines[line-1]))
}

// syntax tells of what is no TOML. The line is shown where a setting that is no
// secret stands on it.
func (c *scan) syntax(err error) {
	p := Problem{Message: syntaxWords(err.Error())}
	if at, ok := errors.AsType[*unstable.ParserError](err); ok {
		p.Line = c.parser.Shape(c.parser.Range(at.Highlight)).Start.Line
	}
	if p.Line > 0 && p.Line <= len(c.lines) {
		name, _, ok := strings.Cut(string(c.lines[p.Line-1]), "=")
		if ok && c.harmless(strings.TrimSpace(name)) {
			p.Text = c.text(p.Line)
		}
	}
	c.problems = append(c.problems, p)
}

// harmless reports that a name is that of settings, in whatever table, and of none
// that is secret.
func (c *scan) harmless(name string) bool {
	found := false
	for _, s := range c.schema.list {
		if s.key == name || lastOf(s.key) == name {
			found = true
			if s.secret {
				return false
			}
		}
	}
	return found
}

// syntaxWords puts into words what the parser means.
func syntaxWords(message string) string {
	for _, w := range []struct{ of, words string }{
		{"expected '=' after key", "after the name of a setting comes ="},
		{"to close table name", "a table is named in brackets: [policy]"},
		{"at start of value", "this is no value: a text stands in quotes, and true, false and numbers without"},
		{"expected keyword", "this is no value: a text stands in quotes, and true, false and numbers without"},
		{"expected value", "there is no value after ="},
		{"unterminated", "the text has no closing quote"},
		{"cannot have new lines", "the text has no closing quote"},
		{"not terminated", "the text has no closing quotes"},
		{"array", `a list is written ["one", "two"]`},
		{"inline table", `a table in one line is written { name = "value" }`},
		{"expected newline", "there is something after the value: one setting a line, and texts in quotes"},
		{"UTF-8", "the file is not UTF-8"},
		{"escape", `a \ in "…" begins an escape: write the text in '…' to have it as it is`},
		{`need a character after \`, `a \ in "…" begins an escape: write the text in '…' to have it as it is`},
		{"control characters", "there is a control character"},
		{"invalid character at start of key", "a line begins with the name of a setting, a [table] or #"},
	} {
		if strings.Contains(message, w.of) {
			return w.words
		}
	}
	return "this cannot be read: it is not TOML"
}

// decode overlays the file on v. It is called where scan found nothing wrong, so
// that what is left is rare.
func (c *scan) decode(data []byte, v any) []Problem {
	err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(v)
	if err == nil {
		return nil
	}
	p := Problem{Message: "this cannot be read: a name is there twice, or a number is too large"}
	if bad, ok := errors.AsType[*toml.DecodeError](err); ok {
		p.Line, _ = bad.Position()
		p.Key = shown(strings.Join(bad.Key(), "."))
	}
	return []Problem{p}
}
