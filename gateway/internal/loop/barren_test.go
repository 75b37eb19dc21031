package loop

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"rookery/proto"
)

// TestRecordsWithoutDataEndTheirConnection: what the kernel took from a socket and gave to nobody is bounded in a time, whoever sends it; what it
// gave is not, in records as short as may be. A test reads from the socket in the kernel's place.
func TestRecordsWithoutDataEndTheirConnection(t *testing.T) {
	const ofAByte = recordBytes + 1
	for _, c := range []struct {
		name           string
		bytes, given   int  // of records, and of data that the loop worked off
		unread         int  // of data that waits
		again          bool // as many bytes of records come once more
		apart          time.Duration
		denied, closed bool
	}{
		{name: "a byte in each record", bytes: 4 * barrenBytes, given: 4 * barrenBytes / ofAByte},
		{name: "a byte in each, and half a message", bytes: 4 * barrenBytes, unread: 4 * barrenBytes / ofAByte},
		{name: "as much as may be", bytes: barrenBytes},
		{name: "more", bytes: barrenBytes + 1, denied: true, closed: true},
		{name: "more by and by", bytes: barrenBytes, again: true, apart: barrenTime / 2, denied: true, closed: true},
		{name: "twice as much as may be in twice the time", bytes: barrenBytes, again: true, apart: barrenTime},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, nil)
			s := r.open(true, proto.Binary)
			conn := s.context.(*conn)
			here, there := tcpPair(t)
			file, err := here.File()
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			s.file = file
			s.safe = &origin{weight: &weight{}}
			conn.kernel = true
			send := func() {
				go there.Write(bytes.Repeat([]byte("x"), c.bytes))
				if _, err := io.CopyN(io.Discard, here, int64(c.bytes)); err != nil {
					t.Fatal(err)
				}
			}
			r.loop.inspect(conn)
			send()
			conn.given(c.given)
			s.in = make([]byte, c.unread)
			r.loop.inspect(conn)
			if c.again {
				r.loop.now = r.loop.now.add(c.apart)
				conn.heard = r.loop.now
				r.loop.inspect(conn)
				send()
				r.loop.inspect(conn)
			}
			if n := r.loop.counted.Denied[deniedTLS].Load(); (n == 1) != c.denied || s.closed != c.closed {
				t.Errorf("it is denied %d times, closed: %v", n, s.closed)
			}
		})
	}
}

// tcpPair gives two sockets that are connected with each other.
func tcpPair(t *testing.T) (here, there *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	there = dial(t, l.Addr().String()).(*net.TCPConn)
	t.Cleanup(func() { there.Close() })
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	return accepted.(*net.TCPConn), there
}
