package gateway_test

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

const (
	fin  = 0x80
	rsv1 = 0x40
	rsv2 = 0x20
	rsv3 = 0x10

	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xa

	// FIN with opcode 0: the last fragment.
	lastFragment = fin
)

// patience is for a server that never answers. No case waits for it when all is well.
const patience = 10 * time.Second

var mask = [4]byte{0x9b, 0x01, 0xfe, 0x60}

// sent is a masked frame; first holds FIN, the reserved bits and the opcode.
func sent(first byte, payload string) []byte {
	return sentAs(first, lengthField(len(payload)), mask, payload)
}

// sentAs lets the length field say something else than the payload's length.
func sentAs(first byte, length []byte, mask [4]byte, payload string) []byte {
	out := make([]byte, 0, 14+len(payload))
	out = append(out, first, length[0]|0x80)
	out = append(out, length[1:]...)
	out = append(out, mask[:]...)
	for i := range len(payload) {
		out = append(out, payload[i]^mask[i%4])
	}
	return out
}

func lengthField(size int) []byte {
	switch {
	case size <= 125:
		return []byte{byte(size)}
	case size <= 0xffff:
		return length16(size)
	}
	return length64(uint64(size))
}

func length16(size int) []byte { return binary.BigEndian.AppendUint16([]byte{126}, uint16(size)) }

func length64(size uint64) []byte { return binary.BigEndian.AppendUint64([]byte{127}, size) }

func all(frames ...[]byte) (stream []byte) {
	for _, frame := range frames {
		stream = append(stream, frame...)
	}
	return stream
}

func closeBody(code uint16, reason string) []byte {
	if code == 1005 {
		return nil
	}
	return append(binary.BigEndian.AppendUint16(nil, code), reason...)
}

// frame is what the server has sent.
type frame struct {
	op      byte
	payload string
}

func echoed(op byte, payload string) frame { return frame{op, payload} }

func (f frame) String() string {
	if len(f.payload) > 60 {
		return fmt.Sprintf("opcode %d, %d bytes %.60q…", f.op, len(f.payload), f.payload)
	}
	return fmt.Sprintf("opcode %d, %q", f.op, f.payload)
}

// client is the peer of the gateway. Its methods end the test when something is wrong.
type client struct {
	t     testing.TB
	conn  halfCloser
	tcp   *net.TCPConn // conn, or what is under its TLS
	in    *bufio.Reader
	where string // in front of messages
	syncs int
}

// halfCloser is what *net.TCPConn and *tls.Conn have in common.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// dial opens a socket; Go sets TCP_NODELAY, so each write leaves by itself. In front of the address of a port with TLS stands "tls:".
func dial(t testing.TB, addr string) *client {
	t.Helper()
	plain, secure := strings.CutPrefix(addr, "tls:")
	tcp, err := net.Dial("tcp", plain)
	if err != nil {
		t.Fatal(err)
	}
	conn := tcp.(halfCloser)
	if secure {
		conn = tls.Client(tcp, &tls.Config{InsecureSkipVerify: true})
	}
	t.Cleanup(func() { _ = tcp.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, conn: conn, tcp: tcp.(*net.TCPConn), in: bufio.NewReader(conn)}
}

// dialEcho is a client whose handshake is done.
func dialEcho(t testing.TB, addr string) *client {
	t.Helper()
	c := dial(t, addr)
	c.write([]byte(handshake()))
	if response := c.readResponse(); response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %s", response.Status)
	}
	return c
}

// write doesn't look at the error: a server that has seen enough may have closed. What
// counts is what it sends.
func (c *client) write(bytes []byte) {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	_, _ = c.conn.Write(bytes)
}

// writeAndSync returns when the server has seen bytes: a ping goes in front of them in
// the same write, so the server reads both at once, and its pong says that it has. So
// what is written next is a piece of its own for sure, which TCP alone never promises.
func (c *client) writeAndSync(bytes []byte) {
	c.t.Helper()
	ping := c.ping()
	c.write(all(sent(fin|opPing, ping), bytes))
	c.readPong(ping)
}

// sync shows that the connection works.
func (c *client) sync() {
	c.t.Helper()
	ping := c.ping()
	c.write(sent(fin|opPing, ping))
	c.readPong(ping)
}

func (c *client) ping() string {
	c.syncs++
	return fmt.Sprintf("sync %d", c.syncs)
}

func (c *client) readPong(ping string) {
	c.t.Helper()
	if got, want := c.read(), echoed(opPong, ping); got != want {
		c.t.Fatalf("%sthe connection should be open: frame is %v, want %v", c.where, got, want)
	}
}

func (c *client) closeWrite() { _ = c.conn.CloseWrite() }

func (c *client) readResponse() *http.Response {
	c.t.Helper()
	response, err := http.ReadResponse(c.in, &http.Request{Method: http.MethodGet})
	if err != nil {
		c.t.Fatalf("%sresponse: %v", c.where, err)
	}
	return response
}

// read reads one frame and checks what a server owes to every frame.
func (c *client) read() frame {
	c.t.Helper()
	var header [2]byte
	c.readFull(header[:])
	first, op, size := header[0], header[0]&0x0f, uint64(header[1]&0x7f)
	if header[1]&0x80 != 0 {
		c.t.Fatalf("%sserver's frame is masked (RFC 6455 5.1)", c.where)
	}
	if first&(rsv1|rsv2|rsv3) != 0 {
		c.t.Fatalf("%sserver's frame %#x has a reserved bit without an extension (RFC 6455 5.2)", c.where, first)
	}
	if first&fin == 0 {
		c.t.Fatalf("%sserver's frame %#x is a fragment: an echo leaves in one frame", c.where, first)
	}
	var extended [8]byte
	least := uint64(0)
	switch size {
	case 126:
		c.readFull(extended[6:])
		least = 126
	case 127:
		c.readFull(extended[:])
		least = 1 << 16
	}
	if least > 0 {
		size = binary.BigEndian.Uint64(extended[:])
	}
	if size < least {
		c.t.Fatalf("%sserver's length %d is not in its shortest form (RFC 6455 5.2)", c.where, size)
	}
	if size > messageLimit {
		c.t.Fatalf("%sserver's frame has %d bytes, more than was sent", c.where, size)
	}
	payload := make([]byte, size)
	c.readFull(payload)
	switch op {
	case opBinary:
	case opText:
		if !utf8.Valid(payload) {
			c.t.Fatalf("%sserver's text is not UTF-8 (RFC 6455 5.6): %q", c.where, payload)
		}
	case opClose, opPing, opPong:
		if size > 125 {
			c.t.Fatalf("%sserver's control frame has %d bytes (RFC 6455 5.5)", c.where, size)
		}
	default:
		c.t.Fatalf("%sserver's frame has opcode %d (RFC 6455 5.2)", c.where, op)
	}
	return frame{op, string(payload)}
}

func (c *client) readFull(into []byte) {
	c.t.Helper()
	if _, err := io.ReadFull(c.in, into); err != nil {
		c.t.Fatalf("%sread a frame: %v", c.where, err)
	}
}

// readClose reads a Close frame and returns its code, 1005 when it has no body.
func (c *client) readClose() uint16 {
	c.t.Helper()
	got := c.read()
	if got.op != opClose {
		c.t.Fatalf("%sframe is %v, want a Close", c.where, got)
	}
	switch {
	case got.payload == "":
		return 1005
	case len(got.payload) == 1:
		c.t.Fatalf("%sserver's Close has a body of one byte (RFC 6455 5.5.1)", c.where)
	case !utf8.ValidString(got.payload[2:]):
		c.t.Fatalf("%sreason of the server's Close is not UTF-8: %q", c.where, got.payload[2:])
	}
	return binary.BigEndian.Uint16([]byte(got.payload))
}

// readEnd wants the end of the stream, with nothing in front of it.
func (c *client) readEnd(resetToo bool) {
	c.t.Helper()
	b, err := c.in.ReadByte()
	switch {
	case err == nil:
		c.t.Fatalf("%sserver sent %#x after its Close (RFC 6455 5.5.1)", c.where, b)
	case errors.Is(err, io.EOF):
	case resetToo && errors.Is(err, syscall.ECONNRESET):
	default:
		c.t.Fatalf("%sserver did not close the connection in order (RFC 6455 7.1.1): %v", c.where, err)
	}
}
