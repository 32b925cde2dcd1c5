package desktop

import (
	"slices"
	"strings"
)

const (
	group = "[Default Applications]"
	key   = "x-scheme-handler/countersign"
)

// choose puts our entry first among the programs for our links, in the text of
// a mimeapps.list.
func choose(text string) string {
	lines := strings.Split(text, "\n")
	if i := find(lines); i >= 0 {
		lines[i] = key + "=" + strings.Join(append([]string{entryName}, others(lines[i])...), ";") + ";"
		return strings.Join(lines, "\n")
	}
	line := key + "=" + entryName + ";"
	if i := slices.IndexFunc(lines, isGroup(group)); i >= 0 {
		return strings.Join(slices.Insert(lines, i+1, line), "\n")
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + group + "\n" + line + "\n"
}

// forget takes our entry out.
func forget(text string) string {
	lines := strings.Split(text, "\n")
	i := find(lines)
	if i < 0 {
		return text
	}
	if rest := others(lines[i]); len(rest) > 0 {
		lines[i] = key + "=" + strings.Join(rest, ";") + ";"
	} else {
		lines = slices.Delete(lines, i, i+1)
	}
	return strings.Join(lines, "\n")
}

// find is the line of our links in the group of the defaults, or -1.
func find(lines []string) int {
	inside := false
	for i, line := range lines {
		name, _, ok := strings.Cut(line, "=")
		switch {
		case isGroup("[")(line):
			inside = isGroup(group)(line)
		case inside && ok && strings.TrimSpace(name) == key:
			return i
		}
	}
	return -1
}

func isGroup(prefix string) func(string) bool {
	return func(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), prefix) }
}

// others are the programs of a line that are not ours.
func others(line string) []string {
	_, value, _ := strings.Cut(line, "=")
	programs := strings.Split(strings.TrimSpace(value), ";")
	return slices.DeleteFunc(programs, func(p string) bool { return p == "" || p == entryName })
}
