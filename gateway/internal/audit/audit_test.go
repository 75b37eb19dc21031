package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"
	"testing"
)

// rig is a log in a directory of its own.
type rig struct {
	t    *testing.T
	path string
	log  *Log
	said bytes.Buffer
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "audit.log")}
	var err error
	if r.log, err = Open(r.path, slog.New(slog.NewTextHandler(&r.said, nil))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.log.Close)
	return r
}

// lines reads a file, whose lines are whole.
func (r *rig) lines(path string) (lines []map[string]any) {
	r.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil || !strings.HasSuffix(line, "\n") {
			r.t.Fatalf("the line %q: %v", line, err)
		}
		lines = append(lines, m)
	}
	return lines
}

func TestHandler(t *testing.T) {
	r := newRig(t)
	handler := r.log.Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		e := Of(req.Context())
		switch req.URL.Path {
		case "/said":
			e.Content, e.Key, e.Operation = true, "shop", "publish"
		case "/export":
			e.Kept = true
		case "/none":
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	for _, request := range []struct{ method, path, body string }{
		{"GET", "/read", ""},
		{"POST", "/change?by=x", `{"user":"alice"}`},
		{"POST", "/said", `{"text":"secret"}`},
		{"GET", "/export", ""},
		{"DELETE", "/none", ""},
		{"PUT", "/text", "no JSON\n\"of\" any kind"},
		{"PUT", "/long/" + strings.Repeat("x", 5000), `"` + strings.Repeat("y", 10_000) + `"`},
	} {
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(request.method, request.path, strings.NewReader(request.body)))
	}
	got := r.lines(r.path)
	if len(got) != 6 {
		t.Fatalf("%d lines: %v", len(got), got)
	}
	for i, line := range got {
		if line["at"] == nil || line["remote"] != "192.0.2.1:1234" {
			t.Errorf("line %d has no time or no address: %v", i, line)
		}
	}
	if l := got[0]; l["operation"] != "POST /change" || l["path"] != "/change?by=x" || l["status"] != 200.0 || l["request"].(map[string]any)["user"] != "alice" {
		t.Errorf("a change is written as %v", l)
	}
	if l := got[1]; l["operation"] != "publish" || l["key"] != "shop" || l["request"] != nil {
		t.Errorf("what was said is written as %v", l)
	}
	if l := got[3]; l["status"] != 404.0 || l["request"] != nil {
		t.Errorf("a refusal is written as %v", l)
	}
	if got[4]["request"] != "no JSON\n\"of\" any kind" {
		t.Errorf("a body that is no JSON is written as %v", got[4])
	}
	if l := got[5]; len(l["path"].(string)) != mostBytes || len(l["request"].(string)) != mostBytes {
		t.Errorf("a long request is written with %d and %d bytes", len(l["path"].(string)), len(l["request"].(string)))
	}
}

func TestReopenFollowsTheName(t *testing.T) {
	r := newRig(t)
	r.log.Write(Entry{Operation: "one"})
	if err := os.Rename(r.path, r.path+".1"); err != nil {
		t.Fatal(err)
	}
	r.log.Write(Entry{Operation: "two"})
	if err := r.log.Reopen(); err != nil {
		t.Fatal(err)
	}
	r.log.Write(Entry{Operation: "three"})
	if old, now := r.lines(r.path+".1"), r.lines(r.path); len(old) != 2 || len(now) != 1 || now[0]["operation"] != "three" {
		t.Errorf("the file that was moved away has %v, the new one %v", old, now)
	}
	r.log.Close()
	r.log.Write(Entry{Operation: "late"})
	if now := r.lines(r.path); len(now) != 1 {
		t.Errorf("after the end the file has %v", now)
	}
}

// TestALateReopen does not bring back a file that was moved away while the disk did not give it.
func TestALateReopen(t *testing.T) {
	r := newRig(t)
	if err := errors.Join(os.Remove(r.path), syscall.Mkfifo(r.path, 0o600)); err != nil {
		t.Fatal(err)
	}
	late := make(chan error, 1)
	go func() { late <- r.log.Reopen() }() // which waits for a reader
	for stacks := (bytes.Buffer{}); !strings.Contains(stacks.String(), "os.OpenFile("); {
		stacks.Reset()
		if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Rename(r.path, r.path+".1"), r.log.Reopen()); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(r.path+".1", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := <-late; err != nil {
		t.Fatal(err)
	}
	r.log.Write(Entry{Operation: "one"})
	if now := r.lines(r.path); len(now) != 1 {
		t.Errorf("the file that is there now has %v", now)
	}
}

// TestFullDisk: a line that is lost is counted, and said once.
func TestFullDisk(t *testing.T) {
	r := newRig(t)
	r.log.path = "/dev/full"
	if err := r.log.Reopen(); err != nil {
		t.Fatal(err)
	}
	r.log.Write(Entry{Operation: "one"})
	r.log.Write(Entry{Operation: "two"})
	if n := r.log.Failures(); n != 2 || strings.Count(r.said.String(), "level=ERROR") != 1 || !strings.Contains(r.said.String(), "no space left") {
		t.Errorf("%d lines are lost, and the log has\n%s", n, &r.said)
	}
	r.log.path = r.path
	if err := r.log.Reopen(); err != nil {
		t.Fatal(err)
	}
	r.log.Write(Entry{Operation: "three"})
	if got := r.lines(r.path); len(got) != 1 || !strings.Contains(r.said.String(), "written again") {
		t.Errorf("the file has %v, and the log\n%s", got, &r.said)
	}
}

func TestNoLog(t *testing.T) {
	l, err := Open("", nil)
	if l != nil || err != nil {
		t.Fatalf("no path gives %v, %v", l, err)
	}
	l.Write(Entry{})
	l.Close()
	if err := l.Reopen(); err != nil || l.Failures() != 0 {
		t.Errorf("reopened with %v", err)
	}
	Of(t.Context()).Key = "nobody reads it"
	if _, err := Open(filepath.Join(t.TempDir(), "none", "audit.log"), nil); err == nil || !strings.Contains(err.Error(), "audit_file") {
		t.Errorf("a directory that is not there: %v", err)
	}
}

// TestTornLine: a line that a full disk has cut off is lost alone.
func TestTornLine(t *testing.T) {
	r := newRig(t)
	r.log.Write(Entry{Operation: "one"})
	before, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	full := limit
	full.Cur = uint64(len(before)) + 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full); err != nil {
		t.Fatal(err)
	}
	r.log.Write(Entry{Operation: "two"})
	r.log.Write(Entry{Operation: "three"})
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	r.log.Write(Entry{Operation: "four"})
	r.log.Write(Entry{Operation: "five"})
	after, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(after)), "\n")
	if len(lines) != 4 || len(lines[1]) != 10 || !strings.Contains(lines[2], `"four"`) || !strings.Contains(lines[3], `"five"`) || r.log.Failures() != 2 {
		t.Fatalf("%d lines are lost, and the file has\n%s", r.log.Failures(), after)
	}
	for _, line := range []string{lines[0], lines[2], lines[3]} {
		if !json.Valid([]byte(line)) {
			t.Errorf("no line of JSON: %s", line)
		}
	}
}
