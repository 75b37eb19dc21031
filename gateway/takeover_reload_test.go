package gateway_test

import (
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/storage/vfs"
)

// TestReloadAmidATakeoverThatFails: the next server of the process is being made when new settings come, and goes on with them.
func TestReloadAmidATakeoverThatFails(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	disk := &hungDisk{FS: vfs.Disk()}
	cfg := gateway.DefaultConfig()
	cfg.Dev, cfg.Listen, cfg.Admin, cfg.Data = true, "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	cfg.Drain.Window = 0
	cfg.SetFS(disk)
	hangs := make(chan int64, 1)
	srv, err := gateway.New(cfg, slog.New(slog.NewTextHandler(lineFunc(func(line string) {
		if strings.Contains(line, "did not take over") {
			disk.hang.Lock()
			hangs <- disk.asked.Load()
		}
	}), nil)))
	if err != nil {
		t.Fatal(err)
	}
	stop, ended := serves(t, srv)
	heir := exec.Command(program)
	heir.Dir, heir.Env, heir.Stderr = cfg.Data, append(os.Environ(), heirVariable+"=everything"), os.Stderr
	if err := heir.Run(); err == nil {
		t.Error("the other process ended well")
	}
	var before int64
	select {
	case before = <-hangs:
	case <-time.After(waitLimit):
		t.Fatal("the takeover has not failed")
	}
	eventually(t, "the next server opens the log", func() bool { return disk.asked.Load() > before })
	next := cfg
	next.Limits.ConnectionsPerIP = 1
	reloaded := make(chan error, 1)
	go func() {
		_, err := srv.Reload(next)
		reloaded <- err
	}()
	select {
	case err := <-reloaded:
		t.Errorf("settings were put in force when there was no server: %v", err)
		reloaded <- err
	case <-time.After(50 * time.Millisecond): // no more is wanted of it than to have begun
	}
	disk.hang.Unlock()
	if err := <-reloaded; err != nil {
		t.Error(err)
	}
	open(t, srv.Addr(), wires[0]) // the first that is counted
	if _, err := tryOpen(t, srv.Addr(), wires[0]); err == nil {
		t.Error("the new settings are not in force")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
