package report

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"rookery/bench/result"
)

func TestResultSurvivesItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	for _, r := range []*result.Result{fullRun(), searchRun()} { // the second one replaces the first
		if err := WriteFile(path, r); err != nil {
			t.Fatal(err)
		}
		read, err := ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := tableText(t, read), tableText(t, r); got != want {
			t.Errorf("read back the table is\n%s\nwant\n%s", got, want)
		}
		if !reflect.DeepEqual(read.Seconds, r.Seconds) {
			t.Error("the seconds differ")
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("%d files are left, %v, want the result only", len(left), err)
	}
}

func TestAFailedWriteLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "r.json")
	if err := os.Mkdir(path, 0o755); err != nil { // a folder can't be replaced by a file
		t.Fatal(err)
	}
	if err := WriteFile(path, fullRun()); err == nil {
		t.Error("a folder was replaced")
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%d entries are left, want the folder only", len(left))
	}
}

func TestReadFileRefuses(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		`{"format":3,"counts":[]}`:    "has format 3 and this version reads format 2",
		`{}`:                          "it has no format",
		`[1]`:                         "is no result of rookery bench",
		`{"format":2,"counts":"all"}`: "counts",
	} {
		path := filepath.Join(dir, "r.json")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want one with the path and %q", text, err, want)
		}
	}
	if _, err := ReadFile(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "there is no result") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestCSV(t *testing.T) {
	r := fullRun()
	r.Seconds[10].Server, r.Seconds[10].Host = result.Process{}, result.Kernel{}
	var b strings.Builder
	if err := WriteCSV(&b, r); err != nil {
		t.Fatal(err)
	}
	golden(t, "seconds.csv", []byte(b.String()))
	rows, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
	if err != nil || len(rows) != 12 {
		t.Fatalf("%d rows, %v, want 12", len(rows), err)
	}
	cell := func(second int, name string) string {
		at := slices.Index(rows[0], name)
		if at < 0 {
			t.Fatalf("there is no column %s", name)
		}
		return rows[second+1][at]
	}
	for _, test := range []struct {
		second     int
		name, want string
	}{
		{0, "phase", "connecting"}, {2, "phase", "warm-up"}, {4, "phase", "load"}, {9, "phase", "load"}, {10, "phase", "draining"},
		{0, "delivery_p50_ms", ""}, {4, "delivered", "2000"}, {0, "delivered", "0"},
		{9, "server_cpu_seconds", "0.5"}, {10, "server_cpu_seconds", ""}, {10, "host_retransmits", ""}, {9, "host_retransmits", "0"},
	} {
		if got := cell(test.second, test.name); got != test.want {
			t.Errorf("%s of second %d is %q, want %q", test.name, test.second, got, test.want)
		}
	}
}
