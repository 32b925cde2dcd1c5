package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// pluginVersion is the version of the contract.
const pluginVersion = 1

// question is the line a plug-in reads. Nothing in it is secret.
type question struct {
	Version int    `json:"version"`
	UID     uint32 `json:"uid"`
	User    string `json:"user"`
	Client  string `json:"client"`
	Class   string `json:"class"`
	Request string `json:"request"`
	// Nonce comes back in the answer, which so belongs to this run.
	Nonce string `json:"nonce"`
}

func (q question) line() []byte {
	data, err := json.Marshal(q)
	if err != nil {
		panic(err) // strings and numbers
	}
	return append(data, '\n')
}

// answer is the line a plug-in writes.
type answer struct {
	verified bool
	hint     string
}

// parseAnswer reads the whole output of a plug-in: one JSON object in one line,
// each member once and spelled as the contract does, and nothing else.
func parseAnswer(out []byte, nonce string) (answer, error) {
	line, rest, _ := bytes.Cut(out, []byte("\n"))
	if len(rest) > 0 {
		return answer{}, errors.New("there is more than one line")
	}
	members, err := parseFlat(line)
	if err != nil {
		return answer{}, err
	}
	version, ok1 := members["version"].(json.Number)
	echoed, ok2 := members["nonce"].(string)
	verified, ok3 := members["verified"].(bool)
	hint, ok4 := members["hint"].(string)
	_, hinted := members["hint"]
	known := 3
	if hinted {
		known++
	}
	switch {
	case !ok1 || !ok2 || !ok3 || hinted && !ok4 || len(members) != known:
		return answer{}, errors.New("members are missing, unknown or of another type")
	case version.String() != strconv.Itoa(pluginVersion):
		return answer{}, fmt.Errorf("it speaks version %.20s", version)
	case nonce == "" || echoed != nonce:
		return answer{}, errors.New("it answers another question")
	case hinted && !slices.Contains([]string{HintRetry, HintElsewhere}, hint):
		return answer{}, errors.New("the hint is unknown")
	}
	return answer{verified, hint}, nil
}

// parseFlat reads one JSON object whose members are no objects or arrays.
// encoding/json takes a member twice, and in any case of letters: the last one
// wins, and a reader of the log would see another.
func parseFlat(line []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("it is no JSON object")
	}
	members := map[string]any{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		value, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, ok := name.(string)
		_, nested := value.(json.Delim)
		if _, twice := members[key]; !ok || nested || twice {
			return nil, errors.New("a member is given twice, or is no plain value")
		}
		members[key] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one value")
	}
	return members, nil
}
