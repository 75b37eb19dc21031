package gateway_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rookery/gateway"
)

// auditPipe is a file of an audit log whose disk answers as the test wants: to open it waits for a reader, to write to it for room. The reader is the
// descriptor, which writes too.
func auditPipe(t *testing.T) (path string, reader int) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "audit")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, readPipe(t, path)
}

func readPipe(t *testing.T, path string) (reader int) {
	t.Helper()
	reader, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return reader
}

// hasCalled waits until some goroutine is in a function.
func hasCalled(t *testing.T, function string) {
	t.Helper()
	eventually(t, function+" is called", func() bool {
		var stacks bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 2) // a buffer takes all
		return strings.Contains(stacks.String(), function+"(")
	})
}

// TestNobodyWaitsForTheAuditLogsDisk: a reload does that, but neither a server that goes on behind a takeover that failed, nor its connections.
func TestNobodyWaitsForTheAuditLogsDisk(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path, reader := auditPipe(t)
	cfg := gateway.DefaultConfig()
	cfg.Dev, cfg.Listen, cfg.Admin, cfg.Data, cfg.AuditFile = true, "127.0.0.1:0", "127.0.0.1:0", t.TempDir(), path
	cfg.Drain.Window = 0
	srv, stop, ended := runs(t, cfg)
	unix.Close(reader)
	reloaded := make(chan error, 1)
	go func() {
		_, err := srv.Reload(cfg)
		reloaded <- err
	}()
	hasCalled(t, "audit.(*Log).Reopen")
	heir := exec.Command(program)
	heir.Dir, heir.Env, heir.Stderr = cfg.Data, append(os.Environ(), heirVariable+"=everything"), os.Stderr
	if err := heir.Run(); err == nil {
		t.Error("the other process ended well")
	}
	eventually(t, "the next server is there", func() bool { return srv.Successor() != nil })
	login(t, srv.Addr(), wires[0], "alice")
	reader = readPipe(t, path)
	defer unix.Close(reader)
	if err := <-reloaded; err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestTheEndWaitsNotForTheAuditLog: a line is being written, and the disk does not take it.
func TestTheEndWaitsNotForTheAuditLog(t *testing.T) {
	path, reader := auditPipe(t)
	cfg := gateway.DefaultConfig()
	cfg.Dev, cfg.Listen, cfg.Admin, cfg.Data, cfg.AuditFile = true, "127.0.0.1:0", "", t.TempDir(), path
	cfg.Drain.Window = 0
	srv, stop, ended := runs(t, cfg)
	for filling, err := make([]byte, os.Getpagesize()), error(nil); err == nil; {
		_, err = unix.Write(reader, filling)
	}
	reloaded := make(chan error, 1)
	go func() {
		_, err := srv.Reload(cfg)
		reloaded <- err
	}()
	hasCalled(t, "audit.(*Log).Write")
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(waitLimit):
		t.Errorf("it did not end within %v", waitLimit)
	}
	unix.Close(reader) // the write fails
	if err := <-reloaded; err != nil {
		t.Error(err)
	}
}
