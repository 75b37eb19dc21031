package gateway

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"rookery/gateway/internal/loop"
)

// TestDocumentedReasons: docs/security.md and the filter for fail2ban know every reason for which the server turns somebody
// away, and agree on which of them count.
func TestDocumentedReasons(t *testing.T) {
	page, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	filter, err := os.ReadFile("../deploy/fail2ban/filter.d/rookery.conf")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string][]string{}
	var all []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| .+ \\| (normal|aggressive|never) \\|$").FindAllStringSubmatch(string(page), -1) {
		documented[m[2]] = append(documented[m[2]], m[1])
		all = append(all, m[1])
	}
	want := slices.Clone(loop.DenialNames()[1:])
	slices.Sort(want)
	slices.Sort(all)
	if !slices.Equal(all, want) {
		t.Errorf("docs/security.md has the reasons %q, the server %q", all, want)
	}
	for _, mode := range []string{"normal", "aggressive"} {
		line := regexp.MustCompile(`(?m)^_` + mode + ` = (?:%\(_normal\)s\|)?(.+)$`).FindStringSubmatch(string(filter))
		if line == nil {
			t.Fatalf("the filter has no line for %s", mode)
		}
		got := strings.Split(line[1], "|")
		slices.Sort(got)
		slices.Sort(documented[mode])
		if !slices.Equal(got, documented[mode]) {
			t.Errorf("%s: the filter finds %q, docs/security.md says %q", mode, got, documented[mode])
		}
	}
	// journalctl takes a + for "or": with the program's name in it anybody on the machine could have others banned.
	if journal := regexp.MustCompile(`(?m)^journalmatch = (.+)$`).FindStringSubmatch(string(filter)); journal == nil || journal[1] != "_SYSTEMD_UNIT=rookery.service" {
		t.Errorf("the filter reads the journal of %q, want the service's alone", journal)
	}
}
