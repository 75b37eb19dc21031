package gateway_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
	"rookery/storage/vfs"
)

// TestAFailingDiskIsTold: a publish that can't be stored is refused, reading goes on, operators
// see it, and when the disk is mended everything goes on without a gap.
func TestAFailingDiskIsTold(t *testing.T) {
	disk := vfs.Faulty(vfs.Disk())
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.SetFS(disk) })
	ready := func() (int, string) {
		res, err := http.Get("http://" + srv.AdminAddr() + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body)
	}
	alice, bob := login(t, srv.Addr(), wires[1], "alice"), login(t, srv.Addr(), wires[2], "bob")
	bob.enter("r")
	alice.publish("r", "one", "one")
	if alice.must().GetPublished().GetSeq() != 1 || bob.must().GetMessage().GetSeq() != 1 {
		t.Fatal("a good disk took nothing")
	}

	disk.Break(vfs.Fault{Operation: vfs.OpSync, Call: 1, Lasting: true, Err: syscall.EIO},
		vfs.Fault{Operation: vfs.OpCreate, Call: 1, Lasting: true, Err: syscall.ENOSPC})
	for range 2 { // the one that finds the fault, and one after it
		alice.publish("r", "two", "two")
		alice.mustFail(proto.ErrLogUnavailable)
	}
	if status, body := ready(); status != http.StatusServiceUnavailable || !strings.Contains(body, "publishing fails") {
		t.Errorf("readyz: %d %q", status, body)
	}
	if res, err := http.Get("http://" + srv.AdminAddr() + "/healthz"); err != nil || res.Body.Close() != nil || res.StatusCode != http.StatusOK {
		t.Errorf("healthz: %v, %v", res, err)
	}
	if n := metric(t, srv, "rookery_log_fault"); n != 1 {
		t.Errorf("rookery_log_fault is %v", n)
	}
	if n := metric(t, srv, "rookery_publish_refused_log_total"); n != 2 {
		t.Errorf("rookery_publish_refused_log_total is %v", n)
	}
	alice.request(&v1.ClientFrame{Op: &v1.ClientFrame_History{History: &v1.HistoryRequest{Room: "r"}}})
	if h := alice.must().GetHistory(); len(h.GetMessages()) != 1 {
		t.Errorf("history beside a failing disk: %v", h)
	}

	disk.Break()
	eventually(t, "the same publish is taken", func() bool {
		alice.publish("r", "two", "two")
		return alice.must().GetPublished().GetSeq() == 2
	})
	if m := bob.must().GetMessage(); m.GetSeq() != 2 || m.GetText() != "two" {
		t.Errorf("a member got %v", m)
	}
	if status, body := ready(); status != http.StatusOK {
		t.Errorf("readyz of a mended disk: %d %q", status, body)
	}
}

// hungDisk is the disk whose Sync does not return while it hangs.
type hungDisk struct {
	vfs.FS
	hang  sync.RWMutex
	asked atomic.Int64 // how often a Sync began
}

func (d *hungDisk) Open(path string) (vfs.File, error)   { return d.wrap(d.FS.Open(path)) }
func (d *hungDisk) Create(path string) (vfs.File, error) { return d.wrap(d.FS.Create(path)) }

func (d *hungDisk) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return hungFile{f, d}, nil
}

type hungFile struct {
	vfs.File
	disk *hungDisk
}

func (f hungFile) Sync() error {
	f.disk.asked.Add(1)
	f.disk.hang.RLock()
	defer f.disk.hang.RUnlock()
	return f.File.Sync()
}

// TestDrainEndsThoughTheDiskHangs: the process ends within drain.timeout, and says that what was
// not committed was not acknowledged.
func TestDrainEndsThoughTheDiskHangs(t *testing.T) {
	disk := &hungDisk{FS: vfs.Disk()}
	cfg := gateway.DefaultConfig()
	cfg.Dev, cfg.Listen, cfg.Admin, cfg.Data = true, "127.0.0.1:0", "", t.TempDir()
	cfg.Drain.Window, cfg.Drain.Timeout = 0, time.Second
	cfg.SetFS(disk)
	srv, err := gateway.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	<-srv.Serving()
	p := login(t, srv.Addr(), wires[2], "alice")
	disk.hang.Lock()
	before := disk.asked.Load()
	p.publish("r", "", "lost or not, nobody is told that it is stored")
	eventually(t, "the log has asked for a sync", func() bool { return disk.asked.Load() > before })
	cancel()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "drain.timeout") {
			t.Errorf("it ended with %v, want an error that names drain.timeout", err)
		}
	case <-time.After(waitLimit):
		t.Errorf("it did not end within %v, drain.timeout is %v", waitLimit, cfg.Drain.Timeout)
	}
	for f, err := p.next(); err == nil; f, err = p.next() {
		if f.GetPublished() != nil {
			t.Errorf("a publish was acknowledged beside a disk that hangs: %v", f)
		}
	}
	disk.hang.Unlock()
	if err := srv.CloseStore(); err != nil {
		t.Error(err)
	}
}
