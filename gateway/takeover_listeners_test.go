package gateway_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// TestTakeoverOfListeners: the Unix socket and the listener with TLS go on, those who came by them before and after among them. Who a
// proxy spoke for stays known. Keys of TLS that are the process's can't move, so who has it is told to come back; those in the kernel go along.
func TestTakeoverOfListeners(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "socket")
	srv, config := startSecure(t, behindProxy(gateway.ProxyProtocolOptional, socket), func(c *gateway.Config) {
		c.Limits.ConnectionsPerIP = 1
		c.Drain.Window = 7 * time.Second
	})
	const header = "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
	overSocket := func(first string) *peer {
		t.Helper()
		conn, err := net.DialTimeout("unix", socket, waitLimit)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(waitLimit))
		p := &peer{t: t, conn: conn, in: bufio.NewReader(conn), wire: wires[2]}
		p.sendRaw([]byte(first + proto.Preface))
		return p
	}
	overTLS := func() *peer {
		t.Helper()
		conn := dialTLS(t, srv, config)
		p := &peer{t: t, conn: conn, in: bufio.NewReader(conn), wire: wires[2]}
		p.sendRaw([]byte(proto.Preface))
		return p
	}
	through, secure := overSocket(header), overTLS()
	for i, p := range []*peer{through, secure} {
		connect(p, "", []string{"proxied", "secure"}[i])
		p.must()
		p.enter("hall")
	}
	for range 2 {
		srv = gatewaytest.TakeOver(srv)
		if !recordsInKernel() {
			g := secure.until(func(f *v1.ServerFrame) bool { return f.GetGoaway() != nil }).GetGoaway()
			if g.GetAfterMs() != 0 || g.GetWindowMs() != 7000 {
				t.Errorf("who has TLS was told %v", g)
			}
			secure.mustClose(proto.CloseDraining)
			secure = overTLS()
			connect(secure, "", "secure")
			secure.must()
			secure.enter("hall")
		}
		id := secure.publish("hall", "", "hello")
		// On a slow machine it is asked for a sign of life before.
		if m := through.until(func(f *v1.ServerFrame) bool { return f.GetMessage() != nil }).GetMessage(); m.GetText() != "hello" {
			t.Fatalf("by the Unix socket came %v", m)
		}
		secure.answer(id)
		// The address of the client behind the proxy has its one connection, and keeps it.
		overSocket(header).mustClose(proto.CloseOverloaded)
	}
	if err := secure.conn.(*tls.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, secure.in); err != nil {
		t.Errorf("behind the end of TLS the peer saw %v, want the server's", err)
	}
	if info, err := os.Lstat(socket); err != nil || info.Mode().Type() != os.ModeSocket {
		t.Errorf("the socket's file: %v, %v", info, err)
	}
	srv.Stop()
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket's file is there behind the end: %v", err)
	}
	if conn, err := tls.Dial("tcp", srv.SecureAddr(), config); err == nil {
		conn.Close()
		t.Error("somebody listens with TLS behind the end")
	}
}

// TestUsherBehindATakeoverThatFailed: the server that goes on has the listeners of the one before for a moment, which are closed then. Their numbers will be
// somebody else's, as the takeover socket's, so it lets in nobody from these.
func TestUsherBehindATakeoverThatFailed(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := gateway.DefaultConfig()
	cfg.Dev, cfg.Listen, cfg.Admin, cfg.Data = true, "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	cfg.Drain.Window = 0
	first, stop, ended := runs(t, cfg)
	heir := exec.Command(program)
	heir.Dir, heir.Env, heir.Stderr = cfg.Data, append(os.Environ(), heirVariable+"=everything"), os.Stderr
	if err := heir.Run(); err == nil {
		t.Error("the other process ended well")
	}
	eventually(t, "the next server is there", func() bool { return first.Successor() != nil })
	if listeners, loops := first.Successor().Ushered(); len(listeners) != loops {
		t.Errorf("it lets in who waits at the listeners %d, and has %d loops", listeners, loops)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestTakeoverOfAFullServer: who connects to it meanwhile, at whatever moment, is told that it is full.
func TestTakeoverOfAFullServer(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Limits.Connections = 2 })
	var peers []*peer
	for _, user := range []string{"alice", "bob"} {
		p := login(t, srv.Addr(), wires[0], user)
		p.enter("hall")
		peers = append(peers, p)
	}
	over, told := make(chan struct{}), make(chan error, 1)
	go func() {
		ask := func() error {
			conn, err := net.DialTimeout("tcp", srv.Addr(), waitLimit)
			if err != nil {
				return err
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(waitLimit))
			if _, err := io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				return err
			}
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err == nil && response.StatusCode != http.StatusServiceUnavailable {
				err = fmt.Errorf("the answer was %s", response.Status)
			}
			return err
		}
		for n, more := 0, true; more || n < 100; n++ { // some when it serves
			select {
			case <-over:
				more = false
			default:
				n = 0
			}
			if err := ask(); err != nil {
				told <- err
				return
			}
		}
		told <- nil
	}()
	gatewaytest.TakeOver(srv)
	close(over)
	if err := <-told; err != nil {
		t.Errorf("somebody was not told that the server is full: %v", err)
	}
	peers[0].answer(peers[0].publish("hall", "", "hello"))
	if m := peers[1].must().GetMessage(); m.GetText() != "hello" {
		t.Errorf("behind the takeover came %v", m)
	}
}
