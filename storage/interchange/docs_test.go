package interchange

import (
	"os"
	"strings"
	"testing"
)

// TestDocumentedExamples reads each line on the page, and wants one of each kind, as we would write it.
func TestDocumentedExamples(t *testing.T) {
	const path = "../../docs/export.md"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[lineKind]bool{}
	fields := map[string]bool{}
	for i, line := range strings.Split(string(page), "\n") {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		l, err := decodeLine(line)
		if err != nil {
			t.Errorf("%s:%d: %v", path, i+1, err)
			continue
		}
		e := encoder{contents: protoContents{}}
		if written := string(e.append(nil, &l)); written != line+"\n" {
			t.Errorf("%s:%d: export would write\n%s", path, i+1, written)
		}
		seen[l.kind] = true
		for _, name := range fieldNames {
			fields[name] = fields[name] || strings.Contains(line, `"`+name+`":`) || strings.Contains(string(page), "`"+name+"`")
		}
	}
	for kind := kindHeader; kind <= kindFooter; kind++ {
		if !seen[kind] {
			t.Errorf("%s has no example of a %s line", path, kindNames[kind])
		}
	}
	for name, found := range fields {
		if !found {
			t.Errorf("%s does not name the field %s", path, name)
		}
	}
}
