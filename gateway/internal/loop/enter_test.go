package loop

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// TestEnter: connections that were accepted elsewhere, many at a time and from before the loops are there, are as if a loop had
// accepted them, under the address that is vouched for; and after the end none hangs.
func TestEnter(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Inboxes = append(c.Inboxes, handoff.NewMailbox[handoff.Event](1<<20))
		c.Page = func(string) (File, bool) { return File{Body: []byte("x"), Type: "text/plain"}, true }
		c.Rules.ConnectionsPerIP = 100
	})
	engine := r.loop.engine
	path := filepath.Join(t.TempDir(), "socket")
	vouched := netip.MustParseAddr("192.0.2.7")
	networks := map[string]net.Listener{}
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": path} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		networks[network] = l
	}
	// pair is a connection: the client's end, and the one that was accepted.
	pair := func(network string) (client, accepted net.Conn) {
		t.Helper()
		l := networks[network]
		client, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if accepted, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		client.SetDeadline(time.Now().Add(20 * time.Second))
		return client, accepted
	}
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}

	type entry struct {
		network string
		from    netip.Addr
	}
	// A loop is chosen by what it has, so that of many at the same moment all would go to one.
	atOnce := make(chan struct{}, 4)
	var all sync.WaitGroup
	enter := func(e entry) net.Conn {
		client, accepted := pair(e.network)
		all.Go(func() {
			atOnce <- struct{}{}
			defer func() { <-atOnce }()
			if err := engine.Enter(accepted, e.from); err != nil {
				t.Error(err)
			}
		})
		return client
	}
	early := enter(entry{"unix", vouched})
	ended := make(chan error, 1)
	go func() { ended <- engine.Run("127.0.0.1:0") }()
	clients := []net.Conn{early}
	for range 25 {
		clients = append(clients, enter(entry{"unix", vouched}), enter(entry{"tcp", netip.MustParseAddr("::ffff:192.0.2.7")}), enter(entry{"unix", netip.Addr{}}))
	}
	for i, client := range clients {
		io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("connection %d of %d was answered with %v, %v", i, len(clients), res, err)
		}
	}
	all.Wait()
	if n := engine.Open(); n != len(clients) {
		t.Errorf("%d connections are open, want %d", n, len(clients))
	}
	engine.admission.mu.Lock()
	if a := engine.admission.addresses; len(a) != 1 || a[vouched] == nil || a[vouched].connections != 51 {
		t.Errorf("the caps count %v, want 51 of %v", a, vouched)
	}
	engine.admission.mu.Unlock()
	for i, c := range engine.Counters() {
		if n := c.Connections.Load(); n < 30 {
			t.Errorf("loop %d has %d of %d connections", i, n, len(clients))
		}
	}
	held := descriptors()
	for _, client := range clients {
		client.Close()
	}
	for end := time.Now().Add(20 * time.Second); engine.Open() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d connections are still open", engine.Open())
		}
	}
	if now := descriptors(); now != held-2*len(clients) {
		t.Errorf("%d descriptors were open with %d connections, and %d are without", held, len(clients), now)
	}

	if err := engine.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	client, accepted := pair("unix")
	if err := engine.Enter(accepted, vouched); !errors.Is(err, errEnded) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("its client reads %v, want to be closed", err)
	}
	client.Close()
}

// TestALoopThatBeginsLate: one that has its first connection behind Refuse refuses, too, and is counted.
func TestALoopThatBeginsLate(t *testing.T) {
	r := newRig(t, nil)
	engine := r.loop.engine
	ended := make(chan error, 1)
	go func() { ended <- engine.Run("127.0.0.1:0") }()
	<-engine.Booted()
	engine.Refuse()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.Enter(accepted, netip.MustParseAddr("192.0.2.7")); err != nil {
		t.Fatal(err)
	}
	if n := len(*engine.loops.Load()); n != 1 || !engine.Refusing() {
		t.Errorf("of %d loops all refuse: %v", n, engine.Refusing())
	}
	client.SetDeadline(time.Now().Add(20 * time.Second))
	send := func(f *v1.ClientFrame) {
		if _, err := client.Write(proto.AppendClientFrame(nil, proto.Binary, f)); err != nil {
			t.Fatal(err)
		}
	}
	in := bufio.NewReader(client)
	receive := func() *v1.ServerFrame {
		t.Helper()
		length, err := binary.ReadUvarint(in)
		b := make([]byte, length)
		if _, fault := io.ReadFull(in, b); err != nil || fault != nil {
			t.Fatal(err, fault)
		}
		f := &v1.ServerFrame{}
		if err := proto.DecodeServerFrame(f, proto.Binary, b); err != nil {
			t.Fatal(err)
		}
		return f
	}
	io.WriteString(client, proto.Preface)
	send(&v1.ClientFrame{Id: 1, Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: "ann"}}})
	if f := receive(); f.GetConnected() == nil {
		t.Fatalf("connect was answered with %v", f)
	}
	send(&v1.ClientFrame{Id: 2, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
	if f := receive(); f.GetError().GetName() != proto.ErrDraining.Name {
		t.Errorf("a request was answered with %v", f)
	}
	if err := engine.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
