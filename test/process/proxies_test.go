package process

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rookery/internal/porttest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// times are those of an idle connection.
type times struct{ heartbeat, proxyTimeout string }

// The shipped configurations are run as they are, but for what a test's machine has not: certificate, ports, the place of the socket.
// Where a connection is to be idle all times are a tenth, the server's heartbeat among them, so that the test does not sit for
// minutes: the 60 s of nginx and 50 s of Debian's haproxy.cfg, which end a connection that is idle for longer, would be 6 s and 5 s.
var (
	asShipped = times{"25s", "75s"}
	aTenth    = times{"2500ms", "7500ms"}
)

// scaledIdle is longer than all of a tenth.
const scaledIdle = 8 * time.Second

// proxied is a server and the two proxies in front of it.
type proxied struct {
	*server
	nginx, nginxStream, haproxy string // addresses
	socket                      string
	roots                       *tls.Config
	dir                         string // of the files of both
}

// strayProxy is the address of a trusted proxy that is none of the two.
const strayProxy = "127.0.0.100"

// startProxied starts all three; flags are more of the server's.
func startProxied(t *testing.T, by times, flags ...string) *proxied {
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	// The plain binary: of thousands of connections the race detector would make most of the work.
	s := start(t, launch{binary: plainBinary, data: filepath.Join(dir, "data"), flags: append([]string{
		"--proxy.socket", socket, "--proxy.protocol", "optional", "--proxy.trusted", strayProxy, "--heartbeat", by.heartbeat,
	}, flags...)})
	certificate, key, roots := certify(t, dir)
	p := &proxied{server: s, socket: socket, roots: roots, dir: dir, nginx: porttest.FreeAddress(t), nginxStream: porttest.FreeAddress(t), haproxy: porttest.FreeAddress(t)}
	_, adminPort, _ := net.SplitHostPort(s.admin)
	common := []string{
		"/run/rookery/socket", socket, asShipped.proxyTimeout, by.proxyTimeout,
		"/etc/ssl/rookery/fullchain.pem", certificate, "/etc/ssl/rookery/privkey.pem", key,
	}
	// Root's worker must reach root's socket.
	user := ""
	if os.Getuid() == 0 {
		user = "user root root;"
	}
	write(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`
%s
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
worker_processes 1; worker_rlimit_nofile 8000; pid %s/nginx.pid; error_log stderr;
events { worker_connections 6000; }
http {
	access_log off;
	client_body_temp_path %[2]s/body; proxy_temp_path %[2]s/proxy; fastcgi_temp_path %[2]s/fastcgi;
	uwsgi_temp_path %[2]s/uwsgi; scgi_temp_path %[2]s/scgi;
	include rookery.conf;
}
stream { include rookery-stream.conf; }
`, user, dir))
	write(t, filepath.Join(dir, "rookery.conf"), adapt(t, "../../deploy/nginx/rookery.conf",
		append(common, "listen 443 ssl", "listen "+p.nginx+" ssl", "    listen [::]:443 ssl;\n", alsoIPv6("    listen %s ssl;\n", p.nginx))...))
	write(t, filepath.Join(dir, "rookery-stream.conf"), adapt(t, "../../deploy/nginx/rookery-stream.conf",
		append(common, "listen 8443 ssl", "listen "+p.nginxStream+" ssl", "    listen [::]:8443 ssl;\n", alsoIPv6("    listen %s ssl;\n", p.nginxStream))...))
	write(t, filepath.Join(dir, "haproxy.cfg"), adapt(t, "../../deploy/haproxy/haproxy.cfg",
		"/run/rookery/socket", socket, asShipped.proxyTimeout, by.proxyTimeout, "/etc/ssl/rookery/haproxy.pem", filepath.Join(dir, "haproxy.pem"),
		":443,[::]:443 v6only", p.haproxy+alsoIPv6(",%s v6only", p.haproxy), "port 9090", "port "+adminPort, "maxconn 50000", "maxconn 5000"))

	nginx := []string{"/usr/sbin/nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr"}
	haproxy := []string{"/usr/sbin/haproxy", "-f", filepath.Join(dir, "haproxy.cfg")}
	mustPass(t, append(nginx, "-t")...)
	mustPass(t, append(haproxy, "-c")...)
	runProxy(t, append(nginx, "-g", "daemon off;")...)
	runProxy(t, append(haproxy, "-db")...)
	for _, address := range []string{p.nginx, p.nginxStream, p.haproxy} {
		awaitListener(t, address)
	}
	return p
}

// dialFrom opens a connection of a client at an address through a proxy, with TLS, or to the server itself without. first is
// sent before all else.
func (p *proxied) dialFrom(client, to string, by transport, first string) (*peer, error) {
	dialer := &net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}}
	var conn net.Conn
	var err error
	if to == p.address {
		conn, err = dialer.Dial("tcp", to)
	} else {
		conn, err = tls.DialWithDialer(dialer, "tcp", to, p.roots)
	}
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, first); err != nil {
		conn.Close()
		return nil, err
	}
	made := newPeer(conn, by)
	if by == webSocket && strings.HasPrefix(first, "GET ") {
		res, err := http.ReadResponse(made.in, nil)
		if err == nil && res.StatusCode != http.StatusSwitchingProtocols {
			err = &refusedError{status: res.StatusCode}
		}
		if err != nil {
			conn.Close()
			return nil, err
		}
		return made, nil
	}
	if err := made.open("chat.example.com"); err != nil {
		conn.Close()
		return nil, err
	}
	return made, nil
}

// dialProxy opens a connection to the server as a proxy does.
func dialProxy(t *testing.T, network, address string) net.Conn {
	t.Helper()
	dialer := net.Dialer{Timeout: patience}
	if network == "tcp" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(strayProxy)}
	}
	conn, err := dialer.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// way is one through a proxy.
type way struct {
	name, address string
	by            transport
}

func (p *proxied) ways() []way {
	return []way{
		{"nginx", p.nginx, webSocket}, {"nginx stream", p.nginxStream, rawTCP}, {"nginx stream", p.nginxStream, webSocket},
		{"haproxy", p.haproxy, rawTCP}, {"haproxy", p.haproxy, webSocket},
	}
}

const upgradeWith = "GET /ws HTTP/1.1\r\nHost: chat.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: rookery.v1.proto\r\n"

// TestProxies: through the real nginx and HAProxy with the shipped configurations.
func TestProxies(t *testing.T) {
	t.Parallel()
	p := startProxied(t, aTenth, "--drain.window", "100ms")
	idle, served := p.beIdle(t)
	t.Run("addresses", func(t *testing.T) {
		const spoofed = "X-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\n\r\n"
		const header = "PROXY TCP4 203.0.113.9 198.51.100.1 1 2\r\n"
		last := 10
		var clients []string
		// denied has a client of its own address turned away, and finds that in the log.
		denied := func(name, to string, by transport, first, reason string) {
			t.Helper()
			last++
			client := fmt.Sprint("127.0.0.", last)
			clients = append(clients, client)
			made, err := p.dialFrom(client, to, by, first)
			if err == nil {
				made.send(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{}}}) // without a name, refused
				made.ended()
				made.conn.Close()
			}
			p.mustLog(t, name, "address="+client+" reason="+reason)
		}
		for _, way := range p.ways() {
			denied(way.name, way.address, way.by, "", "bad_token")
		}
		denied("spoofed to nginx", p.nginx, webSocket, upgradeWith+spoofed, "bad_token")
		denied("spoofed through nginx stream", p.nginxStream, webSocket, upgradeWith+spoofed, "bad_token")
		denied("spoofed through haproxy", p.haproxy, webSocket, upgradeWith+spoofed, "bad_token")
		denied("spoofed to the server", p.address, webSocket, upgradeWith+spoofed, "bad_token")
		denied("a second header through nginx stream", p.nginxStream, rawTCP, header, "bad_handshake")
		denied("a second header through haproxy", p.haproxy, rawTCP, header, "bad_handshake")
		denied("a header to the server", p.address, rawTCP, header, "bad_handshake")
		if made, err := p.dialFrom("127.0.0.9", p.nginx, webSocket, header); err == nil { // nginx itself says no
			made.conn.Close()
			t.Error("nginx let a PROXY header pass")
		}
		// What a proxy says itself is in the log, but nothing bans it.
		for from, reason := range map[net.Conn]string{
			dialProxy(t, "unix", p.socket): "address=unknown reason=bad_handshake",
			dialProxy(t, "tcp", p.address): "proxy=" + strayProxy,
		} {
			io.WriteString(from, "EHLO x\r\n")
			p.mustLog(t, "a proxy", reason)
		}
		lines := whole(p.log())
		found := matched(t, lines, "")
		slices.Sort(found)
		slices.Sort(clients)
		if !slices.Equal(found, clients) {
			t.Errorf("fail2ban finds %q, want the clients %q", found, clients)
		}
		if log := strings.Join(lines, "\n"); strings.Contains(log, "203.0.113.9") {
			t.Errorf("a spoofed address is in the log:\n%s", log)
		}
	})

	t.Run("chains", p.testChains)
	t.Run("idle", served)

	// Last, since it ends the server: what it says at its end reaches every client.
	t.Run("drain", func(t *testing.T) {
		if err := p.signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		for i, way := range p.ways() {
			told := false
			var end *closeError
			for {
				f, err := idle[i].next()
				if err != nil {
					errors.As(err, &end)
					break
				}
				told = told || f.GetGoaway() != nil
			}
			if !told || end == nil || end.code != proto.CloseDraining.Code {
				t.Errorf("through %s by %s: told to go %v, then %v", way.name, way.by, told, end)
			}
		}
		if err := p.wait(patience); err != nil {
			t.Errorf("the server ended with %v", err)
		}
		if _, err := os.Lstat(p.socket); err == nil {
			t.Error("the socket is still there")
		}
	})
}

// TestThousandsThroughProxies: as many as two clients may have, through each, and no more.
func TestThousandsThroughProxies(t *testing.T) {
	t.Parallel()
	// They have no session, and are to stay for as long as it takes.
	p := startProxied(t, asShipped, "--limits.connections-per-ip", "1000", "--limits.handshake-timeout", "5m")
	for _, way := range []string{p.nginx, p.haproxy} {
		p.holdThousands(t, way)
	}
}

// beIdle has a client through each way join a room and say nothing from then on. served is to be called when the rest is done: when
// they have been idle for longer than scaledIdle, they are told something.
func (p *proxied) beIdle(t *testing.T) (peers []*peer, served func(t *testing.T)) {
	t.Helper()
	const last = "after a long time"
	ways := p.ways()
	ends := make([]chan error, len(ways))
	for i, way := range ways {
		made, err := p.dialFrom("127.0.0.2", way.address, way.by, "")
		if err != nil {
			t.Fatalf("%s: %v", way.name, err)
		}
		t.Cleanup(func() { made.conn.Close() })
		if _, err := made.ask(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: fmt.Sprint("idle-", i)}}}); err != nil {
			t.Fatalf("%s: %v", way.name, err)
		}
		if err := made.enter("quiet"); err != nil {
			t.Fatal(err)
		}
		ends[i] = make(chan error, 1)
		go func() { ends[i] <- made.idle(last) }()
		peers = append(peers, made)
	}
	begun := time.Now()
	return peers, func(t *testing.T) {
		time.Sleep(time.Until(begun.Add(scaledIdle)))
		writer, err := login(p.address, rawTCP, "writer")
		if err != nil {
			t.Fatal(err)
		}
		defer writer.conn.Close()
		if _, err := writer.ask(publishRequest("quiet", "", last)); err != nil {
			t.Fatal(err)
		}
		for i, way := range ways {
			if err := <-ends[i]; err != nil {
				t.Errorf("through %s by %s it ended while it was idle: %v", way.name, way.by, err)
			}
		}
	}
}

// idle reads until it is told a text. It answers heartbeats, as any client does, and says nothing else.
func (p *peer) idle(last string) error {
	for {
		f, err := p.next()
		if err != nil {
			return err
		}
		if f.GetMessage().GetText() == last {
			return nil
		}
		if f.GetPing() != nil {
			p.send(&v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
		}
	}
}

// holdThousands opens 2,000 connections of two clients, which is as many as each may have, and then one more.
func (p *proxied) holdThousands(t *testing.T, way string) {
	t.Helper()
	const each = 1000
	clients := []string{"127.0.0.4", "127.0.0.5"}
	var mu sync.Mutex // guards open
	var open []*peer
	defer func() {
		for _, made := range open {
			made.conn.Close()
		}
		p.await(t, "the connections are gone", func() bool { return p.metric(t, "rookery_connections", "") < each })
	}()
	var dialing sync.WaitGroup
	work := make(chan string)
	for range 32 {
		dialing.Go(func() {
			for client := range work {
				made, err := p.dialFrom(client, way, webSocket, upgradeWith+"\r\n")
				if err != nil {
					t.Errorf("a connection of %s: %v", client, err)
					continue
				}
				mu.Lock()
				open = append(open, made)
				mu.Unlock()
			}
		})
	}
	for range each {
		for _, client := range clients {
			work <- client
		}
	}
	close(work)
	dialing.Wait()
	for _, client := range clients {
		if made, err := p.dialFrom(client, way, webSocket, upgradeWith+"\r\n"); err == nil {
			made.conn.Close()
			t.Errorf("%s has one connection more than a client may", client)
		} else if refused, ok := err.(*refusedError); !ok || refused.status != http.StatusServiceUnavailable {
			t.Errorf("one more of %s: %v", client, err)
		}
	}
	if made, err := p.dialFrom("127.0.0.6", way, webSocket, upgradeWith+"\r\n"); err != nil {
		t.Errorf("another client: %v", err)
	} else {
		made.conn.Close()
	}
}
