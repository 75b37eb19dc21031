package gateway_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
	"rookery/storage/vfs"
)

// TestAFailingDiskIsTold: a publish that can't be stored is refused, reading goes on, operators
// see it, and when the disk is mended everything goes on without a gap.
func TestAFailingDiskIsTold(t *testing.T) {
	t.Parallel()
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
	fails bool         // those that hung do, in the end
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
	hung := !f.disk.hang.TryRLock()
	if hung {
		f.disk.hang.RLock()
	}
	defer f.disk.hang.RUnlock()
	if hung && f.disk.fails {
		return errors.New("the disk is gone")
	}
	return f.File.Sync()
}

// runs has a server serve until stop is called; ended gives what came of it.
func runs(t *testing.T, cfg gateway.Config) (srv *gateway.Server, stop context.CancelFunc, ended chan error) {
	t.Helper()
	srv, err := gateway.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stop, ended = serves(t, srv)
	return srv, stop, ended
}

// serves is runs for a server that is made.
func serves(t *testing.T, srv *gateway.Server) (stop context.CancelFunc, ended chan error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended = make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	<-srv.Serving()
	return stop, ended
}

// TestDrainEndsThoughTheDiskHangs: the process ends within drain.timeout, and says that what was
// not committed was not acknowledged.
func TestDrainEndsThoughTheDiskHangs(t *testing.T) {
	disk := &hungDisk{FS: vfs.Disk()}
	cfg := gateway.DefaultConfig()
	cfg.Dev, cfg.Listen, cfg.Admin, cfg.Data = true, "127.0.0.1:0", "", t.TempDir()
	cfg.Drain.Window, cfg.Drain.Timeout, cfg.Rooms.LastSeen = 0, time.Second, true
	cfg.SetFS(disk)
	srv, cancel, ended := runs(t, cfg)
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
	// Nor was the file of last seen waited for, which is on the same disk: it is still open.
	if tree, err := bolt.Open(filepath.Join(cfg.Data, "seen", "seen.db"), 0o600, &bolt.Options{Timeout: time.Millisecond}); err == nil {
		t.Error("the file of last seen was closed")
		tree.Close()
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

// TestEndingEndsThoughTheDiskHangs: it hangs when all is acknowledged and the log is being closed. The process ends all the same and says
// so, and what was acknowledged is there at the next start.
func TestEndingEndsThoughTheDiskHangs(t *testing.T) {
	t.Parallel()
	disk := &hungDisk{FS: vfs.Disk()}
	cfg := gateway.DefaultConfig()
	cfg.Dev, cfg.Listen, cfg.Admin, cfg.Data = true, "127.0.0.1:0", "", t.TempDir()
	cfg.Drain.Window, cfg.Drain.Timeout = 0, time.Second
	cfg.SetFS(disk)
	srv, cancel, ended := runs(t, cfg)
	p := login(t, srv.Addr(), wires[2], "alice")
	p.publish("r", "", "stored")
	if p.must().GetPublished().GetSeq() != 1 {
		t.Fatal("it was not acknowledged")
	}
	disk.hang.Lock()
	cancel()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "the disk did not answer") {
			t.Errorf("it ended with %v, want an error that says that the disk did not answer", err)
		}
	case <-time.After(waitLimit):
		t.Errorf("it did not end within %v", waitLimit)
	}
	disk.hang.Unlock() // the rest goes on; a process would have ended
	eventually(t, "the next start has the log", func() bool {
		var err error
		srv, err = gateway.New(cfg, slog.New(slog.DiscardHandler))
		return err == nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- srv.Run(ctx) }()
	<-srv.Serving()
	again := login(t, srv.Addr(), wires[2], "alice")
	if got := again.history(&v1.HistoryRequest{Room: "r"}).GetMessages(); len(got) != 1 {
		t.Errorf("the next start gives %d messages, want 1", len(got))
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestNewFailsAtAnyRead: a start that ends in the middle leaves nothing behind, goroutines least of all, whatever has been started by then.
func TestNewFailsAtAnyRead(t *testing.T) {
	disk := &brokenDisk{FS: vfs.Disk()}
	disk.left.Store(1 << 30)
	cfg := gateway.DefaultConfig()
	cfg.Dev, cfg.Listen, cfg.Admin, cfg.Data = true, "127.0.0.1:0", "", t.TempDir()
	cfg.Drain.Window, cfg.Rooms.LastSeen = 0, true
	cfg.Webhooks.URL, cfg.Webhooks.Events = "http://127.0.0.1:1/", []string{"publish", "membership", "disconnect"}
	cfg.Webhooks.Secret = gateway.Secret("whsec_" + strings.Repeat("A", 44))
	cfg.SetFS(disk)
	run := func(use func(*gateway.Server)) error {
		srv, err := gateway.New(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- srv.Run(ctx) }()
		<-srv.Serving()
		use(srv)
		cancel()
		return <-ended
	}
	if err := run(func(srv *gateway.Server) {
		alice := login(t, srv.Addr(), wires[0], "alice")
		alice.create(&v1.Create{Room: "group:birds"})
		alice.conn.Close()
	}); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for reads := int64(0); ; reads++ {
		disk.left.Store(reads)
		srv, err := gateway.New(cfg, slog.New(slog.DiscardHandler))
		disk.left.Store(1 << 30)
		if err == nil {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := srv.Run(ctx); err != nil {
				t.Error(err)
			}
			break
		}
		failed++
	}
	if failed < 3 {
		t.Errorf("only %d reads failed", failed)
	}
}

// brokenDisk is a disk that can be read so often.
type brokenDisk struct {
	vfs.FS
	left atomic.Int64
}

func (d *brokenDisk) Open(path string) (vfs.File, error)     { return d.wrap(d.FS.Open(path)) }
func (d *brokenDisk) OpenRead(path string) (vfs.File, error) { return d.wrap(d.FS.OpenRead(path)) }

func (d *brokenDisk) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return brokenFile{f, d}, nil
}

type brokenFile struct {
	vfs.File
	disk *brokenDisk
}

func (f brokenFile) ReadAt(p []byte, off int64) (int, error) {
	if f.disk.left.Add(-1) < 0 {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(p, off)
}
