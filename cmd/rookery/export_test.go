package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"rookery/storage/commitlog"
)

// cutFile is "cut FROM TO BYTES" in a script: TO gets the first bytes of FROM.
func cutFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: cut FROM TO BYTES")
	}
	var size int
	_, err := fmt.Sscan(args[2], &size)
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b[:size], 0o600))
}

// replaceInFile is "replace FILE OLD NEW" in a script.
func replaceInFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace FILE OLD NEW")
	}
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes.ReplaceAll(b, []byte(args[1]), []byte(args[2])), 0o600))
}

// TestImportWhereAServerRuns: the lock is the server's, and an export beside it works.
func TestImportWhereAServerRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	log, err := commitlog.Open(commitlog.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var stdout, stderr bytes.Buffer
	p := process{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr}
	if status := run(context.Background(), []string{"export", "--data", dir}, p); status != exitOK || strings.Count(stdout.String(), "\n") != 2 {
		t.Errorf("export: status %d, %s%s", status, stdout.String(), stderr.String())
	}
	stderr.Reset()
	p.stdin = &stdout
	if status := run(context.Background(), []string{"import", "--data", dir}, p); status != exitFailed || !strings.Contains(stderr.String(), "is in use: stop the other process or give this one another directory") {
		t.Errorf("import: status %d, %s", status, stderr.String())
	}
}

// TestImportIsInterrupted while its input gives nothing: what came before is in the log.
func TestImportIsInterrupted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	in, out := io.Pipe()
	ctx, interrupt := context.WithCancel(context.Background())
	go func() {
		fmt.Fprintln(out, `{"kind":"header","format":"rookery export","version":1,"log":"1","epoch":"1","start":0,"at":0}`)
		fmt.Fprintln(out, `{"kind":"message","position":64,"room":"lobby","seq":1,"at":5,"from":"bob","text":"hi"}`)
		interrupt() // the reader has taken the line
	}()
	var stderr bytes.Buffer
	status := run(ctx, []string{"import", "--data", dir}, process{stdin: in, stdout: io.Discard, stderr: &stderr})
	if status != exitFailed || !strings.Contains(stderr.String(), "interrupted; the same command goes on") {
		t.Errorf("status %d, %s", status, stderr.String())
	}
	// For the goroutine that reads.
	out.Close()
	log, err := commitlog.Open(commitlog.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if head := log.Head("lobby"); head > 1 {
		t.Errorf("lobby ends at %d", head)
	}
}

// TestImportOfHalfACatalog: the file begins behind an export that was not imported. No server would start on it, and who imports
// hears that, not who starts it a week later.
func TestImportOfHalfACatalog(t *testing.T) {
	body := base64.StdEncoding.EncodeToString([]byte(`{"version":1,"kind":"change","entries":[{"k":"ban\t\tmallory","v":{}}]}`))
	for begin, want := range map[int]string{1: "", 5: "no server will start on"} {
		lines := `{"kind":"header","format":"rookery export","version":1,"log":"1","epoch":"1","start":700,"at":0}` + "\n"
		count := 2
		if begin > 1 {
			lines += fmt.Sprintf(`{"kind":"begin","room":"\u0001catalog","first":%d}`+"\n", begin)
			count++
		}
		lines += fmt.Sprintf(`{"kind":"system","position":764,"room":"\u0001catalog","seq":%d,"at":5,"from":"rookery","body":"%s"}`+"\n", begin, body)
		sum := crc32.Checksum([]byte(lines), crc32.MakeTable(crc32.Castagnoli))
		lines += fmt.Sprintf(`{"kind":"footer","lines":%d,"damaged":0,"end":900,"checksum":"%08x"}`+"\n", count, sum)
		var stderr bytes.Buffer
		p := process{stdin: strings.NewReader(lines), stdout: io.Discard, stderr: &stderr}
		status := run(context.Background(), []string{"import", "--data", filepath.Join(t.TempDir(), "data")}, p)
		if (status == exitOK) != (want == "") || !strings.Contains(stderr.String(), want) {
			t.Errorf("a catalog from record %d on: status %d, %s", begin, status, stderr.String())
		}
	}
}
