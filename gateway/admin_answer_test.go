package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rookery/gateway/internal/accept/accepttest"
)

// closing tells when it was closed.
type closing struct {
	net.Conn
	at chan time.Time
}

func (c closing) Close() error {
	select {
	case c.at <- time.Now():
	default: // not the first time
	}
	return c.Conn.Close()
}

// asked has one request answered by a handler behind bounded. It gives the client's end of the connection, and when the other one was closed.
func asked(t *testing.T, handler http.HandlerFunc) (conn net.Conn, closed <-chan time.Time) {
	here, there := net.Pipe()
	at := make(chan time.Time, 1)
	server := &http.Server{Handler: bounded(adminBodyTime, handler)}
	go server.Serve(accepttest.One(closing{there, at}))
	t.Cleanup(func() { server.Close() })
	fmt.Fprint(here, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	return here, at
}

// TestAnswersHaveToBeTaken: one that is large, and one that net/http keeps back until the handler has ended.
func TestAnswersHaveToBeTaken(t *testing.T) {
	for name, size := range map[string]int{"large": 1 << 20, "small": 100, "empty": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				_, closed := asked(t, func(w http.ResponseWriter, _ *http.Request) {
					if size > 0 {
						w.Write(make([]byte, size))
					}
				})
				select {
				case at := <-closed:
					if at.Sub(begun) != answerTime {
						t.Errorf("it was closed after %v, want %v", at.Sub(begun), answerTime)
					}
				case <-time.After(time.Hour):
					t.Error("it is open after an hour")
				}
			})
		})
	}
}

// TestAnswersMayTakeLong: one that is taken slowly, and one that comes seldom.
func TestAnswersMayTakeLong(t *testing.T) {
	const size = 1 << 20
	for name, c := range map[string]struct{ between, before time.Duration }{
		"slow reader": {between: answerTime * 2 / 3},
		"slow writer": {before: 3 * answerTime},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, _ := asked(t, func(w http.ResponseWriter, _ *http.Request) {
					for range 2 {
						time.Sleep(c.before)
						if n, err := w.Write(make([]byte, size/2)); n != size/2 || err != nil {
							t.Errorf("after %d bytes: %v", n, err)
						}
					}
				})
				res, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil)
				if err != nil {
					t.Fatal(err)
				}
				taken, piece := 0, make([]byte, answerPiece)
				for err == nil {
					var n int
					n, err = io.ReadFull(res.Body, piece)
					taken += n
					time.Sleep(c.between)
				}
				if taken != size || err != io.EOF {
					t.Errorf("%d bytes came, then %v", taken, err)
				}
			})
		})
	}
}

// TestStrangersWriteOneLine, however often their handshakes fail; what is ours is always written.
func TestStrangersWriteOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		faults := &adminFaults{log: slog.New(slog.NewTextHandler(&said, nil))}
		for range 3 {
			fmt.Fprintln(faults, "http: TLS handshake error from 192.0.2.1:1: EOF")
			fmt.Fprintln(faults, "http: panic serving 192.0.2.1:1: a fault")
		}
		if handshakes, panics := strings.Count(said.String(), "handshake"), strings.Count(said.String(), "panic"); handshakes != 1 || panics != 3 {
			t.Errorf("%d and %d lines, want 1 and 3:\n%s", handshakes, panics, &said)
		}
	})
}
