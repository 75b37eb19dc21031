package gateway_test

import (
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"rookery/gateway"
	v1 "rookery/proto/rookery/v1"
	"rookery/storage/vfs"
)

// lineFunc is called with each line of a log.
type lineFunc func(line string)

func (f lineFunc) Write(b []byte) (int, error) {
	f(string(b))
	return len(b), nil
}

// TestATakeoverEndsThoughTheDiskHangs: it hangs for good in the middle of a takeover, and the process is to end. That it does, the other process, which has been
// given some, with it, and says why; and all that was acknowledged is there at the next start.
func TestATakeoverEndsThoughTheDiskHangs(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		unsaid bool   // something is published that can't be committed
		from   string // the line of the log at which it begins to hang
	}{
		"committing": {true, "handing over"},
		"closing":    {false, "handing over"},
		"going on":   {false, "did not take over"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := &hungDisk{FS: vfs.Disk(), fails: c.from != "handing over"} // what opens the log again must not have it in the end
			cfg := gateway.DefaultConfig()
			cfg.Dev, cfg.Listen, cfg.Admin, cfg.Data = true, "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
			cfg.Drain.Window, cfg.Drain.Timeout = 0, time.Second
			cfg.SetFS(disk)
			hangs := make(chan struct{})
			srv, err := gateway.New(cfg, slog.New(slog.NewTextHandler(lineFunc(func(line string) {
				if strings.Contains(line, c.from) {
					if !c.unsaid {
						disk.hang.Lock()
					}
					close(hangs)
				}
			}), nil)))
			if err != nil {
				t.Fatal(err)
			}
			stop, ended := serves(t, srv)
			p := login(t, srv.Addr(), wires[2], "alice")
			p.publish("r", "", "stored")
			if p.must().GetPublished().GetSeq() != 1 {
				t.Fatal("it was not acknowledged")
			}
			if c.unsaid {
				before := disk.asked.Load()
				disk.hang.Lock()
				p.publish("r", "", "lost or not, nobody is told that it is stored")
				eventually(t, "the log has asked for a sync", func() bool { return disk.asked.Load() > before })
			}
			heir := exec.Command(program)
			heir.Dir, heir.Env, heir.Stderr = cfg.Data, append(os.Environ(), heirVariable+"=everything"), os.Stderr
			if err := heir.Start(); err != nil {
				t.Fatal(err)
			}
			<-hangs
			stop()
			select {
			case err := <-ended:
				if err == nil || !strings.Contains(err.Error(), "the disk does not answer") {
					t.Errorf("it ended with %v, want an error that says that the disk does not answer", err)
				}
			case <-time.After(waitLimit):
				t.Fatalf("it did not end within %v", waitLimit)
			}
			if err := heir.Wait(); err == nil {
				t.Error("the other process ended well")
			}
			disk.hang.Unlock() // the rest goes on; a process would have ended
			if c.unsaid {
				if err := srv.CloseStore(); err != nil {
					t.Error(err)
				}
			}
			eventually(t, "the next start has the log", func() bool {
				var err error
				srv, err = gateway.New(cfg, slog.New(slog.DiscardHandler))
				return err == nil
			})
			stop, ended = serves(t, srv)
			again := login(t, srv.Addr(), wires[2], "alice")
			if got := again.history(&v1.HistoryRequest{Room: "r"}).GetMessages(); len(got) == 0 || got[0].GetText() != "stored" {
				t.Errorf("the next start has %v", got)
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}
