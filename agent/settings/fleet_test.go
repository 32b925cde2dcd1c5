package settings

import (
	"strings"
	"testing"
	"time"
)

func TestFleetIsRead(t *testing.T) {
	e := newEtc(t)
	e.put(mainName, `[fleet]
server = "https://auth.example.org:8443"
ca = "sha256:KeRDmvQYrEyZP2eTwynbpEX7Y-zh7OurKovEu9oK_Bw"
enroll = "token"
enroll_url = "https://portal.example.org/enroll?x=y"
spread = "5m"
`)
	f := e.mustRead(Options{}).Fleet
	if f.Within() != 5*time.Minute || len(f.Pin()) != 32 || f.Enroll != EnrollByToken || !f.Report {
		t.Errorf("read as %+v", f)
	}
}

func TestFleetThatIsWrong(t *testing.T) {
	const server = "server = \"https://auth.example.org\"\n"
	for name, c := range map[string]struct{ text, says string }{
		"no server":        {`enroll = "ek"`, "fleet.server is missing"},
		"no https":         {`server = "http://auth.example.org"`, "fleet.server is"},
		"a query":          {`server = "https://auth.example.org?x"`, "fleet.server is"},
		"a slash":          {`server = "https://auth.example.org/"`, "fleet.server is"},
		"no pin":           {server + `ca = "sha256:abc"`, "fleet.ca is"},
		"another way":      {server + `enroll = "tokens"`, "fleet.enroll is"},
		"a token for ek":   {server + "enroll = \"ek\"\nenrollment_token_file = \"/etc/token\"", "fleet.enrollment_token_file"},
		"a relative token": {server + "enroll = \"token\"\nenrollment_token_file = \"token\"", "fleet.enrollment_token_file"},
		"a page of files":  {server + `enroll_url = "file:///etc/passwd"`, "fleet.enroll_url"},
		"a name of lines":  {server + `name = "a\nb"`, "fleet.name"},
		"for ever":         {server + `spread = "2h"`, "fleet.spread"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEtc(t)
			e.put(mainName, "[fleet]\n"+c.text+"\n")
			if list := e.problems(Options{}); len(list) != 1 || !strings.Contains(list[0].Message, c.says) {
				t.Errorf("it says %v", list)
			}
		})
	}
}
