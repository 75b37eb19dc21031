package gateway

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocumentationListsTheSettings compares docs/configuration.md with the table of
// settings: the same names in the same order, the same defaults, and a reason to change.
func TestDocumentationListsTheSettings(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(data), "\n## Settings\n")
	section, _, _ = strings.Cut(section, "\n## ")
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9_.]+)` \\| (?:none|`([^`]*)`(?: \\(dev `([^`]*)`\\))?) \\| (.+) \\| (.+) \\|$")
	var documented, want []string
	for _, m := range row.FindAllStringSubmatch(section, -1) {
		documented = append(documented, m[1]+" default "+m[2]+" dev "+m[3])
	}
	standard := DefaultConfig()
	for _, s := range settings() {
		want = append(want, s.name+" default "+s.value(&standard).String()+" dev "+s.development)
	}
	if slices.Equal(documented, want) {
		return
	}
	for _, line := range want {
		if !slices.Contains(documented, line) {
			t.Errorf("docs/configuration.md lacks a row for: %s", line)
		}
	}
	for _, line := range documented {
		if !slices.Contains(want, line) {
			t.Errorf("docs/configuration.md has a row for what is not so: %s", line)
		}
	}
	if !t.Failed() {
		t.Errorf("docs/configuration.md has the settings in another order: %q, want %q", documented, want)
	}
}

// TestDocumentedFileIsTaken reads the YAML of docs/configuration.md as a server would.
func TestDocumentedFileIsTaken(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(data), "```yaml\n")
	if !found {
		t.Fatal("there is no example")
	}
	text, _, _ = strings.Cut(text, "```")
	secret := writeFile(t, "secret", strings.Repeat("s", minSecret))
	c := mustLoad(t, []string{"--config", writeFile(t, "r.yaml", text), "--auth.hs256-secret-file", secret}, nil)
	if c.Data != "/var/lib/rookery" || len(c.Limits.Origins) != 1 {
		t.Errorf("read as %+v", c)
	}
}
