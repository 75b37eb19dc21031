package gateway_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/gateway/internal/api"
)

func apiPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// TestAPIDocumentedExamples runs each command of the page in its order, and compares the last answer before a block of JSON with that
// block.
func TestAPIDocumentedExamples(t *testing.T) {
	t.Parallel()
	page := apiPage(t)
	keys := regexp.MustCompile("(?ms)^```\n(# .*?)^```").FindStringSubmatch(page)
	if keys == nil {
		t.Fatal("the page has no list of keys")
	}
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte(strings.Replace(keys[1], "rooms,users ", "rooms,users,export,stats ", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.API.KeysFile = file })
	secret := regexp.MustCompile(`backend\s+\S+\s+(\S+)`).FindStringSubmatch(keys[1])[1]
	b := newBackend(t, srv)
	var last map[string]any
	ran, compared := 0, 0
	_, page, _ = strings.Cut(page, "\n## Operations\n")
	page, _, _ = strings.Cut(page, "\n## Once and not twice\n")
	for _, block := range regexp.MustCompile("(?ms)^```(sh|json)\n(.*?)^```").FindAllStringSubmatch(page, -1) {
		if block[1] == "json" {
			var want map[string]any
			if err := json.Unmarshal([]byte(block[2]), &want); err != nil {
				t.Fatalf("%v in %s", err, block[2])
			}
			if differs := differs(last, want, ""); differs != "" {
				t.Errorf("the page has\n%sand the server answered\n%v\n%s", block[2], last, differs)
			}
			compared++
			continue
		}
		for _, command := range strings.Split(strings.TrimSpace(strings.ReplaceAll(block[2], "\\\n", " ")), "\n") {
			last = runCurl(t, b, command, secret)
			ran++
		}
	}
	if ran < 12 || compared < 6 {
		t.Errorf("only %d commands and %d answers were found", ran, compared)
	}
}

// runCurl does what the command would: of curl it knows -H, -X, --json and an address.
func runCurl(t *testing.T, b *backend, command, secret string) map[string]any {
	t.Helper()
	words := regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`).FindAllString(strings.ReplaceAll(command, "$KEY", secret), -1)
	method, body, address := "GET", "", ""
	asked := *b
	asked.secret = ""
	for i := 1; i < len(words); i++ {
		next := func() string {
			if i++; i == len(words) {
				t.Fatalf("%s: something is missing at the end", command)
			}
			return strings.Trim(words[i], `'"`)
		}
		switch word := strings.Trim(words[i], `'"`); word {
		case "-X":
			method = next()
		case "--json":
			if body = next(); method == "GET" {
				method = "POST"
			}
			asked = *asked.with("Content-Type", "application/json")
		case "-H":
			name, value, _ := strings.Cut(next(), ": ")
			asked = *asked.with(name, value)
		default:
			address = word
		}
	}
	path, ok := strings.CutPrefix(address, "http://127.0.0.1:9090")
	if !ok || words[0] != "curl" {
		t.Fatalf("the page has a command that the test does not understand: %s", command)
	}
	if strings.Contains(path, "/export?") {
		if status, _, answer := asked.send(method, path, body); status != 200 || !strings.Contains(string(answer), `"kind":"footer"`) {
			t.Errorf("%s: %d %s", command, status, answer)
		}
		return nil
	}
	return asked.do(method, path, body)
}

// differs says where two answers are not the same but for what differs from run to run, "" if they are.
func differs(got, want any, at string) string {
	switch want := want.(type) {
	case map[string]any:
		got, _ := got.(map[string]any)
		names := map[string]bool{}
		for name := range want {
			names[name] = true
		}
		for name := range got {
			names[name] = true
		}
		for name := range names {
			_, here := got[name]
			_, there := want[name]
			if here != there {
				return fmt.Sprintf("%s.%s is in one of them only", at, name)
			}
			if name == "at" || name == "epoch" || name == "since" {
				continue
			}
			if d := differs(got[name], want[name], at+"."+name); d != "" {
				return d
			}
		}
		return ""
	case []any:
		got, _ := got.([]any)
		if len(got) != len(want) {
			return fmt.Sprintf("%s has %d entries and %d", at, len(got), len(want))
		}
		for i := range want {
			if d := differs(got[i], want[i], fmt.Sprintf("%s[%d]", at, i)); d != "" {
				return d
			}
		}
		return ""
	}
	if got != want {
		return fmt.Sprintf("%s is %v and %v", at, got, want)
	}
	return ""
}

// TestAPIDocumentedOperations compares the tables of the page with what there is: operations, scopes, errors.
func TestAPIDocumentedOperations(t *testing.T) {
	t.Parallel()
	page := apiPage(t)
	srv := gatewaytest.Start(t, withAPI)
	var want, got []string
	for path, operations := range documentOf(t, srv).Paths {
		for method, op := range operations {
			want = append(want, fmt.Sprintf("%s %s %s", strings.ToUpper(method), path, op.Security[0]["key"][0]))
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z]+ /v1/[^`]+)` \\| `([a-z]+)` \\| .+ \\|$").FindAllStringSubmatch(page, -1) {
		got = append(got, m[1]+" "+m[2])
	}
	compareLists(t, "operations", got, want)

	got, want = nil, nil
	for _, e := range api.Errors() {
		want = append(want, fmt.Sprintf("%d %s %v", e.Code, e.Name, map[bool]string{true: "yes", false: "no"}[e.Retry]))
	}
	for _, m := range regexp.MustCompile("(?m)^\\| (\\d+) \\| `([a-z_]+)` \\| (yes|no) \\| .+ \\|$").FindAllStringSubmatch(page, -1) {
		got = append(got, strings.Join(m[1:], " "))
	}
	compareLists(t, "errors", got, want)

	got, want = nil, api.Scopes()
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z]+)` \\| [^|]+ \\|$").FindAllStringSubmatch(page, -1) {
		got = append(got, m[1])
	}
	compareLists(t, "scopes", got, want)
}

func compareLists(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("docs/api.md has the %s\n%s\nand there are\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
