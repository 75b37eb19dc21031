package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// oneConn is a listener that gives one connection, and then none until it is closed.
type oneConn struct {
	net.Conn
	given  bool
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if !l.given {
		l.given = true
		return l.Conn, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Addr() net.Addr { return l.LocalAddr() }

func (l *oneConn) Close() error {
	close(l.closed)
	return nil
}

// TestHalfABodyHasABound: of one that is taken, and of one that is refused in the middle, whose rest nobody wants.
func TestHalfABodyHasABound(t *testing.T) {
	for name, sent := range map[string]int{"half": 10, "too large": 1<<11 + beside + 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				here, there := net.Pipe()
				here.SetDeadline(time.Now().Add(2 * bodyTime))
				listener := &oneConn{Conn: there, closed: make(chan struct{})}
				server := &http.Server{Handler: r.api}
				go server.Serve(listener)
				defer server.Close()
				go func() {
					fmt.Fprintf(here, "POST /v1/rooms HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
						strings.ReplaceAll(secret, " ", "-"), sent+1, strings.Repeat(" ", sent))
				}()
				in := bufio.NewReader(here)
				res, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil {
					t.Error(err)
				}
				if res.StatusCode != http.StatusBadRequest && res.StatusCode != http.StatusRequestEntityTooLarge {
					t.Errorf("it was answered %s", res.Status)
				}
				if _, err := in.ReadByte(); err != io.EOF {
					t.Errorf("the connection is open: %v", err)
				}
			})
		})
	}
}
