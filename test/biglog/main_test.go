package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

// TestMain is also the child of the runs below: they start this test again.
func TestMain(m *testing.M) {
	if isChild(os.Args) {
		if err := runChild(os.Args[2:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// TestSmallRun makes a small log and goes all the way.
func TestSmallRun(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "rookery")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "rookery/cmd/rookery")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make build does, so that the compiler has done it already
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build of the server: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	dir := filepath.Join(t.TempDir(), "big")
	o, err := parse([]string{"--binary", binary, "--dir", dir, "--keep", "--messages", "40000", "--rooms", "5000",
		"--segment-bytes", "2097152", "--reads", "200"}, &strings.Builder{})
	if err != nil {
		t.Fatal(err)
	}
	var progress strings.Builder
	r, err := measureAll(ctx, o, &progress)
	if err != nil {
		t.Fatalf("%v, after %s", err, progress.String())
	}
	heap, _ := r.perRoom()
	message, _ := r.perMessage()
	open := r.Open[0]
	switch {
	case r.Filled.Took <= 0 || open.Rooms != 5000 || open.Bytes != r.Filled.Bytes || open.Segments < 4:
		t.Errorf("made %+v, opened %+v", r.Filled, open)
	case len(r.Open) != rounds || len(r.Killed) != rounds || len(r.Serve) != rounds || len(r.ServeKilled) != rounds:
		t.Errorf("not every opening was measured: %+v", r)
	case r.WrittenBytes < 3<<20 || r.Killed[0].Bytes < open.Bytes+3<<20 || r.Killed[1].Bytes < r.Killed[0].Bytes+3<<20:
		t.Errorf("killed behind %d bytes: %+v", r.WrittenBytes, r.Killed)
	case heap < 40 || heap > 100 || message <= 0 || message > heap:
		t.Errorf("memory %v for each room, %v for each message", heap, message)
	case r.Pages.Quiet.Count != 200 || r.Pages.Busy.Median <= 0 || r.Pages.PerSecond <= 0 || r.Pages.SyncMillis <= 0:
		t.Errorf("pages: %+v", r.Pages)
	case r.CatchUp.Hot.Messages < 1000 || r.CatchUp.Cold.Messages < catchUpRooms || r.CatchUp.PeakBytes < r.CatchUp.ResidentBytes:
		t.Errorf("catch-up: %+v", r.CatchUp)
	case r.Serve[0].Took <= 0 || r.ServeKilled[0].ResidentBytes <= 0:
		t.Errorf("server: %+v %+v", r.Serve, r.ServeKilled)
	}

	var out strings.Builder
	if err := r.writeMarkdown(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| What | Figure | Asked |", "40000 messages in 5000 rooms", "Made,", "Newest 50 messages", "200 reads", "rookery serve"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}

	var again report
	if err := fill(ctx, o, &again); err != nil || again.Filled.Took != 0 {
		t.Errorf("the kept log was made anew: %v, %v", again.Filled, err)
	}
	if err := removeMade(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
}

func TestFlagsAreChecked(t *testing.T) {
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, madeName), []byte(`{"messages":7}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want string }{
		{"--rooms 5", "--rooms is 5"},
		{"--rooms 500 --messages 499", "--messages is 499"},
		{"--segment-bytes 100", "--segment-bytes is 100"},
		{"--span -1s", "--span is -1s"},
		{"--reads 0", "--reads is 0"},
		{"--keep", "--keep needs --dir"},
		{"more", `unknown argument "more"`},
		{"--binary /does/not/exist", "build it with"},
		{"--binary /bin/true --keep --dir " + other, "holds a log of other flags"},
	} {
		err := run(t.Context(), strings.Fields(c.args), &strings.Builder{}, &strings.Builder{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
}

// TestTrafficIsSkewed: a log of equal rooms would have no quiet ones, which are the slow ones to read.
func TestTrafficIsSkewed(t *testing.T) {
	traffic := newTraffic(1000, seed)
	const messages = 100_000
	for range messages {
		traffic.message(traffic.any(), time.Now())
	}
	quiet := 0
	for _, head := range traffic.heads {
		if head < messages/1000/2 {
			quiet++
		}
	}
	if busiest := traffic.heads[0]; busiest < messages/20 || quiet < 500 {
		t.Errorf("the busiest of 1000 rooms has %d of %d messages, %d rooms have under half of the mean", busiest, messages, quiet)
	}
}

// TestAppendToAShortQueue: the log takes less than the appender has in flight, as on a slow disk.
func TestAppendToAShortQueue(t *testing.T) {
	l, err := commitlog.Open(commitlog.Config{Dir: "/log", FS: vfs.NewMemory(), QueueBytes: 2 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := newAppender(l, 1000)
	for seq := range uint64(200) {
		if err := a.append(storage.Record{Room: "r", Seq: seq + 1, From: "u", Body: make([]byte, storage.MaxBody/2)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.await(0); err != nil || l.Head("r") != 200 {
		t.Errorf("the room ends at %d: %v", l.Head("r"), err)
	}
}
