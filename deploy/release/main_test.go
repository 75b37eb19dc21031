package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

var built = &debug.BuildInfo{
	GoVersion: "go1.99.1",
	Deps: []*debug.Module{
		{Path: "example.org/one", Version: "v1.0.0", Sum: "h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
		{Path: "example.org/old", Version: "v1.0.0", Replace: &debug.Module{Path: "example.org/new", Version: "v2.0.0"}},
	},
	Settings: []debug.BuildSetting{{Key: "GOARCH", Value: "arm64"}, {Key: "vcs.time", Value: "now"}},
}

func TestBillNamesWhatIsInTheBinary(t *testing.T) {
	var out strings.Builder
	if err := writeBill(&out, built, "1.2.3", time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	var b bill
	if err := json.Unmarshal([]byte(out.String()), &b); err != nil {
		t.Fatal(err)
	}
	if b.Format != "CycloneDX" || b.Metadata.Timestamp != "2001-09-09T01:46:40Z" || b.Metadata.Component.Version != "1.2.3" || len(b.Metadata.Component.Properties) != 1 {
		t.Errorf("it begins with %+v", b.Metadata)
	}
	var names []string
	for _, c := range b.Components {
		names = append(names, c.PURL)
	}
	if got := strings.Join(names, " "); got != "pkg:golang/std@1.99.1 pkg:golang/example.org/one@v1.0.0 pkg:golang/example.org/new@v2.0.0" {
		t.Errorf("its modules are %s", got)
	}
	if sum := b.Components[1].Hashes; len(sum) != 1 || sum[0].Content != strings.Repeat("0", 64) {
		t.Errorf("the sum is %v", sum)
	}
	built := *built
	built.Deps = []*debug.Module{{Path: "p", Sum: "h1:?"}}
	if err := writeBill(&out, &built, "1", time.Time{}); err == nil || !strings.Contains(err.Error(), "module p") {
		t.Errorf("a sum that is none: %v", err)
	}
}

func TestLicencesOfEveryModule(t *testing.T) {
	root := t.TempDir()
	directory := func(path, version string) (string, error) { return filepath.Join(root, path), nil }
	for name, text := range map[string]string{"std/LICENSE": "of Go\n", "example.org/one/License.md": "one", "example.org/one/NOTICE": "by whom", "example.org/new/COPYING": "two", "example.org/one/main.go": "code",
		"example.org/one/internal/of/others/LICENSE": "three", "example.org/one/internal/notices.go": "code", "example.org/one/internal/testdata/LICENSE": "of nothing in the binary",
		"example.org/new/deep/LICENSE": "four"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	if err := writeLicences(&out, built, directory); err != nil {
		t.Fatal(err)
	}
	want := "==== std go1.99.1, LICENSE\n\nof Go\n\n==== example.org/one v1.0.0, License.md\n\none\n\n==== example.org/one v1.0.0, NOTICE\n\nby whom\n\n==== example.org/one v1.0.0, internal/of/others/LICENSE\n\nthree\n\n" +
		"==== example.org/new v2.0.0, COPYING\n\ntwo\n\n==== example.org/new v2.0.0, deep/LICENSE\n\nfour\n\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	// What is deeper is for what is there, not for the module.
	os.Remove(filepath.Join(root, "example.org/new/COPYING"))
	if err := writeLicences(&out, built, directory); err == nil || !strings.Contains(err.Error(), "example.org/new has no file") {
		t.Errorf("without a licence: %v", err)
	}
	lost := errors.New("lost")
	if err := writeLicences(&out, built, func(string, string) (string, error) { return "", lost }); !errors.Is(err, lost) {
		t.Errorf("without files: %v", err)
	}
}

func TestWrongCallsAreRefused(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"it is sbom BINARY VERSION": {"sbom", self},
		"read what is in":           {"licences", "main.go"},
		"SOURCE_DATE_EPOCH":         {"sbom", self, "1"},
	} {
		if err := run(args, "today", os.Stderr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}
