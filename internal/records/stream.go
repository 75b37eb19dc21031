// Package records is TLS for a connection of an event loop. The handshake waits for the peer, so a goroutine makes it, before
// the loop has the connection; crypto/tls does all of it. Afterwards a Stream opens and seals records without ever waiting: it is
// given bytes and gives bytes, and the sockets are the loop's.
//
// crypto/tls goes on without blocking if what it reads from says "nothing more now" with a net.Error that is temporary: it keeps
// what is half and can be asked again. That is how package tls treats its connection since Go 1.0, and Stream's test is what notices
// if it ever ends.
package records

import (
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"time"
)

const (
	headerBytes = 5
	// What a header begins with, RFC 8446 5.1: change_cipher_spec to application_data, then the version, 3.something in all of TLS.
	firstType, lastType, majorVersion = 20, 23, 3
	// mostBytes is the longest record that may be read: RFC 8446 5.2 allows 256 bytes over the plaintext, RFC 5246 6.2.3 allows 2,048.
	mostBytes = 16<<10 + 2048
	// plainBytes is the longest plaintext of a record, RFC 8446 5.1.
	plainBytes = 16 << 10
	// handshakeBytes bounds what a peer sends before its handshake is over, of which a hello is the most, with a ticket and keys.
	handshakeBytes = 64 << 10
	// barrenBytes bounds the records behind which crypto/tls has given no plaintext: it gathers messages of a handshake until they are
	// whole, up to 256 KiB, and after the handshake a client of ours sends at most an update of keys, and a server some tickets.
	barrenBytes = 32 << 10
	// halfBytes is from where on such records count as half a message, so that an honest update of keys starts no time limit.
	halfBytes = 1 << 10
)

var (
	errHandshakeLong = errors.New("a handshake of TLS is longer than 64 KiB")
	errBarren        = errors.New("32 KiB of records held nothing but pieces of messages for TLS itself")
	errHeader        = errors.New("a record's header is none")
)

// Stream is the TLS of one connection. First Handshake, on any goroutine; then it belongs to the loop that has the connection.
type Stream struct {
	tls  *tls.Conn
	wire wire
	// Plain is what was opened and not worked off, between two turns: half a frame, half a head. It is the loop's.
	Plain []byte
}

// Handshake makes the server's side of a handshake. It reads not one byte beyond, so that what follows is still in the socket.
// Deadlines are the caller's to set on conn, and conn is the caller's to close when there is an error.
func Handshake(conn net.Conn, config *tls.Config) (*Stream, error) {
	return handshake(conn, config, tls.Server)
}

// HandshakeClient is Handshake for the client's side.
func HandshakeClient(conn net.Conn, config *tls.Config) (*Stream, error) {
	return handshake(conn, config, tls.Client)
}

func handshake(conn net.Conn, config *tls.Config, side func(net.Conn, *tls.Config) *tls.Conn) (*Stream, error) {
	s := &Stream{wire: wire{conn: conn}}
	s.tls = side(&s.wire, config)
	if err := s.tls.Handshake(); err != nil {
		return nil, err
	}
	s.wire.conn = nil
	s.wire.shown = s.tls.ConnectionState().Version < tls.VersionTLS13
	return s, nil
}

// State says what was agreed.
func (s *Stream) State() tls.ConnectionState { return s.tls.ConnectionState() }

// Whole is how many bytes at the front of in can be opened: records that are whole, or all of it if its end is none. Half a
// record stays where it is: crypto/tls would keep room for the longest.
func Whole(in []byte) (n int) {
	for len(in)-n >= headerBytes {
		size := int(in[n+3])<<8 | int(in[n+4])
		if size > mostBytes || in[n] < firstType || in[n] > lastType || in[n+1] != majorVersion {
			return len(in) // an error to be found by who opens it
		}
		if len(in)-n < headerBytes+size {
			break
		}
		n += headerBytes + size
	}
	return n
}

// Open appends the plaintext of whole records to dst. The error io.EOF is the peer's orderly end; after any error nothing more can
// be opened. What Owed gives then is to be sent also after an error.
func (s *Stream) Open(dst, in []byte) ([]byte, error) {
	s.wire.in = in
	defer func() { s.wire.in = nil }()
	for {
		dst = slices.Grow(dst, min(plainBytes, max(512, len(s.wire.in))))
		n, err := s.tls.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if n > 0 && !s.wire.shown {
			s.wire.barren = 0 // RFC 8446 5.1: nothing stands between the pieces of a message, so none is gathered
		}
		switch {
		case errors.Is(err, errNothingNow):
			return dst, nil
		case err != nil:
			return dst, err
		}
	}
}

// Half reports whether a message for TLS itself has begun and its rest did not come, of which the plaintext shows nothing.
func (s *Stream) Half() bool { return s.wire.barren > halfBytes }

// Owed takes what TLS has to send by itself after Open: an alert, or the answer to an update of keys.
func (s *Stream) Owed() []byte {
	out := s.wire.out
	s.wire.out = nil
	return out
}

// Seal appends b in records to dst.
func (s *Stream) Seal(dst, b []byte) ([]byte, error) {
	s.wire.out = dst
	_, err := s.tls.Write(b)
	return s.Owed(), err
}

// End gives the record that says that nothing more follows, close_notify, once; then nothing.
func (s *Stream) End() []byte {
	_ = s.tls.CloseWrite() // it is written to memory
	return s.Owed()
}

// wire is the connection as crypto/tls sees it.
type wire struct {
	conn  net.Conn // while the handshake goes on
	total int      // bytes from conn
	left  int      // of the record that is being read
	head  [headerBytes]byte
	had   int   // bytes of head
	kept  *kept // nil: nobody is to have the keys

	in     []byte // then: what is being opened
	out    []byte // what waits to be taken
	shown  bool   // the header of a record shows whether it is data: before TLS 1.3
	barren int    // bytes of records since the last plaintext; where it is shown, of all records that are no data
}

// errNothingNow has crypto/tls keep its state.
var errNothingNow net.Error = nothingNow{}

type nothingNow struct{}

func (nothingNow) Error() string   { return "nothing more to read now" }
func (nothingNow) Timeout() bool   { return true }
func (nothingNow) Temporary() bool { return true }

func (w *wire) Read(b []byte) (int, error) {
	if w.conn != nil {
		return w.readRecord(b)
	}
	switch {
	case len(w.in) == 0 && w.left > 0:
		return 0, errHeader // Whole lets nothing else through that is not whole
	case len(w.in) == 0:
		return 0, errNothingNow
	case w.left == 0:
		if w.begin(); w.barren > barrenBytes {
			return 0, errBarren
		}
	}
	n := copy(b, w.in[:min(w.left, len(w.in))])
	w.in, w.left = w.in[n:], w.left-n
	return n, nil
}

// begin is at the front of a record. Of one record only is given at a time, so that what is counted is what crypto/tls has seen.
func (w *wire) begin() {
	const applicationData = 23
	w.left = headerBytes
	if len(w.in) >= headerBytes {
		w.left += int(w.in[3])<<8 | int(w.in[4])
	}
	if !w.shown || w.in[0] != applicationData {
		w.barren += min(w.left, len(w.in))
	}
}

// readRecord reads from the socket, of a handshake of any length no more than its bound, and never into the record behind the one that crypto/tls wants to see: it would read ahead, and
// whoever has the socket next would miss that.
func (w *wire) readRecord(b []byte) (int, error) {
	most := w.left
	if most == 0 {
		most = headerBytes - w.had
	}
	if w.total > handshakeBytes {
		return 0, errHandshakeLong
	}
	n, err := w.conn.Read(b[:min(len(b), most)])
	w.total += n
	if w.left > 0 {
		w.left -= n
		return n, err
	}
	w.had += copy(w.head[w.had:], b[:n])
	if w.had == headerBytes {
		w.had, w.left = 0, int(w.head[3])<<8|int(w.head[4])
	}
	return n, err
}

func (w *wire) Write(b []byte) (int, error) {
	if w.conn != nil {
		if w.kept != nil {
			w.kept.note(b)
		}
		return w.conn.Write(b)
	}
	w.out = append(w.out, b...)
	return len(b), nil
}

// Close is not how a connection of a loop ends.
func (w *wire) Close() error { return nil }

func (w *wire) LocalAddr() net.Addr  { return w.address(net.Conn.LocalAddr) }
func (w *wire) RemoteAddr() net.Addr { return w.address(net.Conn.RemoteAddr) }

func (w *wire) address(of func(net.Conn) net.Addr) net.Addr {
	if w.conn == nil {
		return nil
	}
	return of(w.conn)
}

// Deadlines have no meaning for memory, and those of the handshake are set on the socket itself.
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
