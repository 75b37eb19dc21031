package main

import (
	"strings"
	"testing"
)

func TestSummarize(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		counts         counts
	}{
		{"all is well", `
{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"a log line\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"pass","Package":"p","Elapsed":0.25}
`, "ok    p (0.2 s)\n1 passed, 0 failed\n", counts{1, 0}},
		{"a failure shows what it said", `
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: got 1\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"quiet\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p","Elapsed":1}
`, "    a_test.go:1: got 1\nFAIL  p (1.0 s)\n1 passed, 1 failed\n", counts{1, 1}},
		{"a package that does not build", `
{"ImportPath":"p","Action":"build-output","Output":"p/a.go:1: undefined\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"fail","Package":"p","FailedBuild":"p"}
`, "p/a.go:1: undefined\nFAIL  p (0.0 s)\n0 passed, 1 failed\n", counts{0, 1}},
		{"a skipped test and a package without tests count as nothing", `
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Elapsed":0}
{"Action":"skip","Package":"q"}
`, "ok    p (0.0 s)\n0 passed, 0 failed\n", counts{0, 0}},
		{"words that are no event", "go: no module\n", "go: no module\n0 passed, 0 failed\n", counts{0, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			got, err := summarize(strings.NewReader(strings.TrimPrefix(c.in, "\n")), &out)
			if err != nil || got != c.counts || out.String() != c.want {
				t.Errorf("got %+v, %v and\n%s\nwant %+v and\n%s", got, err, out.String(), c.counts, c.want)
			}
		})
	}
}
