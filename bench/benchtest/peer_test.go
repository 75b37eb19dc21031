package benchtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The ways to speak with the server.
const (
	overBinary = "binary"
	overJSON   = "json"
	overStream = "stream"
	overRelay  = "relay" // WebSocket without a subprotocol
)

var transports = []string{overBinary, overJSON, overStream}

// patience ends a test that waits for what does not come.
const patience = 30 * time.Second

// peer is a client that takes every frame as it is, since the Go client would mend what the server does wrong.
type peer struct {
	t      *testing.T
	socket net.Conn
	in     *bufio.Reader
	codec  proto.Codec
	stream bool

	lastID     uint64
	waiting    []*v1.ServerFrame // read from one message and not yet looked at
	deliveries []*v1.Message
	replies    map[uint64]*v1.ServerFrame
	pongs      []string // of WebSocket
}

// errClosed is the server's Close, in either form.
type errClosed struct {
	code   uint16
	reason string
}

func (e *errClosed) Error() string { return fmt.Sprintf("closed with %d: %s", e.code, e.reason) }

// dial connects without saying who.
func dial(t *testing.T, s *Server, transport string) *peer {
	t.Helper()
	p, err := tryDial(t, s, transport)
	if err != nil {
		t.Fatalf("dial over %s: %v", transport, err)
	}
	return p
}

func tryDial(t *testing.T, s *Server, transport string) (*peer, error) {
	p := &peer{t: t, codec: proto.Binary, replies: map[uint64]*v1.ServerFrame{}}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if transport == overStream {
		socket, err := net.Dial("tcp", s.Addr())
		if err != nil {
			return nil, err
		}
		p.socket, p.in, p.stream = socket, bufio.NewReader(socket), true
		p.write([]byte(preface))
	} else {
		dialer := ws.Dialer{}
		switch transport {
		case overBinary:
			dialer.Protocols = []string{proto.SubprotocolBinary}
		case overJSON:
			dialer.Protocols = []string{proto.SubprotocolJSON}
			p.codec = proto.JSON
		}
		socket, in, hs, err := dialer.Dial(ctx, s.URL())
		if err != nil {
			return nil, err
		}
		if len(dialer.Protocols) > 0 && hs.Protocol != dialer.Protocols[0] {
			t.Errorf("the server chose the subprotocol %q, offered was %q", hs.Protocol, dialer.Protocols[0])
		}
		if in == nil {
			in = bufio.NewReader(socket)
		}
		p.socket, p.in = socket, in
	}
	t.Cleanup(func() { _ = p.socket.Close() })
	if err := p.socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return p, nil
}

// enter dials, connects as name and joins the room.
func enter(t *testing.T, s *Server, transport, name, room string) *peer {
	t.Helper()
	p := dial(t, s, transport)
	p.connect(name)
	if reply := p.call(join(room)); reply.GetJoined() == nil {
		t.Fatalf("%s joins %s: %v", name, room, reply)
	}
	return p
}

func (p *peer) connect(name string) {
	p.t.Helper()
	if reply := p.call(connect("", name)); reply.GetConnected().GetUser() != name {
		p.t.Fatalf("%s connects: %v", name, reply)
	}
}

func connect(token, name string) *v1.ClientFrame {
	return &v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Token: token, Name: name}}}
}

func join(room string) *v1.ClientFrame {
	return &v1.ClientFrame{Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: room}}}
}

func joinAfter(room, epoch string, after uint64) *v1.ClientFrame {
	return &v1.ClientFrame{Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: room, Epoch: epoch, After: &after}}}
}

func leave(room string) *v1.ClientFrame {
	return &v1.ClientFrame{Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: room}}}
}

func publish(room, key, text string) *v1.ClientFrame {
	return &v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{
		Room: room, Key: key, Content: &v1.Publish_Text{Text: text},
	}}}
}

func ping() *v1.ClientFrame { return &v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}} }

// send gives the request the next id, and sends it.
func (p *peer) send(request *v1.ClientFrame) (id uint64) {
	p.t.Helper()
	p.lastID++
	request.Id = p.lastID
	p.sendFrames(proto.AppendClientFrame(nil, p.codec, request))
	return request.Id
}

func (p *peer) sendFrames(frames []byte) {
	p.t.Helper()
	if p.stream {
		p.write(frames)
		return
	}
	p.sendMessage(kindOf(p.codec), frames)
}

func (p *peer) sendMessage(kind ws.OpCode, payload []byte) {
	p.t.Helper()
	p.write(ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(kind, true, bytes.Clone(payload)))))
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.socket.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// call sends a request and returns its reply. What comes before is kept in deliveries and replies.
func (p *peer) call(request *v1.ClientFrame) *v1.ServerFrame {
	p.t.Helper()
	return p.reply(p.send(request))
}

// reply waits for the reply with this id.
func (p *peer) reply(id uint64) *v1.ServerFrame {
	p.t.Helper()
	for p.replies[id] == nil {
		if err := p.take(); err != nil {
			p.t.Fatalf("wait for the reply to request %d: %v", id, err)
		}
	}
	return p.replies[id]
}

// settle returns all deliveries that the server had for the connection when it read the request.
func (p *peer) settle() []*v1.Message {
	p.t.Helper()
	if reply := p.call(ping()); reply.GetPong() == nil {
		p.t.Fatalf("ping: %v", reply)
	}
	return p.deliveries
}

// delivered waits until so many deliveries have come.
func (p *peer) delivered(n int) []*v1.Message {
	p.t.Helper()
	for len(p.deliveries) < n {
		if err := p.take(); err != nil {
			p.t.Fatalf("wait for delivery %d of %d: %v", len(p.deliveries)+1, n, err)
		}
	}
	return p.deliveries
}

// end reads to the connection's end and returns how it ended.
func (p *peer) end() error {
	for {
		if err := p.take(); err != nil {
			return err
		}
	}
}

// take reads one frame.
func (p *peer) take() error {
	for len(p.waiting) == 0 {
		if err := p.receive(); err != nil {
			return err
		}
	}
	frame := p.waiting[0]
	p.waiting = p.waiting[1:]
	switch op := frame.Op.(type) {
	case *v1.ServerFrame_Message:
		p.deliveries = append(p.deliveries, op.Message)
	case *v1.ServerFrame_Close:
		return &errClosed{uint16(op.Close.Code), op.Close.Reason}
	default:
		if p.replies[frame.Id] != nil {
			return fmt.Errorf("request %d has a second reply, %v", frame.Id, frame)
		}
		p.replies[frame.Id] = frame
	}
	return nil
}

// receive reads one message of WebSocket, or one frame of raw TCP.
func (p *peer) receive() error {
	if p.stream {
		length, err := binary.ReadUvarint(p.in)
		if err != nil {
			return err
		}
		payload := make([]byte, length)
		if _, err := io.ReadFull(p.in, payload); err != nil {
			return err
		}
		return p.decode(payload)
	}
	kind, payload, err := p.receiveMessage()
	if err != nil {
		return err
	}
	if kind != kindOf(p.codec) {
		return fmt.Errorf("a message of kind %d", kind)
	}
	for len(payload) > 0 {
		var frame []byte
		if frame, payload, err = proto.Next(p.codec, payload); err == nil {
			err = p.decode(frame)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *peer) decode(payload []byte) error {
	frame := new(v1.ServerFrame)
	err := proto.DecodeServerFrame(frame, p.codec, payload)
	p.waiting = append(p.waiting, frame)
	return err
}

// receiveMessage reads one data message of WebSocket.
func (p *peer) receiveMessage() (ws.OpCode, []byte, error) {
	for {
		header, err := ws.ReadHeader(p.in)
		if err != nil {
			return 0, nil, err
		}
		payload := make([]byte, header.Length)
		if _, err := io.ReadFull(p.in, payload); err != nil {
			return 0, nil, err
		}
		switch {
		case header.Masked || !header.Fin:
			return 0, nil, errors.New("a frame that is masked, or a part")
		case header.OpCode == ws.OpPong:
			p.pongs = append(p.pongs, string(payload))
		case header.OpCode == ws.OpClose:
			code, reason := ws.ParseCloseFrameData(payload)
			return 0, nil, &errClosed{uint16(code), reason}
		default:
			return header.OpCode, payload, nil
		}
	}
}

// wantClosed checks how a connection ended, and that nothing comes after that.
func (p *peer) wantClosed(code proto.CloseCode) {
	p.t.Helper()
	var closed *errClosed
	if err := p.end(); !errors.As(err, &closed) || closed.code != code.Code {
		p.t.Errorf("the connection ended with %v, want %d", err, code.Code)
		return
	}
	if n, err := p.in.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		p.t.Errorf("after the Close %d bytes came, and %v; want the end", n, err)
	}
}

func wantError(t *testing.T, reply *v1.ServerFrame, code proto.ErrorCode) {
	t.Helper()
	if e := reply.GetError(); e.GetName() != code.Name || e.Retry != code.Retry || e.Code != code.Code {
		t.Errorf("the reply is %v, want the error %s", reply, code.Name)
	}
}
