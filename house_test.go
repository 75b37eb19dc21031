// Package rookery_test holds the rules of the house that a compiler does not know. Each rule
// is here because one without a check fades.
package rookery_test

import (
	"bufio"
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "rookery"

// longestFile is where a file has become two steps.
const longestFile = 600

// repoFiles lists the files of the repository by their paths with slashes, without what is
// built, installed or written by a running server.
func repoFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if entry.IsDir() {
			switch {
			case name == ".":
				return nil
			case name == "bin", name == "data", entry.Name() == "node_modules", strings.HasPrefix(entry.Name(), "."):
				return fs.SkipDir
			}
			return nil
		}
		files = append(files, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// goFile is a parsed source file of ours.
type goFile struct {
	path   string
	syntax *ast.File
	tokens *token.FileSet
	test   bool
}

func (f *goFile) dir() string { return path.Dir(f.path) }

// imports gives the import paths of the file.
func (f *goFile) imports() []string {
	var paths []string
	for _, spec := range f.syntax.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		paths = append(paths, p)
	}
	return paths
}

// parsed has the files once they were read: under the race detector that takes seconds, and five tests want them.
var parsed []*goFile

// goFiles gives all Go files of the repository. Nobody changes them.
func goFiles(t *testing.T) []*goFile {
	t.Helper()
	if parsed != nil {
		return parsed
	}
	var files []*goFile
	for _, name := range repoFiles(t) {
		if path.Ext(name) != ".go" {
			continue
		}
		f := &goFile{path: name, tokens: token.NewFileSet(), test: strings.HasSuffix(name, "_test.go")}
		var err error
		if f.syntax, err = parser.ParseFile(f.tokens, name, nil, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	if len(files) < 50 {
		t.Fatalf("only %d Go files were found: the test runs in the wrong folder", len(files))
	}
	parsed = files
	return files
}

// TestOnePackageDoc: a reader who comes to a package finds one text that says what it is.
func TestOnePackageDoc(t *testing.T) {
	type pkg struct{ docs, sources []string }
	packages := map[string]*pkg{}
	for _, f := range goFiles(t) {
		p := packages[f.dir()]
		if p == nil {
			p = &pkg{}
			packages[f.dir()] = p
		}
		// A folder of nothing but tests has its doc in one of them.
		if !f.test {
			p.sources = append(p.sources, f.path)
		}
		if f.syntax.Doc != nil && strings.TrimSpace(f.syntax.Doc.Text()) != "" {
			p.docs = append(p.docs, f.path)
		}
	}
	for dir, p := range packages {
		if len(p.docs) != 1 {
			t.Errorf("%s has %d package docs %v, want one", dir, len(p.docs), p.docs)
		}
		if len(p.docs) == 1 && len(p.sources) > 0 && !slices.Contains(p.sources, p.docs[0]) {
			t.Errorf("%s has its package doc in a test, %s", dir, p.docs[0])
		}
	}
}

// mayImport is what packages may import of ours: the shape of ARCHITECTURE.md. A package that
// is not here is only bound by mayBeImportedBy.
var mayImport = map[string][]string{
	"bench/benchtest":              {"proto", "proto/rookery/v1"},
	"proto":                        {"proto/rookery/v1"},
	"proto/rookery/v1":             {},
	"gateway/internal/accept":      {"gateway/internal/rate"},
	"gateway/internal/api":         {"gateway/internal/audit", "gateway/internal/calls", "gateway/internal/handoff", "gateway/internal/members", "gateway/internal/rate", "proto", "proto/rookery/v1"},
	"gateway/internal/audit":       {},
	"gateway/internal/seen":        {"storage/mapped"},
	"gateway/internal/calls":       {"gateway/internal/handoff", "proto"},
	"gateway/internal/consult":     {"gateway/internal/handoff", "gateway/internal/identity", "gateway/internal/rate", "gateway/internal/webhook", "proto", "proto/rookery/v1"},
	"gateway/internal/framing":     {"proto"},
	"gateway/internal/handoff":     {"gateway/internal/identity", "proto", "proto/rookery/v1"},
	"gateway/internal/identity":    {"gateway/internal/rate", "proto"},
	"gateway/internal/rate":        {},
	"gateway/internal/issuance":    {"gateway/internal/accept"},
	"gateway/internal/jwks":        {},
	"gateway/internal/revocation":  {},
	"gateway/internal/loop":        {"gateway/internal/framing", "gateway/internal/handoff", "gateway/internal/identity", "gateway/internal/kerneltls", "gateway/internal/rate", "internal/records", "gateway/internal/takeover", "proto", "proto/rookery/v1"},
	"internal/porttest":            {},
	"internal/records":             {},
	"internal/records/recordstest": {},
	"gateway/internal/kerneltls":   {"internal/records"},
	"gateway/internal/tlslisten":   {"gateway/internal/kerneltls", "gateway/internal/rate", "internal/records"},
	"gateway/internal/members":     {"gateway/internal/handoff", "proto", "proto/rookery/v1"},
	"gateway/internal/deadletter":  {"storage/mapped"},
	"gateway/internal/notice":      {"gateway/internal/deadletter", "gateway/internal/rate", "gateway/internal/webhook", "storage/mapped"},
	"gateway/internal/operator":    {"web"},
	"gateway/internal/presence":    {"gateway/internal/handoff", "proto", "proto/rookery/v1"},
	"gateway/internal/push":        {"gateway/internal/deadletter", "gateway/internal/handoff", "gateway/internal/webhook", "storage/mapped"},
	"gateway/internal/receipts":    {"gateway/internal/handoff", "proto", "proto/rookery/v1"},
	"gateway/internal/signin":      {"gateway/internal/identity", "gateway/internal/rate", "proto"},
	"gateway/internal/site":        {"gateway/internal/handoff"},
	"gateway/internal/takeover":    {"gateway/internal/handoff", "gateway/internal/identity", "gateway/internal/rate", "proto"},
	"gateway/internal/webhook":     {},
	"gateway/internal/room":        {"gateway/internal/handoff", "proto", "proto/rookery/v1", "storage", "storage/changes"},
	"storage":                      {},
	"storage/vfs":                  {},
	"storage/commitlog":            {"storage", "storage/vfs"},
	"storage/backup":               {"storage", "storage/commitlog", "storage/vfs"},
	"storage/interchange":          {"storage", "storage/commitlog"},
	"storage/catalog":              {"storage", "storage/commitlog"},
	"storage/changes":              {"storage", "storage/commitlog", "storage/mapped", "storage/vfs"},
	"storage/mapped":               {"storage/vfs"},
	"storage/ship":                 {"storage/backup", "storage/commitlog", "storage/vfs"},
	"bench":                        {"bench/internal/crowd", "bench/internal/dialect", "bench/internal/engine", "bench/internal/floor", "bench/internal/worker", "bench/plan", "bench/report", "bench/result", "bench/watch"},
	"bench/internal/floor":         {"bench/result"},
	"bench/internal/crowd":         {"bench/internal/dialect", "bench/internal/engine", "bench/internal/ledger", "bench/plan", "bench/result"},
	"bench/internal/engine":        {"internal/records"},
	"bench/internal/ledger":        {},
	"bench/internal/worker":        {"bench/internal/crowd", "bench/internal/engine", "bench/result", "bench/watch"},
	"bench/plan":                   {},
	"bench/result":                 {"bench/plan"},
	"bench/watch":                  {"bench/plan", "bench/result"},
	"bench/report":                 {"bench/plan", "bench/result"},
	"client/go":                    {"proto", "proto/rookery/v1"},
	"client/js":                    {},
	"bench/internal/dialect":       {"bench/plan", "proto", "proto/rookery/v1"},
	"bench/otherservers":           {"bench/plan", "internal/porttest"},
	"test/benchmarks/control":      {},
	"test/ledger":                  {"proto/rookery/v1"},
	"test/powercut/control":        {},
	"test/powercut/disk":           {},
	"test/vm":                      {"internal/porttest", "test/vm/channel"},
	"test/vm/channel":              {},
	"test/vm/guest":                {"test/vm/channel"},
	"tuning":                       {"tuning/host"},
	"tuning/apply":                 {"tuning"},
	"tuning/host":                  {},
	"tuning/script":                {"tuning"},
	"web":                          {"client/js"},
}

// mayBeImportedBy is who may know of a package; a name that ends in / stands for all below.
var mayBeImportedBy = map[string][]string{
	"gateway/internal/api":        {"gateway"},
	"gateway/internal/audit":      {"gateway", "gateway/internal/api"},
	"gateway/internal/calls":      {"gateway", "gateway/internal/api"},
	"gateway/internal/consult":    {"gateway"},
	"gateway/internal/deadletter": {"gateway/internal/notice", "gateway/internal/push"},
	"gateway/internal/notice":     {"gateway"},
	"gateway/internal/webhook":    {"gateway", "gateway/internal/consult", "gateway/internal/notice", "gateway/internal/push"},
	"gateway/internal/framing":    {"gateway/internal/loop"},
	"gateway/internal/handoff":    {"gateway", "gateway/internal/api", "gateway/internal/calls", "gateway/internal/consult", "gateway/internal/loop", "gateway/internal/members", "gateway/internal/presence", "gateway/internal/push", "gateway/internal/receipts", "gateway/internal/room", "gateway/internal/site", "gateway/internal/takeover"},
	"gateway/internal/issuance":   {"gateway"},
	"gateway/internal/jwks":       {"gateway"},
	"gateway/internal/loop":       {"gateway"},
	"gateway/internal/members":    {"gateway", "gateway/internal/api"},
	"gateway/internal/operator":   {"gateway"},
	"gateway/internal/push":       {"gateway"},
	"gateway/internal/receipts":   {"gateway"},
	"gateway/internal/kerneltls":  {"gateway", "gateway/internal/loop", "gateway/internal/tlslisten"},
	"internal/records":            {"bench/internal/engine", "gateway/internal/kerneltls", "gateway/internal/loop", "gateway/internal/tlslisten"},
	"gateway/internal/tlslisten":  {"gateway"},
	"gateway/internal/seen":       {"gateway"},
	"gateway/internal/revocation": {"gateway"},
	"gateway/internal/room":       {"gateway"},
	"gateway/internal/signin":     {"gateway"},
	"gateway/internal/site":       {"gateway"},
	"gateway/internal/takeover":   {"gateway", "gateway/internal/loop"},
	// That the log is a file is nobody's business outside storage but the wiring's.
	"storage":        {"gateway", "gateway/internal/room", "cmd/", "storage/", "test/biglog"},
	"storage/vfs":    {"gateway", "cmd/", "storage/"},
	"storage/backup": {"cmd/", "storage/"},
	// An export is made by a tool beside the server, or by the API, which reads the files as the tool does.
	"storage/interchange": {"cmd/", "gateway"},
	"storage/catalog":     {"gateway", "cmd/", "storage/"},
	"storage/ship":        {"gateway", "cmd/", "storage/"},
	"storage/commitlog":   {"gateway", "cmd/", "storage/", "test/biglog"},
	// Servers of others, and providers with faults, are for tests alone.
	"bench/otherservers":                 {},
	"gateway/internal/signin/signintest": {},
	// A listener of a pipe.
	"gateway/internal/accept/accepttest": {},
	// Certificates of nobody are for tests, and for the server that tests start.
	"internal/certtest": {"gateway/gatewaytest"},
	// Ports of programs that tests start.
	"internal/porttest": {"bench/otherservers", "test/benchmarks/bare", "test/vm"},
	// Records that no honest peer sends.
	"internal/records/recordstest": {},
	// The machine whose power is cut runs the server as it is; nothing else may lean on its rig.
	"test/benchmarks/control": {"test/benchmarks", "test/benchmarks/guest"},
	"test/powercut/control":   {"test/powercut", "test/powercut/guest"},
	"test/powercut/disk":      {"test/powercut"},
	"test/vm":                 {"test/"},
	"test/vm/guest":           {"test/"},
	// Trees of machines are for tests alone.
	"tuning/hosttest": {},
}

func TestImportShapes(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range goFiles(t) {
		seen[f.dir()] = true
		if f.test {
			continue
		}
		for _, p := range f.imports() {
			imported, ours := strings.CutPrefix(p, modulePath+"/")
			if !ours {
				continue
			}
			if allowed, ruled := mayImport[f.dir()]; ruled && !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s; of ours %s may import only %v", f.path, imported, f.dir(), allowed)
			}
			if allowed, ruled := mayBeImportedBy[imported]; ruled && !slices.ContainsFunc(allowed, func(who string) bool {
				return who == f.dir() || strings.HasSuffix(who, "/") && strings.HasPrefix(f.dir(), who)
			}) {
				t.Errorf("%s imports %s, which only %v may", f.path, imported, allowed)
			}
		}
	}
	for dir := range mayImport {
		if !seen[dir] {
			t.Errorf("the rules name %s, which is not there any more", dir)
		}
	}
	for dir := range mayBeImportedBy {
		if !seen[dir] {
			t.Errorf("the rules name %s, which is not there any more", dir)
		}
	}
}

// TestOnlyProgramsPrint: a library that writes to the standard output can't be tested or
// embedded. Programs (package main) are given theirs.
func TestOnlyProgramsPrint(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test || f.syntax.Name.Name == "main" {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			what := ""
			switch n := n.(type) {
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				switch {
				case !ok:
				case x.Name == "fmt" && slices.Contains([]string{"Print", "Printf", "Println"}, n.Sel.Name),
					x.Name == "os" && slices.Contains([]string{"Stdout", "Stderr", "Stdin"}, n.Sel.Name):
					what = x.Name + "." + n.Sel.Name
				}
			case *ast.CallExpr:
				if x, ok := n.Fun.(*ast.Ident); ok && (x.Name == "print" || x.Name == "println") {
					what = x.Name
				}
			}
			if what != "" {
				t.Errorf("%s uses %s; log, or take an io.Writer", f.tokens.Position(n.Pos()), what)
			}
			return true
		})
	}
}

// generated is the line that generators of Go code write, see go help generate.
var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// TestFilesAreSmall: one file, one step.
func TestFilesAreSmall(t *testing.T) {
	kinds := []string{".go", ".js", ".ts", ".mjs", ".css", ".html", ".py", ".sh", ".md"} // a .proto is a wire format, which is one thing
	for _, name := range repoFiles(t) {
		if !slices.Contains(kinds, path.Ext(name)) {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if generated.Match(b) {
			continue
		}
		if n := bytes.Count(b, []byte("\n")); n > longestFile {
			t.Errorf("%s has %d lines, over %d: which two steps are in it?", name, n, longestFile)
		}
	}
}

// TestNothingIsLeftForLater: a note without a name and a consequence is never read again, and a
// test that is skipped shows nothing.
func TestNothingIsLeftForLater(t *testing.T) {
	notes := []string{"TO" + "DO", "FIX" + "ME", "XX" + "X"}
	skips := []string{"Skip", "SkipNow", "Skipf"}
	for _, f := range goFiles(t) {
		for _, group := range f.syntax.Comments {
			for _, note := range notes {
				if strings.Contains(group.Text(), note) {
					t.Errorf("%s: a comment says %s", f.tokens.Position(group.Pos()), note)
				}
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && f.test {
				if s, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains(skips, s.Sel.Name) {
					t.Errorf("%s: the test skips itself", f.tokens.Position(n.Pos()))
				}
			}
			return true
		})
	}
}

// goMod gives the modules that go.mod requires and the packages of its tool lines.
func goMod(t *testing.T) (modules, tools []string) {
	t.Helper()
	b, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	block := ""
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		line, _, _ := strings.Cut(s.Text(), "//")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
			continue
		case fields[0] == ")":
			block = ""
			continue
		case len(fields) == 2 && fields[1] == "(":
			block = fields[0]
			continue
		case block == "" && len(fields) > 1:
			addGoMod(fields[0], fields[1], &modules, &tools)
		default:
			addGoMod(block, fields[0], &modules, &tools)
		}
	}
	return modules, tools
}

func addGoMod(directive, value string, modules, tools *[]string) {
	switch directive {
	case "require":
		*modules = append(*modules, value)
	case "tool":
		*tools = append(*tools, value)
	}
}

// usedModules gives the modules that our own files import, and those of our tools. The marks
// "indirect" in go.mod are not asked: this is what they should say.
func usedModules(t *testing.T) []string {
	t.Helper()
	modules, used := goMod(t)
	for _, f := range goFiles(t) {
		used = append(used, f.imports()...)
	}
	var found []string
	for _, p := range used {
		longest := ""
		for _, m := range modules {
			if (p == m || strings.HasPrefix(p, m+"/")) && len(m) > len(longest) {
				longest = m
			}
		}
		if longest != "" && !slices.Contains(found, longest) {
			found = append(found, longest)
		}
	}
	slices.Sort(found)
	return found
}
