package gateway_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/storage/vfs"
)

// TestAServerThatHangsIsNotResponsive: a loop that stands still and a disk that does not come back are told, each as what it is, and no
// more once they are over.
func TestAServerThatHangsIsNotResponsive(t *testing.T) {
	disk := &hungDisk{FS: vfs.Disk()}
	cfg := gateway.DefaultConfig()
	cfg.Dev, cfg.Listen, cfg.Admin, cfg.Data = true, "127.0.0.1:0", "", filepath.Join(t.TempDir(), "data")
	cfg.Drain.Window = 0
	cfg.SetFS(disk)
	srv, err := gateway.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-srv.Serving()
	alice := login(t, srv.Addr(), wires[1], "alice")
	alice.enter("r")
	eventually(t, "a healthy server answers", func() bool { return srv.Responsive(20*time.Second) == nil })

	disk.hang.Lock()
	alice.publish("r", "", "one")
	eventually(t, "a disk that hangs is told", func() bool {
		err := srv.Responsive(time.Second)
		return err != nil && strings.Contains(err.Error(), "committer") && !strings.Contains(err.Error(), "event loop")
	})
	disk.hang.Unlock()
	for alice.must().GetPublished() == nil {
	}
	eventually(t, "it answers again", func() bool { return srv.Responsive(20*time.Second) == nil })
}
