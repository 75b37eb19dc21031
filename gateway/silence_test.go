package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rookery/gateway/internal/loop"
	"rookery/gateway/internal/takeover"
)

// ends are the two of a channel.
func ends(t *testing.T) (here, there *takeover.Channel) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var channels [2]*takeover.Channel
	for i, fd := range pair {
		file := os.NewFile(uintptr(fd), "pair")
		socket, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		channels[i] = takeover.NewChannel(socket.(*net.UnixConn))
		t.Cleanup(func() { channels[i].Close() })
	}
	return channels[0], channels[1]
}

// lineFunc is called with each line of a log.
type lineFunc func(line string)

func (f lineFunc) Write(b []byte) (int, error) {
	f(string(b))
	return len(b), nil
}

const shortPatience = 50 * time.Millisecond

// inTime gives the error of what must not wait for ever.
func inTime(t *testing.T, wait func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
		t.Fatal("it waits for a process that says nothing")
		return nil
	}
}

// TestTheOtherProcessStops: neither of two processes waits for ever for one that is stopped, at whatever step that is.
func TestTheOtherProcessStops(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	t.Run("the old one, before it gives anything", func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.Dev, cfg.Data, cfg.Listen = true, t.TempDir(), "127.0.0.1:0"
		here, there := ends(t)
		go func() {
			if _, err := there.Await(takeover.Hello); err == nil {
				_ = there.SendJSON(takeover.Welcome, greetingOf(cfg))
			}
		}()
		err := inTime(t, func() error { _, err := takeOver(cfg, log, here, shortPatience); return err })
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the new one says %v", err)
		}
	})
	t.Run("the old one, before its last word", func(t *testing.T) {
		here, there := ends(t)
		// It may go on with the connections when it is let go on: the new one must not.
		if err := inTime(t, func() error { return awaitGo(here, shortPatience, log) }); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the new one says %v", err)
		}
		there.Close()
		if err := inTime(t, func() error { return awaitGo(here, shortPatience, log) }); err != nil {
			t.Errorf("of an old one that has died the new one says %v", err)
		}
	})
	t.Run("the old one, which is to leave", func(t *testing.T) {
		here, there := ends(t)
		told := make(chan string, 1)
		s := &Server{log: slog.New(slog.NewTextHandler(lineFunc(func(line string) { told <- line }), nil))}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			if line := <-told; !strings.Contains(line, "has not ended") {
				t.Errorf("the log says %s", line)
			}
			cancel() // and it does not keep the new one from ending
		}()
		_ = inTime(t, func() error {
			s.takeLate(ctx, here, shortPatience)
			return nil
		})
		there.Close()
	})
	t.Run("the new one, before it serves", func(t *testing.T) {
		here, _ := ends(t)
		s := &Server{log: log, engine: loop.New(loop.Config{})}
		err := inTime(t, func() error {
			_, err := s.awaitServing(heir{channel: here}, nil, shortPatience)
			return err
		})
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the old one says %v", err)
		}
	})
}
