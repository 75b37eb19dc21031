package bench

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rookery/bench/benchtest"
	"rookery/bench/internal/worker"
	"rookery/bench/report"
	"rookery/bench/result"
)

// processes lists those that run and have a word as an argument.
func processes(t *testing.T, word string) []int {
	t.Helper()
	var found []int
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(line), "\x00"+word+"\x00") {
			continue // it has ended, or is another
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, pid)
	}
	return found
}

// during has something done once, when messages arrive.
func during(do func()) func(report.Progress) {
	done := false
	return func(p report.Progress) {
		if !done && p.Phase == report.Load && p.Second.Counts.Delivered > 0 {
			done = true
			do()
		}
	}
}

func TestAKilledWorkerEndsTheRun(t *testing.T) {
	t.Parallel()
	s := benchtest.Start(t, benchtest.Faults{})
	p := smallPlan(s.URL())
	p.Clients.Workers, p.Time.Duration = 3, time.Hour
	mark := "worker-of-" + t.Name() // an argument, by which its processes are known
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, err := Run(ctx, p, Options{Version: "test", Worker: []string{os.Args[0], mark}, Stderr: io.Discard, Progress: during(func() {
		workers := processes(t, mark)
		if len(workers) != 3 {
			t.Errorf("%d workers run, want 3", len(workers))
		}
		if err := syscall.Kill(workers[len(workers)-1], syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	})})
	if r != nil || err == nil || !strings.HasPrefix(err.Error(), "worker ") || !strings.HasSuffix(err.Error(), "ended: signal: killed") {
		t.Errorf("the run gave %v and %v, want the end of a worker by SIGKILL", r, err)
	}
	if left := processes(t, mark); len(left) > 0 {
		t.Errorf("the processes %v outlive the run", left)
	}
}

// TestNothingOutlivesAPartThatIsRefused has workers that say hello and take no part.
func TestNothingOutlivesAPartThatIsRefused(t *testing.T) {
	s := benchtest.Start(t, benchtest.Faults{})
	p := smallPlan(s.URL())
	p.Clients.Workers = 2
	const script = `echo '{"hello":{"version":"test"}}'; read part; echo '{"error":"no such part"}'; cat >/dev/null`
	mark := "worker-of-" + t.Name()
	var r *result.Result
	r, err := Run(t.Context(), p, Options{Version: "test", Worker: []string{"/bin/sh", "-c", script, mark}})
	if r != nil || err == nil || !strings.Contains(err.Error(), ": no such part") {
		t.Errorf("the run gave %v and %v, want what the worker said", r, err)
	}
	if left := processes(t, mark); len(left) > 0 {
		t.Errorf("the processes %v outlive the run", left)
	}
}

// TestAWorkerMayBeginSlowly: a host under load may take long to begin one, and only one that hangs ends the run, as its end and the user do at once.
func TestAWorkerMayBeginSlowly(t *testing.T) {
	for _, c := range []struct {
		name  string
		after time.Duration // when the worker says hello; negative: when it ends
		gone  time.Duration // when the user wants the end
		takes time.Duration
		want  string // of the error, "": none
	}{
		{"slow", answerTime - time.Second, time.Hour, answerTime - time.Second, ""},
		{"hangs", time.Hour, 2 * time.Hour, answerTime, "did not say anything in 2m0s"},
		{"ends", -time.Minute, time.Hour, time.Minute, "ended: EOF"},
		{"the user ends it", time.Hour, time.Second, time.Second, "context deadline exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), c.gone)
				defer cancel()
				f := newFleet(ctx, result.Host{})
				out, told := io.Pipe()
				defer f.reading.Wait()
				defer told.Close()
				speak := time.AfterFunc(max(c.after, -c.after), func() {
					if c.after < 0 {
						told.Close()
						return
					}
					json.NewEncoder(told).Encode(worker.Report{Hello: &worker.Hello{Version: "test"}})
				})
				defer speak.Stop()
				from := time.Now()
				_, err := f.add(&link{name: "worker 0", wait: func() error { return nil }, process: &exec.Cmd{}}, out, "test")
				if took := time.Since(from); took != c.takes {
					t.Errorf("it took %v, want %v", took, c.takes)
				}
				if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
					t.Errorf("the error is %v, want %q", err, c.want)
				}
			})
		})
	}
}
