package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startServe runs rookery serve as a process of its own, and returns once it serves. What
// it logs after that is read from lines, which is closed when it ends.
func startServe(t *testing.T, args ...string) (server *exec.Cmd, lines <-chan string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"rookery", "serve", "--listen", "127.0.0.1:0", "--admin", "", "--data", filepath.Join(t.TempDir(), "data")}, args...)
	server = &exec.Cmd{Path: self, Args: args, Env: []string{"PATH=" + os.Getenv("PATH")}}
	stderr, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Kill()
		io.Copy(io.Discard, stderr)
		server.Wait()
	})
	logged := make(chan string, 1000)
	go func() {
		defer close(logged)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			logged <- s.Text()
		}
	}()
	waitFor(t, logged, "serving")
	return server, logged
}

// waitFor reads lines until one has the word in it.
func waitFor(t *testing.T, lines <-chan string, word string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	var before []string
	for {
		select {
		case line, more := <-lines:
			if !more {
				t.Fatalf("the server ended before it logged %q:\n%s", word, strings.Join(before, "\n"))
			}
			if strings.Contains(line, word) {
				return
			}
			before = append(before, line)
		case <-deadline:
			t.Fatalf("the server has not logged %q:\n%s", word, strings.Join(before, "\n"))
		}
	}
}

func TestServeDrainsOnASignal(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			server, lines := startServe(t, "--dev", "--drain.window", "0s")
			if err := server.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			waitFor(t, lines, "drained")
			for range lines { // until it has ended
			}
			if err := server.Wait(); err != nil {
				t.Errorf("it ended with %v, want status 0", err)
			}
		})
	}
}

func TestServeLogsAsAsked(t *testing.T) {
	_, lines := startServe(t, "--dev", "--logging.format", "json", "--drain.window", "0s")
	_ = lines
}
