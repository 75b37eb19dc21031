package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func lookup(t *testing.T, address string) string {
	t.Helper()
	f, ok := Lookup(address)
	if !ok {
		t.Fatalf("no file at %s", address)
	}
	return string(f.Body)
}

func TestLookup(t *testing.T) {
	for address, wantType := range map[string]string{
		"/":             "text/html; charset=utf-8",
		"/app/main.js":  "text/javascript; charset=utf-8",
		"/app/base.css": "text/css; charset=utf-8",
		"/app/icon.svg": "image/svg+xml",
		"/sw.js":        "text/javascript; charset=utf-8",

		"/app/manifest.webmanifest": "application/manifest+json",

		"/client/rookery.js":   "text/javascript; charset=utf-8",
		"/client/rookery.d.ts": "text/plain; charset=utf-8",
	} {
		f, ok := Lookup(address)
		if !ok || len(f.Body) == 0 || f.Type != wantType {
			t.Errorf("Lookup(%q) = %d bytes, %q, %v; want some of %q", address, len(f.Body), f.Type, ok, wantType)
		}
	}
	for _, address := range []string{
		"/v/" + version(), "/v/" + version() + "/", "/v/" + version() + "/sw.js", "/v/app/main.js", "/v//v/app/main.js",
		"", "index.html", "/index.html", "/app", "/app/", "/page/app/main.js", "/client/", "/client/test/fakes.js",
		"/client/embed.go", "/client/package.json", "/app/../app/main.js", "//app/main.js", "/app/main.js?x",
	} {
		if _, ok := Lookup(address); ok {
			t.Errorf("Lookup(%q) found something", address)
		}
	}
}

var (
	linkInHTML   = regexp.MustCompile(`(?:src|href)="([^"#]+)"`)
	workerInCode = regexp.MustCompile(`(?m)^const WORKER = '([^']+)'`)
	importInCode = regexp.MustCompile(`(?m)^(?:import|export)\b[^'"]*?from '([^']+)'`)
)

// TestEveryReferenceIsThere follows the page's links and every module's imports.
func TestEveryReferenceIsThere(t *testing.T) {
	source, err := page.ReadFile("page/index.html")
	if err != nil {
		t.Fatal(err)
	}
	const settings = "/settings.json"
	seen := map[string]bool{}
	var visit func(from, address string)
	visit = func(from, address string) {
		if seen[address] {
			return
		}
		seen[address] = true
		if address == settings {
			return // of the server
		}
		f, ok := Lookup(address)
		if !ok {
			t.Errorf("%s refers to %s, which is not there", from, address)
			return
		}
		matches := append(importInCode.FindAllStringSubmatch(string(f.Body), -1), workerInCode.FindAllStringSubmatch(string(f.Body), -1)...)
		if address == "/" {
			matches = linkInHTML.FindAllStringSubmatch(string(f.Body), -1)
		}
		for _, match := range matches {
			target := match[1]
			if !strings.HasPrefix(target, "/") {
				target = path.Join(path.Dir(address), target)
			}
			visit(address, target)
		}
	}
	visit("the browser", "/")
	visit("the browser", "/app/main.js") // what is joined; the client is for everybody
	for _, match := range stylesheet.FindAllSubmatch(source, -1) {
		visit("index.html", string(match[1]))
	}
	for _, address := range Paths() {
		if !seen[address] && !seen["/v/"+version()+address] && !strings.HasSuffix(address, ".d.ts") {
			t.Errorf("%s is served, but nothing refers to it", address)
		}
	}
	if !seen[settings] {
		t.Error("what the server is like is asked for only when the modules have come")
	}
}

// TestVersion: it is another one with another file of the page or of the client, and the same with others.
func TestVersion(t *testing.T) {
	versions := map[string]string{}
	for name, change := range map[string]func(all map[string]File){
		"as it is":       func(map[string]File) {},
		"another module": func(all map[string]File) { all["/app/main.js"] = File{Tag: "x"} },
		"another client": func(all map[string]File) { all["/client/rookery.js"] = File{Tag: "x"} },
		"a new file":     func(all map[string]File) { all["/app/new.js"] = File{Tag: "x"} },
	} {
		all := maps.Clone(files())
		change(all)
		if other, ok := versions[versionOf(all)]; ok {
			t.Errorf("%s has the version of %s", name, other)
		}
		versions[versionOf(all)] = name
	}
	all := maps.Clone(files())
	delete(all, "/")
	all["/sw.js"] = File{Tag: "x"}
	if versionOf(all) != version() {
		t.Error("what is not below a version changes it")
	}
}

// TestTheOperatorsPageIsWhole: what it refers to is there, nothing else is served, and it keeps its policy.
func TestTheOperatorsPageIsWhole(t *testing.T) {
	seen := map[string]bool{}
	html, _, _ := Operator("/ops/")
	var visit func(from, address string)
	visit = func(from, address string) {
		if seen[address] {
			return
		}
		seen[address] = true
		body, contentType, ok := Operator(address)
		if !ok || contentType == "" {
			t.Errorf("%s refers to %s, which is not there", from, address)
			return
		}
		matches := importInCode.FindAllStringSubmatch(string(body), -1)
		if address == "/ops/" {
			matches = linkInHTML.FindAllStringSubmatch(string(body), -1)
		}
		for _, match := range matches {
			target := match[1]
			if !strings.HasPrefix(target, "/") {
				target = path.Join(path.Dir(address), target)
			}
			visit(address, target)
		}
		for _, match := range regexp.MustCompile(`byId\('([^']+)'\)`).FindAllStringSubmatch(string(body), -1) {
			if !strings.Contains(string(html), ` id="`+match[1]+`"`) {
				t.Errorf("%s looks for #%s, which the page does not have", address, match[1])
			}
		}
		if found := regexp.MustCompile(`\b(?:innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|setAttribute\('style')|url\(|@import|\sstyle=|\son[a-z]+="|https?://[^w]`).FindString(string(body)); found != "" {
			t.Errorf("%s uses %s", address, found)
		}
	}
	visit("the browser", "/ops/")
	for address := range operatorFiles() {
		if !seen[address] {
			t.Errorf("%s is served, but nothing refers to it", address)
		}
	}
	for _, hole := range []string{"unsafe", "*", "data:", "http:"} {
		if strings.Contains(OperatorPolicy, hole) {
			t.Errorf("the policy has a hole: %s", hole)
		}
	}
	for _, address := range []string{"/ops/operator/index.html", "/ops/operator/", "/", "/app/base.css"} {
		if _, _, ok := Operator(address); ok {
			t.Errorf("Operator(%q) found something", address)
		}
	}
}

// TestIdentifiersAreThere: what the modules look up by id is in the page.
func TestIdentifiersAreThere(t *testing.T) {
	html := lookup(t, "/")
	uses := regexp.MustCompile(`byId\('([^']+)'\)`)
	for _, address := range Paths() {
		for _, match := range uses.FindAllStringSubmatch(lookup(t, address), -1) {
			if !strings.Contains(html, ` id="`+match[1]+`"`) {
				t.Errorf("%s looks for #%s, which the page does not have", address, match[1])
			}
		}
	}
}

// TestPolicy: the page keeps the content security policy that it is served with.
func TestPolicy(t *testing.T) {
	html := lookup(t, "/")
	for name, pattern := range map[string]string{
		"inline script":        `<script(?:\s[^>]*)?>[^<]`,
		"script without src":   `<script>`,
		"inline style":         `<style|\sstyle=`,
		"event handler":        `\son[a-z]+=`,
		"javascript: address":  `javascript:`,
		"another host":         `(?:src|href)="(?:https?:)?//`,
		"a form with a target": `\saction=`,
	} {
		if found := regexp.MustCompile(pattern).FindString(html); found != "" {
			t.Errorf("index.html has %s: %q", name, found)
		}
	}
	forbidden := regexp.MustCompile(`\b(?:innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|setAttribute\('style')`)
	for _, address := range Paths() {
		body := lookup(t, address)
		if strings.HasSuffix(address, ".js") {
			if found := forbidden.FindString(body); found != "" {
				t.Errorf("%s uses %s", address, found)
			}
		}
		if strings.HasSuffix(address, ".css") && regexp.MustCompile(`url\(|@import`).MatchString(body) {
			t.Errorf("%s loads something", address)
		}
	}
	for _, directive := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "worker-src 'self'", "frame-ancestors 'none'", "trusted-types rookery-worker"} {
		if !strings.Contains(ContentSecurityPolicy, directive) {
			t.Errorf("the policy has no %s", directive)
		}
	}
	for _, hole := range []string{"unsafe", "*", "data:", "http:"} {
		if strings.Contains(ContentSecurityPolicy, hole) {
			t.Errorf("the policy has a hole: %s", hole)
		}
	}
}

func TestPathsAreAddresses(t *testing.T) {
	for _, address := range Paths() {
		if parsed, err := url.Parse(address); err != nil || parsed.Path != address || path.Clean(address) != address {
			t.Errorf("%q is no plain path", address)
		}
	}
}

// modulesAndStyles are the addresses of those that a page asks for.
func modulesAndStyles(html string) []string {
	var found []string
	for _, match := range linkInHTML.FindAllStringSubmatch(html, -1) {
		if ext := path.Ext(match[1]); ext == ".js" || ext == ".css" {
			found = append(found, match[1])
		}
	}
	return found
}

// TestFirstVisitAsksForFewFiles: one of modules and one of styles, in which nothing is missing.
func TestFirstVisitAsksForFewFiles(t *testing.T) {
	below := "/v/" + version()
	if got, want := modulesAndStyles(lookup(t, "/")), []string{below + "/app/page.css", below + "/app/page.js"}; !slices.Equal(got, want) {
		t.Errorf("the page asks for %q, want %q", got, want)
	}
	script, style := lookup(t, "/app/page.js"), lookup(t, "/app/page.css")
	for _, address := range Paths() {
		if path.Ext(address) == ".css" && strings.Count(style, lookup(t, address)) != 1 {
			t.Errorf("%s is not in page.css once", address)
		}
		if path.Ext(address) == ".js" && path.Dir(address) != "/" && address != "/app/page.js" && strings.Count(script, "modules['"+address+"'] = ") != 1 {
			t.Errorf("%s is not in page.js once", address)
		}
	}
}

// TestTheOperatorsPageAsksForFewFiles: one of modules and one of styles, in which nothing is missing.
func TestTheOperatorsPageAsksForFewFiles(t *testing.T) {
	html, _, _ := Operator("/ops/")
	if got, want := modulesAndStyles(string(html)), []string{"/ops/operator/page.css", "/ops/operator/page.js"}; !slices.Equal(got, want) {
		t.Fatalf("the page asks for %q, want %q", got, want)
	}
	script, _, _ := Operator("/ops/operator/page.js")
	style, _, _ := Operator("/ops/operator/page.css")
	parts, err := operator.ReadDir("operator")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range parts {
		body, err := operator.ReadFile("operator/" + part.Name())
		if err != nil {
			t.Fatal(err)
		}
		if path.Ext(part.Name()) == ".js" && strings.Count(string(script), "modules['/ops/operator/"+part.Name()+"'] = ") != 1 {
			t.Errorf("%s is not in page.js once", part.Name())
		}
		if path.Ext(part.Name()) == ".css" && bytes.Count(style, body) != 1 {
			t.Errorf("%s is not in page.css once", part.Name())
		}
	}
	if base := lookup(t, "/app/base.css"); !strings.Contains(string(style), base) {
		t.Error("base.css is not in page.css")
	}
}

func TestJoin(t *testing.T) {
	all := map[string]File{
		"/app/main.js":   {Body: []byte("// The page.\nimport { send, wait as pause } from '../client/c.js'; // below\nimport { name } from './names.js';\n\nawait pause();\nsend(name);\n")},
		"/app/names.js":  {Body: []byte("import { E } from '../client/e.js';\nexport const name = 'x';\n")},
		"/client/c.js":   {Body: []byte("import { E } from './e.js';\n\nexport { E };\nexport function send(x) {}\nexport async function wait() {}\nfunction own() {}\n")},
		"/client/e.js":   {Body: []byte("export class E extends Error {}\n")},
		"/app/unused.js": {Body: []byte("export const unused = 1;\n")},
	}
	want := `const modules = {};

modules['/client/e.js'] = await (async () => {
class E extends Error {}
return { E };
})();

modules['/client/c.js'] = await (async () => {
const { E } = modules['/client/e.js'];


function send(x) {}
async function wait() {}
function own() {}
return { send, wait, E };
})();

modules['/app/names.js'] = await (async () => {
const { E } = modules['/client/e.js'];
const name = 'x';
return { name };
})();

modules['/app/main.js'] = await (async () => {
// The page.
const { send, wait: pause } = modules['/client/c.js'];
const { name } = modules['/app/names.js'];

await pause();
send(name);
return {  };
})();
`
	if got := string(join(all, "/app/main.js")); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestJoinRefuses what it would make something else of.
func TestJoinRefuses(t *testing.T) {
	for name, body := range map[string]string{
		"a default":         "export default 1;\n",
		"a variable":        "export let x = 1;\n",
		"all of another":    "import * as x from './b.js';\n",
		"several lines":     "import {\n  x,\n} from './b.js';\n",
		"itself":            "import { x } from './a.js';\n",
		"what is not there": "import { y } from './b.js';\n",
		"two in a line":     "import { x } from './b.js'; import { x as y } from './b.js';\n",
		"code behind it":    "import { x } from './b.js'; x();\n",
		"another name":      "const x = 1;\nexport { x as y };\n",
		"a late one":        "const { x } = await import('./b.js');\n",
		"its own address":   "new URL('./b.js', import.meta.url);\n",
	} {
		func() {
			defer func() {
				if fault, _ := recover().(string); !strings.HasPrefix(fault, "BUG: /a.js ") {
					t.Errorf("%s: %q", name, fault)
				}
			}()
			join(map[string]File{"/a.js": {Body: []byte(body)}, "/b.js": {Body: []byte("export const x = 1;\n")}}, "/a.js")
		}()
	}
}

func TestFilesAreTagged(t *testing.T) {
	tags := map[string]string{}
	for _, address := range Paths() {
		f, _ := Lookup(address)
		unpacked, err := gzip.NewReader(bytes.NewReader(f.Gzip))
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		if body, err := io.ReadAll(unpacked); err != nil || !bytes.Equal(body, f.Body) {
			t.Errorf("%s: compressed it is something else (%v)", address, err)
		}
		if other, ok := tags[f.Tag]; ok || !regexp.MustCompile(`^W/"[0-9a-f]{16}"$`).MatchString(f.Tag) {
			t.Errorf("%s has the tag %s, like %q", address, f.Tag, other)
		}
		tags[f.Tag] = address
	}
}
