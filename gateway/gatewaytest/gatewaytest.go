// Package gatewaytest starts a real gateway for a test, as net/http/httptest does a server:
// in development mode, on a free port of the loopback address, with its log in the test's
// own folder. It ends with the test, and the test fails if the gateway did.
package gatewaytest

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"rookery/gateway"
)

// Server is a running gateway. Its methods are safe for concurrent use.
type Server struct {
	t       testing.TB
	cfg     gateway.Config
	gateway *gateway.Server
	cancel  context.CancelFunc
	ended   chan struct{}
	err     error // of Run, once ended is closed
	lines   *lines
}

// Start runs a gateway until the test ends. Options change its configuration first.
func Start(t testing.TB, options ...func(*gateway.Config)) *Server {
	t.Helper()
	cfg := gateway.DefaultConfig()
	cfg.Dev = true
	cfg.Listen = "127.0.0.1:0"
	cfg.Admin = "127.0.0.1:0"
	cfg.Data = t.TempDir()
	cfg.Limits.ConnectionsPerIP = 0
	cfg.Limits.ConnectionsPerUser = 0
	cfg.Limits.MessagesPerSecond = 0
	cfg.Limits.Rates = nil
	cfg.Drain.Window = 0
	for _, option := range options {
		option(&cfg)
	}
	return run(t, cfg, gateway.New)
}

// TakeOver has another gateway take over from one. Both are of this process, so a takeover that fails would end the test.
func TakeOver(from *Server) *Server {
	from.t.Helper()
	return run(from.t, from.cfg, gateway.TakeOver)
}

func run(t testing.TB, cfg gateway.Config, begin func(gateway.Config, *slog.Logger) (*gateway.Server, error)) *Server {
	t.Helper()
	s := &Server{t: t, cfg: cfg, ended: make(chan struct{}), lines: &lines{t: t}}
	log := slog.New(slog.NewTextHandler(s.lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	g, err := begin(cfg, log)
	if err != nil {
		t.Fatalf("start a gateway: %v", err)
	}
	s.gateway = g
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() {
		s.err = g.Run(ctx)
		close(s.ended)
	}()
	t.Cleanup(s.Stop)
	select {
	case <-g.Serving():
	case <-s.ended:
		t.Fatalf("the gateway ended at once: %v", s.err)
	}
	return s
}

// Data is the data directory.
func (s *Server) Data() string { return s.cfg.Data }

// Addr is the public host:port.
func (s *Server) Addr() string { return s.gateway.Addr() }

// AdminAddr is the admin listener's host:port.
func (s *Server) AdminAddr() string { return s.gateway.AdminAddr() }

// Responsive is the gateway's.
func (s *Server) Responsive(within time.Duration) error { return s.gateway.Responsive(within) }

// URL is the WebSocket address of the gateway.
func (s *Server) URL() string { return "ws://" + s.Addr() + "/ws" }

// Reload puts another configuration in force, as SIGHUP does.
func (s *Server) Reload(cfg gateway.Config) (needRestart []string, err error) {
	return s.gateway.Reload(cfg)
}

// Stop drains the gateway and waits for its end. The test's end calls it too.
func (s *Server) Stop() {
	s.t.Helper()
	s.cancel()
	select {
	case <-s.ended:
	case <-time.After(20 * time.Second):
		stacks := make([]byte, 1<<20)
		s.t.Errorf("the gateway did not end within 20 s:\n%s", stacks[:runtime.Stack(stacks, true)])
		return
	}
	s.lines.close()
	if s.err != nil && !errors.Is(s.err, context.Canceled) {
		s.t.Errorf("the gateway ended with: %v", s.err)
		s.err = nil
	}
}

// Logged reports whether a line of the gateway's log holds all the parts.
func (s *Server) Logged(parts ...string) bool {
	s.lines.mu.Lock()
	defer s.lines.mu.Unlock()
	for _, line := range s.lines.all {
		found := true
		for _, part := range parts {
			found = found && strings.Contains(line, part)
		}
		if found {
			return true
		}
	}
	return false
}

// lines keeps the gateway's log and passes it to the test's.
type lines struct {
	mu    sync.Mutex // guards all below
	t     testing.TB // nil when the test's log may no longer be written
	all   []string
	bytes int
}

// maxLines bounds what is kept of a log; a soak writes more than anybody searches.
const maxLines = 1 << 20

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := strings.TrimSpace(string(p))
	if l.bytes < maxLines {
		l.all = append(l.all, line)
		l.bytes += len(line)
	}
	if l.t != nil {
		l.t.Log(line)
	}
	return len(p), nil
}

func (l *lines) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t = nil
}
