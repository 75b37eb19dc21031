package process

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what has to happen. It is no measure: a slow machine
// only makes a failing test slow.
const patience = 30 * time.Second

// launch says how a server is started. Only data must be set.
type launch struct {
	data   string
	binary string   // default raceBinary
	shell  string   // run by the shell before it becomes the server
	in     []string // a program that becomes the shell, such as unshare; needs shell
	flags  []string // beside --dev, the addresses and the data
}

// server is a running process. Its methods are safe for concurrent use.
type server struct {
	// Set by launch.start.
	cmd   *exec.Cmd
	ready chan struct{} // closed when it serves
	ended chan struct{} // closed when it has ended

	// Written before ready is closed.
	address, admin string
	secure         string // address of the listener with TLS, for dial; empty: there is none

	mu      sync.Mutex // guards all below
	newest  []string   // lines of its log
	faults  []string   // lines that no healthy server writes
	reading bool       // a trace follows the last fault
}

// start runs a server until the test ends and waits until it serves.
func start(t *testing.T, l launch) *server {
	t.Helper()
	s, err := l.start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.finish(t) })
	select {
	case <-s.ready:
	case <-s.ended:
		t.Fatalf("the server ended before it served:\n%s", s.log())
	case <-time.After(patience):
		t.Fatalf("the server does not serve:\n%s", s.log())
	}
	return s
}

// start runs the process and does not wait. Whoever calls it calls kill or waits for ended.
func (l launch) start() (*server, error) {
	binary := l.binary
	if binary == "" {
		binary = raceBinary
	}
	args := append([]string{"serve", "--dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", l.data}, l.flags...)
	s := &server{cmd: exec.Command(binary, args...), ready: make(chan struct{}), ended: make(chan struct{})}
	if l.shell != "" {
		// exec, so that the process we know is the server.
		command := append(slices.Clone(l.in), "sh", "-c", l.shell+` && exec "$0" "$@"`, binary)
		s.cmd = exec.Command(command[0], append(command[1:], args...)...)
	}
	// Nothing of our environment but the path: a ROOKERY_ variable would change the server.
	// The race detector would sleep for a second at the end.
	s.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0"}
	out, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go s.watchLoop(out)
	return s, nil
}

// servingLine is that of either format of log lines.
var servingLine = regexp.MustCompile(`msg"?[=:]"?serving"?[ ,]"?address"?[=:]"?([^" ]+).*admin"?[=:]"?([^" ]+)`)

// servingTLS finds the address with TLS in it.
var servingTLS = regexp.MustCompile(`tls"?[=:]"?([0-9][^" ]+)`)

// watchLoop reads the server's log until it ends; started by launch.start.
func (s *server) watchLoop(out io.Reader) {
	defer close(s.ended)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		s.note(line)
		if found := servingLine.FindStringSubmatch(line); found != nil && s.address == "" {
			s.address, s.admin = found[1], found[2]
			if with := servingTLS.FindStringSubmatch(line); with != nil {
				s.secure = secured + with[1]
			}
			close(s.ready)
		}
	}
	io.Copy(io.Discard, out) // a line over the limit ends the scanner, not the server
	s.cmd.Wait()             // its error is the exit status, which ProcessState keeps
}

// maxLines bounds what is kept of a log.
const maxLines = 400

var unhealthy = []string{"DATA RACE", "BUG:", "panic:", "fatal error:", "history can't be read", "the log could not be read"}

func (s *server) note(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest = append(s.newest, line); len(s.newest) > maxLines {
		s.newest = slices.Delete(s.newest, 0, maxLines/2)
	}
	s.reading = s.reading || slices.ContainsFunc(unhealthy, func(word string) bool { return strings.Contains(line, word) })
	if s.reading && len(s.faults) < maxLines {
		s.faults = append(s.faults, line)
	}
}

// log returns the newest lines.
func (s *server) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.newest, "\n")
}

// fault returns what the server reported of itself that must not be, "" if there is none.
func (s *server) fault() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.faults, "\n")
}

// pid is the server's own, also behind a shell.
func (s *server) pid() int { return s.cmd.Process.Pid }

func (s *server) signal(sig syscall.Signal) error { return s.cmd.Process.Signal(sig) }

// alive reports whether the process runs.
func (s *server) alive() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// kill ends the process with SIGKILL and waits until it is gone.
func (s *server) kill() {
	s.cmd.Process.Kill() // an error means that it has ended
	<-s.ended
}

// wait waits for the end of a process and returns its exit status: nil is 0.
func (s *server) wait(limit time.Duration) error {
	select {
	case <-s.ended:
	case <-time.After(limit):
		return fmt.Errorf("it still runs after %v", limit)
	}
	if state := s.cmd.ProcessState; !state.Success() {
		return errors.New(state.String())
	}
	return nil
}

// forget drops the log of a server that was killed when all was well: a run that kills many
// shows that of the last one only.
func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest = nil
}

// finish ends the server with the test and fails it for what the server reported.
func (s *server) finish(t *testing.T) {
	s.kill()
	if fault := s.fault(); fault != "" {
		t.Errorf("the server reported:\n%s", fault)
	}
	if log := s.log(); t.Failed() && log != "" {
		t.Logf("the server's log:\n%s", log)
	}
}
