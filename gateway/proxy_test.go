package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// behindProxy is a gateway at a Unix socket and a TCP address, both of which proxies may connect to.
func behindProxy(protocol gateway.ProxyProtocol, socket string) func(*gateway.Config) {
	return func(c *gateway.Config) {
		c.Proxy.Trusted = []string{"127.0.0.1"}
		c.Proxy.Protocol = protocol
		c.Proxy.Socket = socket
	}
}

// TestProxiedConnections: what an application is told of whom, over real sockets, and that such connections are as any other.
func TestProxiedConnections(t *testing.T) {
	app := newApplication(t, func(*appCall) (int, string) { return 200, allowed })
	socket := filepath.Join(t.TempDir(), "socket")
	srv := gatewaytest.Start(t, app.options(gateway.ConnectWebhook), behindProxy(gateway.ProxyProtocolOptional, socket))
	reader := login(t, srv.Addr(), wires[0], "reader")
	app.next(t)
	reader.enter("r")

	header := func(client string) string { return "PROXY TCP4 " + client + " 198.51.100.1 56324 443\r\n" }
	for i, c := range []struct{ network, first, forwarded, want string }{
		{"unix", header("192.0.2.7"), "", "192.0.2.7"},
		{"tcp", header("192.0.2.7"), "", "192.0.2.7"},
		{"unix", "PROXY UNKNOWN\r\n", "", ""},
		{"tcp", "PROXY UNKNOWN\r\n", "", "127.0.0.1"},
		{"unix", "", "", ""},
		{"unix", "", "203.0.113.9, 192.0.2.7, 127.0.0.1", "192.0.2.7"},
		{"tcp", "", "203.0.113.9, 192.0.2.7", "192.0.2.7"},
	} {
		for _, w := range wires {
			if w.stream && c.forwarded != "" {
				continue
			}
			name := fmt.Sprintf("%s %q %q by %s", c.network, c.first, c.forwarded, w.name)
			address := map[string]string{"tcp": srv.Addr(), "unix": socket}[c.network]
			conn, err := net.DialTimeout(c.network, address, waitLimit)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			conn.SetDeadline(time.Now().Add(waitLimit))
			p := &peer{t: t, conn: conn, in: bufio.NewReader(conn), wire: w}
			io.WriteString(conn, c.first)
			if w.stream {
				io.WriteString(conn, proto.Preface)
			} else {
				field := ""
				if c.forwarded != "" {
					field = "X-Forwarded-For: " + c.forwarded + "\r\n"
				}
				io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
					"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+field+"\r\n")
				if res, err := http.ReadResponse(p.in, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
					t.Fatalf("%s: the upgrade was answered with %v, %v", name, res, err)
				}
			}
			connect(p, "", "writer")
			if p.must().GetConnected() == nil {
				t.Fatalf("%s: not connected", name)
			}
			if got := app.next(t).Data.Address; got != c.want {
				t.Errorf("%s: the application is told of %q, want %q", name, got, c.want)
			}
			p.publish("r", "", fmt.Sprint("from ", i))
			if p.must().GetPublished() == nil || reader.must().GetMessage().GetText() != fmt.Sprint("from ", i) {
				t.Fatalf("%s: the message did not come through", name)
			}
		}
	}
}

// TestUnixSocketFile: what stands at its path before, while and after a server runs.
func TestUnixSocketFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "socket")
	with := func(path string) func(*gateway.Config) {
		return func(c *gateway.Config) { c.Proxy.Socket, c.Proxy.SocketMode = path, "0600" }
	}
	refused := func(path string) string {
		t.Helper()
		cfg := gateway.DefaultConfig()
		cfg.Dev, cfg.Listen, cfg.Admin, cfg.Data = true, "127.0.0.1:0", "", t.TempDir()
		with(path)(&cfg)
		_, err := gateway.New(cfg, slog.New(slog.DiscardHandler))
		if err == nil {
			t.Fatal("it was not refused")
		}
		return err.Error()
	}
	// What a server that was killed leaves.
	for _, name := range []string{path, path + ".new"} {
		left, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		left.SetUnlinkOnClose(false)
		left.Close()
	}
	srv := gatewaytest.Start(t, with(path))
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Fatalf("the socket is %v, %v", info, err)
	}
	if _, err := os.Lstat(path + ".new"); err == nil {
		t.Error("the name under which it was made is still there")
	}
	if said := refused(path); !strings.Contains(said, "another process listens on "+path) || !strings.Contains(said, "proxy.socket") {
		t.Errorf("a second server says %s", said)
	}
	// Clients are told to go, and then nothing is left.
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(waitLimit))
	p := &peer{t: t, conn: conn, in: bufio.NewReader(conn), wire: wires[2]}
	io.WriteString(conn, proto.Preface)
	connect(p, "", "alice")
	p.must()
	srv.Stop()
	if f := p.must(); f.GetGoaway() == nil {
		t.Errorf("a client was told %v", f)
	}
	p.mustClose(proto.CloseDraining)
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is still there")
	}

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("of somebody"), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := refused(file); !strings.Contains(said, "is no socket") {
		t.Errorf("where a file is it says %s", said)
	}
	if b, _ := os.ReadFile(file); string(b) != "of somebody" {
		t.Error("the file was changed")
	}
	if said := refused(filepath.Join(dir, "nowhere", "socket")); !strings.Contains(said, syscall.ENOENT.Error()) {
		t.Errorf("without a directory it says %s", said)
	}
}

// TestUnixSocketDuringTheDrain: until the end who connects is told why not, as at the public address.
func TestUnixSocketDuringTheDrain(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	srv := gatewaytest.Start(t, behindProxy(gateway.ProxyProtocolOff, socket), func(c *gateway.Config) {
		c.Drain.Window, c.Drain.Timeout = 2*time.Second, waitLimit
	})
	stays := login(t, srv.Addr(), wires[2], "alice")
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		srv.Stop()
	}()
	for stays.must().GetGoaway() == nil {
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	res, err := client.Get("http://x/")
	if err != nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("a request was answered with %v, %v", res, err)
	}
	if err == nil {
		res.Body.Close()
	}
	stays.conn.Close()
	<-stopped
}

// TestProxySettingsAreReloaded: who is trusted, and whether with a header.
func TestProxySettingsAreReloaded(t *testing.T) {
	t.Parallel()
	var cfg gateway.Config
	srv := gatewaytest.Start(t, func(c *gateway.Config) { cfg = *c })
	header := "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
	try := func() (refusedWith string) {
		t.Helper()
		conn := dialPlain(t, srv.Addr(), header+proto.Preface)
		p := &peer{t: t, conn: conn, in: bufio.NewReader(conn), wire: wires[2]}
		if p.send(&v1.ClientFrame{Id: 1, Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: "alice"}}}) != nil {
			return "closed"
		}
		if f, err := p.next(); err != nil || f.GetConnected() == nil {
			return "closed"
		}
		return ""
	}
	if try() == "" {
		t.Error("a header of a stranger was taken")
	}
	if !srv.Logged("address=127.0.0.1 reason=bad_handshake", "err=\"a PROXY protocol header of an address that proxy.trusted has not in it\"") {
		t.Error("the log has no line about it")
	}
	behindProxy(gateway.ProxyProtocolRequired, "")(&cfg)
	if needRestart, err := srv.Reload(cfg); err != nil || len(needRestart) > 0 {
		t.Fatalf("reload: %v, %v", needRestart, err)
	}
	if said := try(); said != "" {
		t.Error("that of a proxy was not")
	}
	cfg.Proxy.Socket = "elsewhere"
	if needRestart, err := srv.Reload(cfg); err != nil || len(needRestart) != 1 || needRestart[0] != "proxy.socket" {
		t.Errorf("another socket: %v, %v", needRestart, err)
	}
}
