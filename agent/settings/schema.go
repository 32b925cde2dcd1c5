package settings

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// kind is what a setting takes.
type kind int

const (
	text kind = iota
	flag
	number
	texts
)

// setting is one key of the configuration.
type setting struct {
	key    string // with its tables
	kind   kind
	index  []int // of the field
	secret bool
}

// schema is all there is to set, as the tags of a struct say.
type schema struct {
	list   []setting
	byKey  map[string]setting
	tables map[string]bool
}

func schemaOf(v any) schema {
	s := schema{byKey: map[string]setting{}, tables: map[string]bool{}}
	s.add(reflect.TypeOf(v), "", nil)
	return s
}

func (s *schema) add(t reflect.Type, prefix string, index []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(slices.Clone(index), i)
		key := prefix + f.Tag.Get("toml")
		if f.Type.Kind() == reflect.Struct {
			s.tables[key] = true
			s.add(f.Type, key+".", at)
			continue
		}
		one := setting{key: key, kind: kindOf(f.Type), index: at, secret: f.Tag.Get("secret") != ""}
		s.list = append(s.list, one)
		s.byKey[key] = one
	}
}

// kindOf panics on a type that no setting has: that is a mistake in this package.
func kindOf(t reflect.Type) kind {
	switch t.Kind() { //nolint:exhaustive // no setting is of another kind
	case reflect.String:
		return text
	case reflect.Bool:
		return flag
	case reflect.Int:
		return number
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return texts
		}
	}
	panic("settings: no setting is a " + t.String())
}

// words says what a kind is, after "takes".
func (k kind) words() string {
	switch k {
	case flag:
		return "true or false"
	case number:
		return "a whole number"
	case texts:
		return `a list of texts, such as ["one", "two"]`
	case text:
	}
	return "a text in quotes"
}

// near is the key that was probably meant, or "". A name that is right in another
// table comes first.
func (s schema) near(key string) string {
	key = strings.ToLower(key)
	name := lastOf(key)
	for _, one := range s.list {
		if lastOf(one.key) == name {
			return one.key
		}
	}
	names := slices.Concat(slices.Collect(maps.Keys(s.byKey)), slices.Collect(maps.Keys(s.tables)))
	best := slices.MinFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(distance(key, a), distance(key, b)), cmp.Compare(a, b))
	})
	if distance(key, best) > 1+len(key)/4 {
		return ""
	}
	return best
}

func lastOf(key string) string { return key[strings.LastIndex(key, ".")+1:] }

// distance is how many letters are to be changed, added or left out to make one
// name of the other.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
