package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// listenManager is the socket of a service manager, and what it heard last.
func listenManager(t *testing.T, name string) (hear func() string) {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return func() string {
		t.Helper()
		conn.SetReadDeadline(time.Now().Add(patience))
		buffer := make([]byte, 4096)
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatalf("the manager hears nothing: %v", err)
		}
		return string(buffer[:n])
	}
}

// TestServiceManagerIsTold runs the process as a unit of Type=notify with a watchdog.
func TestServiceManagerIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	hear := listenManager(t, socket)
	server, serving, _ := startServeWith(t, []string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=200000"}, "--drain.window", "0s")
	address := regexp.MustCompile(`address=(\S+)`).FindStringSubmatch(serving)
	if ready := hear(); !strings.HasPrefix(ready, "READY=1\n") || !strings.Contains(ready, "STATUS=serving on "+address[1]) {
		t.Errorf("first it is told %q", ready)
	}
	for range 3 {
		if alive := hear(); alive != "WATCHDOG=1" {
			t.Errorf("then %q", alive)
		}
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	last := hear()
	for last == "WATCHDOG=1" { // sent before the signal
		last = hear()
	}
	if !strings.HasPrefix(last, "STOPPING=1") {
		t.Errorf("at last %q", last)
	}
}

// TestWatchdogIsNotAnsweredForWhatHangs, and is again when it goes on.
func TestWatchdogIsNotAnsweredForWhatHangs(t *testing.T) {
	socket := "@rookery-test-" + filepath.Base(t.TempDir()) + t.Name()
	hear := listenManager(t, socket)
	m := findManager([]string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=40000", "WATCHDOG_PID=7"}, 7, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	asked, silent := make(chan struct{}), atomic.Bool{}
	silent.Store(true)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.watchLoop(ctx, func(within time.Duration) error {
			if within != 20*time.Millisecond {
				t.Errorf("it is to have answered within %v", within)
			}
			if silent.Load() {
				asked <- struct{}{}
				return errors.New("it hangs")
			}
			return nil
		})
	}()
	for range 3 {
		<-asked
	}
	m.tell("a mark") // nothing was heard before it
	silent.Store(false)
	select {
	case <-asked: // it may be on its way with one more
	default:
	}
	if heard := hear(); heard != "a mark" {
		t.Errorf("while it hangs the manager hears %q", heard)
	}
	go func() {
		for range asked {
		}
	}()
	if heard := hear(); heard != "WATCHDOG=1" {
		t.Errorf("then it hears %q", heard)
	}
	cancel()
	<-ended
	close(asked)
}

// TestAManagerThatReadsNoMore holds nobody up: what the kernel keeps for it is little.
func TestAManagerThatReadsNoMore(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	listenManager(t, socket)
	var log strings.Builder
	m := findManager([]string{"NOTIFY_SOCKET=" + socket}, 7, slog.New(slog.NewTextHandler(&log, nil)))
	untold := make(chan bool, 1)
	go func() {
		for range 10_000 {
			if m.tell("WATCHDOG=1"); log.Len() > 0 {
				break
			}
		}
		untold <- strings.Contains(log.String(), "can't be told")
	}()
	select {
	case is := <-untold:
		if !is {
			t.Errorf("it logs %q", &log)
		}
	case <-time.After(patience):
		t.Error("it waits for the manager")
	}
}

func TestWithoutAManagerNothingIsSaid(t *testing.T) {
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	for _, environ := range [][]string{nil, {"WATCHDOG_USEC=1000", "WATCHDOG_PID=8"}, {"WATCHDOG_USEC=soon"}} {
		m := findManager(environ, 7, logger)
		m.tell("READY=1")
		m.watchLoop(t.Context(), nil) // returns
	}
	findManager([]string{"NOTIFY_SOCKET=" + filepath.Join(t.TempDir(), "nobody")}, 7, logger).tell("READY=1")
	if lines := log.String(); strings.Count(lines, "\n") != 1 || !strings.Contains(lines, "can't be told") || !strings.Contains(lines, "nobody") {
		t.Errorf("of four it logs %q", lines)
	}
}
