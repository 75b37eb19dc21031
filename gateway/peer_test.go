package gateway_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// waitLimit is how long a test waits for what must come. It is no measure: a slow machine
// only makes a failing test slow. Some peers shrink their buffers when they are connected: what the kernel drops then is sent again
// after as long as nobody read, whatever the server does.
const waitLimit = time.Minute

// wire is how a peer speaks.
type wire struct {
	name   string
	stream bool
	codec  proto.Codec
	secure bool // with TLS: only in eachWire, which knows the address
	events bool // Server-Sent Events and POST, see events_peer_test.go
	buffer int  // bytes that the peer's kernel keeps for who does not read; 0: as many as it likes
}

var wires = []wire{
	{name: "websocket binary", codec: proto.Binary},
	{name: "websocket json", codec: proto.JSON},
	{name: "raw tcp", stream: true, codec: proto.Binary},
}

// overEvents is how a peer speaks where a network lets no WebSocket through.
var overEvents = wire{name: "events", codec: proto.JSON, events: true}

// everyWire are all without TLS.
var everyWire = append(slices.Clone(wires), overEvents)

// secureWires are those of eachWire beside.
var secureWires = []wire{
	{name: "websocket json with tls", codec: proto.JSON, secure: true},
	{name: "raw tcp with tls", stream: true, codec: proto.Binary, secure: true},
	{name: "events with tls", codec: proto.JSON, secure: true, events: true},
}

// peer is a client of the tests' own: it shows every frame as it comes and does nothing by
// itself. For one goroutine.
type peer struct {
	t      testing.TB
	conn   net.Conn
	in     *bufio.Reader
	wire   wire
	nextID uint64
	queue  []*v1.ServerFrame // of a WebSocket message that held several
	stream *stream           // of events
}

// open makes a connection without a connect request.
func open(t testing.TB, addr string, w wire) *peer {
	t.Helper()
	p, err := tryOpen(t, addr, w)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tryOpen(t testing.TB, addr string, w wire) (*peer, error) {
	if w.events {
		return openStream(t, addr, w, "/events", "")
	}
	conn, err := dialWire(t, addr, w)
	if err != nil {
		return nil, err
	}
	p := &peer{t: t, conn: conn, in: bufio.NewReader(conn), wire: w}
	if w.stream {
		_, err := io.WriteString(conn, "ROOKERY\x01")
		return p, err
	}
	protocol := proto.SubprotocolBinary
	if w.codec == proto.JSON {
		protocol = proto.SubprotocolJSON
	}
	fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: %s\r\n\r\n", addr, protocol)
	res, err := http.ReadResponse(p.in, nil)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("upgrade answered with %s, Retry-After %q", res.Status, res.Header.Get("Retry-After"))
	}
	return p, nil
}

// login opens an authenticated connection.
func login(t testing.TB, addr string, w wire, name string) *peer {
	t.Helper()
	p := open(t, addr, w)
	p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: name}}})
	if p.must().GetConnected().GetUser() != name {
		t.Fatalf("%s was not connected", name)
	}
	return p
}

// request sends a frame with the next id, which it returns.
func (p *peer) request(f *v1.ClientFrame) uint64 {
	p.t.Helper()
	p.nextID++
	f.Id = p.nextID
	if err := p.send(f); err != nil {
		p.t.Fatalf("send: %v", err)
	}
	return f.Id
}

func (p *peer) send(f *v1.ClientFrame) error {
	return p.sendBytes(proto.AppendClientFrame(nil, p.wire.codec, f))
}

// sendBytes sends what stands for frames in the stream.
func (p *peer) sendBytes(b []byte) error {
	if p.wire.events {
		return p.stream.post(b)
	}
	p.conn.SetWriteDeadline(time.Now().Add(waitLimit))
	if p.wire.stream {
		_, err := p.conn.Write(b)
		return err
	}
	op := ws.OpBinary
	if p.wire.codec == proto.JSON {
		op = ws.OpText
	}
	return ws.WriteFrame(p.conn, ws.MaskFrame(ws.NewFrame(op, true, bytes.Clone(b))))
}

func (p *peer) join(room string, after *uint64, epoch string) uint64 {
	p.t.Helper()
	return p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: room, After: after, Epoch: epoch}}})
}

// enter joins for live messages only and waits for the answer.
func (p *peer) enter(room string) *v1.Joined {
	p.t.Helper()
	p.join(room, nil, "")
	j := p.must().GetJoined()
	if j == nil {
		p.t.Fatalf("join of %s was not answered with joined", room)
	}
	return j
}

func (p *peer) publish(room, key, text string) uint64 {
	p.t.Helper()
	return p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{
		Room: room, Key: key, Content: &v1.Publish_Text{Text: text},
	}}})
}

// must returns the next frame.
func (p *peer) must() *v1.ServerFrame {
	p.t.Helper()
	f, err := p.next()
	if err != nil {
		p.t.Fatalf("wait for a frame: %v", err)
	}
	return f
}

// mustFail returns the next frame, which has to be an error of that name.
func (p *peer) mustFail(code proto.ErrorCode) *v1.Error {
	p.t.Helper()
	e := p.must().GetError()
	if e == nil || e.Name != code.Name || e.Code != code.Code || e.Retry != code.Retry || e.Message == "" {
		p.t.Fatalf("got %v, want the error %s", e, code.Name)
	}
	return e
}

// mustClose returns the code that the server ends the connection with; frames before it are
// skipped.
func (p *peer) mustClose(want proto.CloseCode) {
	p.t.Helper()
	for {
		_, err := p.next()
		var end *endError
		switch {
		case errors.As(err, &end):
			if end.code != want.Code {
				p.t.Fatalf("closed with %d %q, want %d %s", end.code, end.reason, want.Code, want.Name)
			}
			return
		case err != nil:
			p.t.Fatalf("the connection ended with %v, want close code %d %s", err, want.Code, want.Name)
		}
	}
}

// endError is the server's Close.
type endError struct {
	code   uint16
	reason string
}

func (e *endError) Error() string { return fmt.Sprintf("closed: %d %s", e.code, e.reason) }

// next reads one frame, answering pings as any WebSocket library does.
func (p *peer) next() (*v1.ServerFrame, error) {
	for len(p.queue) == 0 {
		p.conn.SetReadDeadline(time.Now().Add(waitLimit))
		if err := p.fill(); err != nil {
			return nil, err
		}
	}
	f := p.queue[0]
	p.queue = p.queue[1:]
	if c := f.GetClose(); c != nil {
		return nil, &endError{uint16(c.Code), c.Reason}
	}
	return f, nil
}

func (p *peer) fill() error {
	if p.wire.events {
		return p.readEvent()
	}
	if p.wire.stream {
		size, err := binary.ReadUvarint(p.in)
		if err != nil {
			return err
		}
		b := make([]byte, size)
		if _, err := io.ReadFull(p.in, b); err != nil {
			return err
		}
		return p.decode(b)
	}
	h, err := ws.ReadHeader(p.in)
	if err != nil {
		return err
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(p.in, payload); err != nil {
		return err
	}
	switch h.OpCode {
	case ws.OpPing:
		return ws.WriteFrame(p.conn, ws.MaskFrame(ws.NewPongFrame(payload)))
	case ws.OpClose:
		code, reason := ws.ParseCloseFrameData(payload)
		return &endError{uint16(code), reason}
	}
	for rest := payload; len(rest) > 0; {
		var frame []byte
		if frame, rest, err = proto.Next(p.wire.codec, rest); err != nil {
			return err
		}
		if err := p.decode(frame); err != nil {
			return err
		}
	}
	return nil
}

func (p *peer) decode(b []byte) error {
	f := &v1.ServerFrame{}
	if err := proto.DecodeServerFrame(f, p.wire.codec, b); err != nil {
		return err
	}
	p.queue = append(p.queue, f)
	return nil
}

func ptr[T any](v T) *T { return &v }

// eachWire runs a test over every transport and codec, against one gateway.
func eachWire(t *testing.T, f func(t *testing.T, srv *gatewaytest.Server, w wire)) {
	secure, _ := gatewaytest.Secure(t)
	srv := gatewaytest.Start(t, secure)
	secureAddrs.Store(srv.Addr(), srv.SecureAddr())
	for _, w := range append(slices.Clone(everyWire), secureWires...) {
		t.Run(w.name, func(t *testing.T) { f(t, srv, w) })
	}
}
