package gateway_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// dialWire opens a connection of a test's own.
func dialWire(t testing.TB, addr string, w wire) (conn net.Conn, err error) {
	dialer := &net.Dialer{Timeout: waitLimit}
	if w.buffer > 0 {
		// Before the connection is made, when its window is agreed. With a buffer that becomes smaller later the server's kernel may send what
		// this one has no room for any more. It is dropped, and sent again after as long as the peer had not read before: whatever the server does.
		dialer.Control = func(_, _ string, raw syscall.RawConn) error {
			var refused error
			err := raw.Control(func(fd uintptr) { refused = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, w.buffer) })
			return errors.Join(err, refused)
		}
	}
	if w.secure {
		conn, err = tls.DialWithDialer(dialer, "tcp", addressWithTLS(addr), &tls.Config{InsecureSkipVerify: true}) // certificates have tests of their own
	} else {
		conn, err = dialer.Dial("tcp", addr)
	}
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(waitLimit))
	return conn, nil
}

// dialPlain opens a TCP connection and sends first.
func dialPlain(t testing.TB, addr, first string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, waitLimit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(waitLimit))
	if _, err := io.WriteString(conn, first); err != nil {
		t.Fatal(err)
	}
	return conn
}

// upgrade opens a WebSocket without a subprotocol.
func upgrade(t testing.TB, addr, path string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn := dialPlain(t, addr, fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path, addr))
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade was answered with %s", res.Status)
	}
	return conn, in
}
