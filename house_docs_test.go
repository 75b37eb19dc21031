package rookery_test

import (
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// pages are the texts whose paths and links are checked: all of ours.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, name := range repoFiles(t) {
		if path.Ext(name) != ".md" {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(b)
	}
	for _, must := range []string{"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/protocol.md"} {
		if texts[must] == "" {
			t.Errorf("%s is missing", must)
		}
	}
	return texts
}

var (
	fence    = regexp.MustCompile("(?ms)^```.*?^```")
	codeSpan = regexp.MustCompile("`([^`\n]+)`")
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	pathLike = regexp.MustCompile(`^[A-Za-z0-9_.*-]+(/[A-Za-z0-9_.*-]+)*/?$`)
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
)

// sourceKinds are endings that make a name in a text one of our files, even without a folder.
var sourceKinds = []string{".go", ".js", ".css", ".md"}

// TestPathsInPagesExist opens every path that a page names: `gateway/server.go`, or a link.
func TestPathsInPagesExist(t *testing.T) {
	files := repoFiles(t)
	top := map[string]bool{}
	for _, f := range files {
		first, _, nested := strings.Cut(f, "/")
		top[first] = nested
	}
	exists := func(from, name string) bool {
		name = strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
		return slices.ContainsFunc(files, func(f string) bool {
			for _, candidate := range []string{name, path.Join(path.Dir(from), name)} {
				if f == candidate || strings.HasPrefix(f, candidate+"/") {
					return true
				}
				if ok, _ := path.Match(candidate, f); ok {
					return true
				}
			}
			return !strings.Contains(name, "/") && path.Base(f) == name
		})
	}
	checked := 0
	for page, text := range pages(t) {
		text = fence.ReplaceAllString(text, "")
		for _, m := range codeSpan.FindAllStringSubmatch(text, -1) {
			name := m[1]
			first, _, nested := strings.Cut(name, "/")
			ours := nested && top[first] || slices.Contains(sourceKinds, path.Ext(name))
			if !ours || !pathLike.MatchString(name) {
				continue
			}
			checked++
			if !exists(page, name) {
				t.Errorf("%s names `%s`, which is not there", page, name)
			}
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			checked++
			if target == "" {
				target = path.Base(page)
			}
			target = path.Join(path.Dir(page), target)
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(t, target), anchor) {
				t.Errorf("%s links to %s, but %s has no such heading", page, m[1], target)
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d paths were checked: the patterns find nothing any more", checked)
	}
}

// readAll gives files in one piece.
func readAll(names ...string) (all []byte, err error) {
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		all = append(all, b...)
	}
	return all, nil
}

// anchors are the headings of a page as links name them.
func anchors(t *testing.T, page string) []string {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(string(b), ""), -1) {
		var slug strings.Builder
		for _, r := range strings.ToLower(m[1]) {
			switch {
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				slug.WriteRune(r)
			case r == ' ':
				slug.WriteByte('-')
			}
		}
		all = append(all, slug.String())
	}
	return all
}

// TestPagesNameSettingsThatExist: a setting or a metric that was renamed must not live on in a
// text. The list of settings is compared with the code by package gateway.
func TestPagesNameSettingsThatExist(t *testing.T) {
	settings, err := os.ReadFile("docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := readAll("gateway/metrics.go", "gateway/metrics_tls.go")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for page, text := range pages(t) {
		for _, m := range regexp.MustCompile("`((?:limits|log|retention|ship|push|drain|auth|oidc|logging)\\.[a-z_]+)(?:: [a-z]+)?`").FindAllStringSubmatch(text, -1) {
			checked++
			if !strings.Contains(string(settings), "| `"+m[1]+"` |") {
				t.Errorf("%s names the setting %s, which docs/configuration.md does not list", page, m[1])
			}
		}
		for _, m := range regexp.MustCompile("`rookery_([a-z_]+)`").FindAllStringSubmatch(text, -1) {
			checked++
			if !strings.Contains(string(metrics), `"`+m[1]+`"`) {
				t.Errorf("%s names the metric rookery_%s, which gateway/metrics.go and the file beside it do not have", page, m[1])
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d names were checked: the patterns find nothing any more", checked)
	}
}

var dependencyRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.+) \\| (.+) \\|$")

// TestDependenciesAreExplained: each module that we import has its line in README, with the
// reason and what would replace it, and each line its module.
func TestDependenciesAreExplained(t *testing.T) {
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(b), "\n## Dependencies\n")
	if !found {
		t.Fatal("README.md has no section Dependencies")
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var explained []string
	for _, m := range dependencyRow.FindAllStringSubmatch(text, -1) {
		explained = append(explained, m[1])
	}
	used := usedModules(t)
	for _, m := range used {
		if !slices.Contains(explained, m) {
			t.Errorf("README.md does not say why there is %s and what would replace it", m)
		}
	}
	for _, m := range explained {
		if !slices.Contains(used, m) {
			t.Errorf("README.md explains %s, which nothing of ours imports", m)
		}
	}
}

// TestEveryRequirementHasAState: docs/status.md has one row for each row of what Rookery must do.
func TestEveryRequirementHasAState(t *testing.T) {
	b, err := os.ReadFile("docs/status.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([A-J]\d+) \| [^|]+ \| (done|first form|not yet) \| ([^|]*)\|$`).FindAllStringSubmatch(string(b), -1) {
		rows[m[1]]++
		if m[2] != "not yet" && !strings.Contains(m[3], "`") {
			t.Errorf("docs/status.md does not say where %s is tested", m[1])
		}
	}
	// How many rows each letter has.
	for letter, n := range map[string]int{"A": 9, "B": 4, "C": 18, "D": 8, "E": 6, "F": 8, "G": 4, "H": 6, "I": 6, "J": 3} {
		for i := 1; i <= n; i++ {
			id := letter + strconv.Itoa(i)
			if rows[id] != 1 {
				t.Errorf("docs/status.md has %d rows for %s, want one with a state", rows[id], id)
			}
			delete(rows, id)
		}
	}
	for id := range rows {
		t.Errorf("docs/status.md has a row for %s, which is no requirement", id)
	}
}
