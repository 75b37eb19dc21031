package gateway

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
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

// TestDocumentedRangesAreTheSettings: where a row says "1 KiB to 1 MiB", both ends are taken and
// what is just beyond them is not.
func TestDocumentedRangesAreTheSettings(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9_.]+)` \\|.* ([0-9]+) (B|KiB|MiB|GiB|ms|s|min|h|days) to ([0-9]+) (B|KiB|MiB|GiB|ms|s|min|h|days)\\b")
	// written is a documented amount, moved by a part of it, as the setting is written.
	written := func(number, unit string, part float64) string {
		n, err := strconv.ParseFloat(number, 64)
		if err != nil {
			t.Fatal(err)
		}
		if size, ok := map[string]float64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[unit]; ok {
			return strconv.FormatInt(int64(n*size*part), 10)
		}
		each := map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "min": time.Minute, "h": time.Hour, "days": 24 * time.Hour}[unit]
		return time.Duration(n * float64(each) * part).String()
	}
	ranges := row.FindAllStringSubmatch(string(data), -1)
	if len(ranges) < 5 {
		t.Fatalf("only %d rows with a range were found", len(ranges))
	}
	for _, m := range ranges {
		i := slices.IndexFunc(settings(), func(s setting) bool { return s.name == m[1] })
		for _, c := range []struct {
			text  string
			taken bool
		}{
			{written(m[2], m[3], 1), true}, {written(m[2], m[3], 0.99), false},
			{written(m[4], m[5], 1), true}, {written(m[4], m[5], 1.01), false},
		} {
			config := DefaultConfig()
			v := settings()[i].value(&config)
			if err := v.Set(c.text); err != nil {
				t.Fatalf("%s = %s: %v", m[1], c.text, err)
			}
			if taken := v.fault() == ""; taken != c.taken {
				t.Errorf("docs/configuration.md says %s %s to %s %s of %s, but %s is taken: %v", m[2], m[3], m[4], m[5], m[1], c.text, taken)
			}
		}
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

// TestThePackagesSettingsAreCheckedByTheirCommand, which stands at their top, also while the service does not run and its secrets are not there.
func TestThePackagesSettingsAreCheckedByTheirCommand(t *testing.T) {
	const settings = "../deploy/debian/rookery.yaml"
	text, err := os.ReadFile(settings)
	if err != nil {
		t.Fatal(err)
	}
	const installed = "--config /etc/rookery/rookery.yaml --print-config"
	command := regexp.MustCompile(`(?m)^#   (\S+)=(\S+) rookery serve ` + installed + `$`).FindStringSubmatch(string(text))
	if command == nil {
		t.Fatalf("%s does not begin with a command that ends in %s", settings, installed)
	}
	if postinst, err := os.ReadFile("../deploy/debian/postinst"); err != nil || !strings.Contains(string(postinst), " "+command[2]+"\n") {
		t.Errorf("the installation makes no file %s: %v", command[2], err)
	}
	secret := writeFile(t, "secret", strings.Repeat("s", minSecret))
	mustLoad(t, []string{"--config", settings}, []string{command[1] + "=" + secret})
}
