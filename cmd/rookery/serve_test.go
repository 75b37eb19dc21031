package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// patience is how long a test waits for what has to happen.
const patience = 20 * time.Second

// startServe runs rookery serve as a process of its own and returns it once it serves,
// with the line that says so. What it logs after that comes through lines, which is closed
// when it ends.
func startServe(t *testing.T, args ...string) (server *exec.Cmd, serving string, lines <-chan string) {
	t.Helper()
	return startServeWith(t, nil, args...)
}

// startServeWith does it with variables of the environment.
func startServeWith(t *testing.T, environ []string, args ...string) (server *exec.Cmd, serving string, lines <-chan string) {
	t.Helper()
	server = serveCommand(t, environ, args...)
	stderr, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	logged := make(chan string, 1000)
	go func() {
		defer close(logged)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			logged <- s.Text()
		}
	}()
	t.Cleanup(func() {
		server.Process.Kill() // an error means that it has ended
		for range logged {
		}
		if server.ProcessState == nil {
			server.Wait()
		}
	})
	return server, waitFor(t, logged, "serving"), logged
}

// serveCommand is rookery serve, to be started.
func serveCommand(t *testing.T, environ []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"rookery", "serve", "--dev", "--listen", "127.0.0.1:0", "--admin", "", "--data", filepath.Join(t.TempDir(), "data")}, args...)
	race, quick := quickExit()
	return &exec.Cmd{Path: self, Args: args, Env: append(environ, "PATH="+os.Getenv("PATH"), race+"="+quick)}
}

// waitFor reads lines until one has the word in it, and returns that.
func waitFor(t *testing.T, lines <-chan string, word string) string {
	t.Helper()
	deadline := time.After(patience)
	var before []string
	for {
		select {
		case line, more := <-lines:
			if !more {
				t.Fatalf("the server ended before it logged %q:\n%s", word, strings.Join(before, "\n"))
			}
			if strings.Contains(line, word) {
				return line
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
			server, _, lines := startServe(t, "--drain.window", "0s")
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

// TestSecondSignalEndsAtOnce has a client that stays through the drain, which is longer
// than the test's patience.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	server, serving, lines := startServe(t, "--drain.window", "1m", "--drain.timeout", "2m")
	address := regexp.MustCompile(`address=(\S+)`).FindStringSubmatch(serving)
	if address == nil {
		t.Fatalf("no address in %q", serving)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, _, _, err := ws.Dial(ctx, "ws://"+address[1]+"/ws")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if err := wsutil.WriteClientText(conn, []byte(`{"id":1,"connect":{"name":"alice"}}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := wsutil.ReadServerText(conn); err != nil {
		t.Fatal(err)
	}

	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitFor(t, lines, "draining")
	// The handling of signals is given back in parallel to the drain, so that the very next
	// one may still be swallowed.
	ended := make(chan error, 1)
	go func() {
		for range lines {
		}
		ended <- server.Wait()
	}()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(patience)
	for {
		select {
		case err := <-ended:
			status, ok := server.ProcessState.Sys().(syscall.WaitStatus)
			if !ok || !status.Signaled() || status.Signal() != syscall.SIGTERM {
				t.Errorf("it ended with %v, want the signal's own end", err)
			}
			return
		case <-again.C:
			server.Process.Signal(syscall.SIGTERM)
		case <-deadline:
			t.Fatal("it still drains after a second signal")
		}
	}
}

// TestSignalWhileItStarts: a file that can't be opened, here a pipe without a reader, does not keep the process.
func TestSignalWhileItStarts(t *testing.T) {
	dir := t.TempDir()
	pipe, socket := filepath.Join(dir, "pipe"), filepath.Join(dir, "socket")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	server := exec.CommandContext(ctx, self, "serve", "--dev", "--listen", "127.0.0.1:0", "--admin", "", "--data", filepath.Join(dir, "data"),
		"--proxy.socket", socket, "--audit-file", pipe, "--drain.window", "0s", "--drain.timeout", "100ms")
	server.Args[0], server.Env, server.Stderr = "rookery", []string{"PATH=" + os.Getenv("PATH")}, &stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	for _, err := os.Stat(socket); err != nil && ctx.Err() == nil; _, err = os.Stat(socket) {
		time.Sleep(time.Millisecond)
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := server.Wait(); server.ProcessState.ExitCode() != exitFailed || !strings.Contains(stderr.String(), "drain.timeout") {
		t.Errorf("it ended with %v and said %q, want status %d and drain.timeout", err, stderr.String(), exitFailed)
	}
}

func TestServeLogsAsAsked(t *testing.T) {
	if _, serving, _ := startServe(t, "--logging.format", "json"); !strings.HasPrefix(serving, "{") {
		t.Errorf("with logging.format json it logs %s", serving)
	}
	if _, serving, _ := startServe(t); !strings.HasPrefix(serving, "time=") {
		t.Errorf("with the default format it logs %s", serving)
	}
}

func TestServeFailsWithTheReason(t *testing.T) {
	notADirectory := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notADirectory, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var stderr strings.Builder
	status := run(ctx, []string{"serve", "--dev", "--listen", "127.0.0.1:0", "--admin", "", "--data", notADirectory},
		process{stdin: strings.NewReader(""), stdout: io.Discard, stderr: &stderr})
	if status != exitFailed || !strings.Contains(stderr.String(), "rookery serve: ") || !strings.Contains(stderr.String(), notADirectory) {
		t.Errorf("status %d, stderr %q; want %d and the path", status, stderr.String(), exitFailed)
	}
}

func TestHangupReloads(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rookery.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("logging.level: info\n")
	server, _, lines := startServe(t, "--config", file)
	write("logging.level: verbose\n")
	server.Process.Signal(syscall.SIGHUP)
	if line := waitFor(t, lines, "refused"); !strings.Contains(line, "logging.level") {
		t.Errorf("the refusal does not name the setting: %s", line)
	}
	write("logging.level: debug\nheartbeat: 40s\n")
	server.Process.Signal(syscall.SIGHUP)
	if line := waitFor(t, lines, "reloaded"); !strings.Contains(line, "need_restart=heartbeat") {
		t.Errorf("the reload does not say what needs a restart: %s", line)
	}
}

// TestHangupWhileItReadsItsSettings does not end it: here what it reads is refused in the end, from a pipe that has told that somebody reads.
func TestHangupWhileItReadsItsSettings(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	server := serveCommand(t, nil, "--admin-tls.client-ca-file", pipe)
	server.Stderr = &stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill() }) // an error means that it has ended
	var writes *os.File
	var err error
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		if writes, err = os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			break
		}
		if time.Since(begun) > patience {
			t.Fatal(err)
		}
	}
	if err := server.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	writes.Close()
	if err := server.Wait(); server.ProcessState.ExitCode() != exitRefused || !strings.Contains(stderr.String(), "client_ca_file") {
		t.Errorf("it ended with %v and said %q, want status %d and the setting", err, stderr.String(), exitRefused)
	}
}

// TestServesThoughNobodyReadsItsLog: whoever read it has ended.
func TestServesThoughNobodyReadsItsLog(t *testing.T) {
	reads, writes, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "audit.log")
	server := serveCommand(t, nil, "--audit-file", file, "--drain.window", "0s")
	server.Stderr = writes
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	t.Cleanup(func() {
		server.Process.Kill()
		ended <- <-ended
	})
	writes.Close()
	for s := bufio.NewScanner(reads); s.Scan() && !strings.Contains(s.Text(), "serving"); {
	}
	reads.Close()
	// Each has a line of the log, and before the end all are written, or can't be.
	for range 2 {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := server.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if !appears(t, file, ended) {
			t.Fatal("it does not reload")
		}
	}
	endsWell(t, server, ended)
}

// appears waits for a file that a server makes, whose end ended tells; false: it did not come in time.
func appears(t *testing.T, file string, ended chan error) bool {
	t.Helper()
	deadline := time.After(patience)
	for _, err := os.Stat(file); err != nil; _, err = os.Stat(file) {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("it ended with %v", err)
		case <-deadline:
			return false
		case <-time.After(time.Millisecond):
		}
	}
	return true
}

// endsWell ends a server, whose end ended tells, in good order.
func endsWell(t *testing.T, server *exec.Cmd, ended chan error) {
	t.Helper()
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if ended <- err; err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
}

// TestAHangupIsPassedOnOnlyToWhoMayHaveMissedIt: one who takes over by hand has read what was there when it began.
func TestAHangupIsPassedOnOnlyToWhoMayHaveMissedIt(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	first, _, lines := startServe(t, "--data", data)
	first.Process.Signal(syscall.SIGHUP)
	waitFor(t, lines, "reloaded")
	then := sinceBoot()
	for sinceBoot() < then+startResolution { // a process that begins sooner may have begun before that, for all that the kernel says
		runtime.Gosched()
	}
	second, _, said := startServe(t, "--data", data, "--takeover", "--drain.window", "0s")
	if hasBegun(second.Process.Pid, then) || !hasBegun(second.Process.Pid, sinceBoot()) {
		t.Error("when the second process began is not known")
	}
	for range lines { // until it has ended
	}
	if err := first.Wait(); err != nil {
		t.Fatal(err)
	}
	second.Process.Signal(syscall.SIGHUP)
	waitFor(t, said, "reloaded")
	second.Process.Signal(syscall.SIGTERM)
	for line := range said {
		if strings.Contains(line, "reloaded") {
			t.Error("a signal that came before the other process began was passed on to it")
		}
	}
}
