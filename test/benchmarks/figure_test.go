package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFormats(t *testing.T) {
	for _, c := range []struct {
		unit  unit
		value float64
		want  string
	}{
		{number, 0, "0"}, {number, 999, "999"}, {number, 1_000_000, "1,000,000"}, {number, -12_345.4, "-12,345"}, {number, -0.4, "0"},
		{byteSize, 47.96, "48.0 B"}, {byteSize, 1024, "1,024 B"}, {byteSize, 1_000_000, "1.00 MB"}, {byteSize, 1.1e9, "1.10 GB"}, {byteSize, -2e6, "-2.00 MB"},
		{milliseconds, 4.96, "5.0 ms"}, {percent, 2.96, "3.0%"},
	} {
		if got := c.unit.format(c.value); got != c.want {
			t.Errorf("%v of unit %d is %q, want %q", c.value, c.unit, got, c.want)
		}
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name          string
		figure        figure
		text, verdict string
	}{
		{"no target", figure{value: 5}, "", ""},
		{"under", figure{value: 1024, unit: byteSize, target: most(1024)}, "at most 1,024 B", "met"},
		{"over", figure{value: 1024.1, unit: byteSize, target: most(1024)}, "at most 1,024 B", "MISSED"},
		{"enough", figure{value: 7, target: least(7)}, "at least 7", "met"},
		{"too few", figure{value: 6, target: least(7)}, "at least 7", "MISSED"},
		{"a time of an emulator", figure{value: 9, unit: milliseconds, target: most(5), emulated: true}, "at most 5.0 ms", "emulated"},
	} {
		if text, verdict := c.figure.targetText(), c.figure.verdict(); text != c.text || verdict != c.verdict {
			t.Errorf("%s: %q and %q, want %q and %q", c.name, text, verdict, c.text, c.verdict)
		}
	}
}

func someReport() report {
	return report{
		when: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC), section: "vm", command: "go run x", version: "rookery 1", machine: "a machine",
		notes: []string{"A note."},
		results: []measured{{row{name: "one", what: "What one is"}, []figure{
			{what: "memory", value: 2000, unit: byteSize, target: most(1024)}, {what: "connections", value: 7},
		}, 61 * time.Second}},
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	if err := someReport().write(&out); err != nil {
		t.Fatal(err)
	}
	want := `
2026-05-04, a machine
rookery 1
A note.

one: What one is (1m1s)
  memory       2,000 B  at most 1,024 B  MISSED
  connections  7                         
`
	if out.String() != want {
		t.Errorf("got %s, want %s", out.String(), want)
	}
}

func TestBlock(t *testing.T) {
	want := "What one is.\n\n" +
		"| figure | measured | target | |\n|---|---|---|---|\n" +
		"| memory | 2,000 B | at most 1,024 B | MISSED |\n" +
		"| connections | 7 |  |  |\n" +
		"\nMeasured 2026-05-04 with rookery 1, by `go run x`, on a machine. A note.\n"
	if got := someReport().blocks()["one"]; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSection(t *testing.T) {
	const begin, end = "<!-- vm: begin -->\n", "<!-- vm: end -->\n"
	order := []string{"one", "two", "three"}
	page := "# Page\n\n<!-- host: begin -->\nx\n<!-- host: end -->\n\n" + begin + end + "\nmore\n"
	replace := func(page string, blocks map[string]string) string {
		t.Helper()
		got, err := replaceSection(page, "vm", order, blocks)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	head, tail := "# Page\n\n<!-- host: begin -->\nx\n<!-- host: end -->\n\n"+begin, end+"\nmore\n"
	if got := replace(page, nil); got != page {
		t.Errorf("without blocks got %q", got)
	}
	page = replace(page, map[string]string{"two": "second\n"})
	if want := head + "\n### two\n\nsecond\n\n" + tail; page != want {
		t.Errorf("got %q, want %q", page, want)
	}
	page = replace(page, map[string]string{"three": "third\n\n| a |\n", "one": "first\n"})
	if want := head + "\n### one\n\nfirst\n\n### two\n\nsecond\n\n### three\n\nthird\n\n| a |\n\n" + tail; page != want {
		t.Errorf("others are kept, in order: got %q, want %q", page, want)
	}
	order = []string{"two"}
	if got, want := replace(page, map[string]string{"two": "again\n"}), head+"\n### two\n\nagain\n\n"+tail; got != want {
		t.Errorf("a row that is not there any more goes: got %q, want %q", got, want)
	}
	for _, broken := range []string{"", begin, end + begin, begin + end + begin + end} {
		if _, err := replaceSection(broken, "vm", order, nil); err == nil {
			t.Errorf("%q is taken for a page with a section", broken)
		}
	}
}

func TestWriteSection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	if err := writeSection(path, "vm", nil, nil); err == nil {
		t.Error("a page that is not there is written")
	}
	if err := os.WriteFile(path, []byte("<!-- vm: begin -->\n<!-- vm: end -->\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeSection(path, "vm", []string{"one"}, someReport().blocks()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(b), "### one\n\nWhat one is.") {
		t.Errorf("the page is %q, %v", b, err)
	}
}

// TestPageHasItsSection: whoever measures for hours has somewhere to write to.
func TestPageHasItsSection(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", page))
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range []string{"host", "vm"} {
		if _, err := replaceSection(string(b), section, nil, nil); err != nil {
			t.Error(err)
		}
	}
}

func TestFlags(t *testing.T) {
	for args, want := range map[string]string{
		"--scale 0.5": "are for --vm", "--profile x": "are for --vm", "stray": "stray", "--vm stray": "stray", "--vm --scale 0": "--scale is 0", "--vm --scale 1.5": "--scale is 1.5", "--vm --scale NaN": "--scale is NaN",
		"--vm --write --scale 0.5": "leave --scale out",
	} {
		if _, err := parse(strings.Fields(args), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want something on %q", args, err, want)
		}
	}
	o, err := parse(strings.Fields("--vm --row a --row b --write"), io.Discard)
	if err != nil || !o.vm || !o.write || o.scale != 1 || strings.Join(o.rows, " ") != "a b" {
		t.Errorf("options are %+v, %v", o, err)
	}
}

func TestChoose(t *testing.T) {
	all := (&equipment{scale: 1}).rows()
	if rows, err := choose(all, nil); err != nil || len(rows) != len(all) {
		t.Errorf("without names %d rows, %v", len(rows), err)
	}
	if rows, err := choose(all, []string{"million", "density"}); err != nil || strings.Join(names(rows), " ") != "million density" {
		t.Errorf("chosen are %v, %v", names(rows), err)
	}
	if _, err := choose(all, []string{"billion"}); err == nil || !strings.Contains(err.Error(), "density, rooms, kernel, engine, million, takeover") {
		t.Errorf("an unknown row gave %v", err)
	}
}

// TestRowsThatFail: the others are measured, and the run says which have no figures.
func TestRowsThatFail(t *testing.T) {
	broken := errors.New("the machine is gone")
	figures := []figure{{what: "x", value: 1}}
	rows := []row{
		{name: "a", limit: time.Hour, measure: func(context.Context) ([]figure, error) { return figures, broken }},
		{name: "b", limit: time.Hour, measure: func(context.Context) ([]figure, error) { return figures, nil }},
		{name: "c", limit: time.Nanosecond, measure: func(ctx context.Context) ([]figure, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}},
	}
	var r report
	err := r.measure(t.Context(), rows, io.Discard)
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "row c: it took longer than its limit of 1ns") {
		t.Errorf("the run ended with %v", err)
	}
	if len(r.results) != 1 || r.results[0].row.name != "b" {
		t.Errorf("results are %+v, want b's alone", r.results)
	}
	ctx, end := context.WithCancel(t.Context())
	end()
	r = report{}
	if err := r.measure(ctx, rows, io.Discard); err == nil || len(r.results) > 0 {
		t.Errorf("a run that was ended went on: %v, %+v", err, r.results)
	}
}
