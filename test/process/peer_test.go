package process

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// transport is how a peer speaks; both carry binary frames.
type transport string

const (
	rawTCP    transport = "raw TCP"
	webSocket transport = "WebSocket"
)

var transports = []transport{rawTCP, webSocket}

// peer is a client that shows every frame as it comes and does nothing by itself, but for
// the pong of a WebSocket. One goroutine may send while another one receives.
type peer struct {
	conn    net.Conn
	by      transport
	limit   time.Duration // for each next; 0: patience
	heedful bool          // answers WebSocket pings

	// Owned by the sender.
	nextID uint64

	// Owned by the receiver.
	in    *bufio.Reader
	queue []*v1.ServerFrame // of a WebSocket message that held several
	pings int               // probes seen
}

// closeError is the server's Close.
type closeError struct {
	code   uint16
	reason string
}

func (e *closeError) Error() string { return fmt.Sprintf("closed with %d %s", e.code, e.reason) }

// refusedError is a handshake that was answered with another status than 101.
type refusedError struct {
	status     int
	retryAfter string
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("upgrade answered with %d, Retry-After %q", e.status, e.retryAfter)
}

// replyError is a request that was answered with an error.
type replyError struct{ reply *v1.Error }

func (e replyError) Error() string { return e.reply.Name + ": " + e.reply.Message }

// secured begins the address of a listener with TLS.
const secured = "tls:"

// dial opens a connection without a connect request. With a receive buffer of 0 the kernel
// chooses one.
func dial(address string, by transport, receiveBuffer int) (*peer, error) {
	dialer := net.Dialer{Timeout: patience}
	if receiveBuffer > 0 {
		// Before the connection is made: its window is agreed then.
		dialer.Control = func(_, _ string, raw syscall.RawConn) error {
			var failed error
			err := raw.Control(func(fd uintptr) {
				failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
			})
			return errors.Join(err, failed)
		}
	}
	address, withTLS := strings.CutPrefix(address, secured)
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	if withTLS {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // its certificate has tests of its own
	}
	p := newPeer(conn, by)
	if receiveBuffer > 0 {
		p.in = bufio.NewReaderSize(conn, 4<<10)
	}
	if err := p.open(address); err != nil {
		conn.Close()
		return nil, err
	}
	return p, nil
}

func newPeer(conn net.Conn, by transport) *peer {
	return &peer{conn: conn, by: by, heedful: true, in: bufio.NewReaderSize(conn, 32<<10)}
}

func (p *peer) open(address string) error {
	p.conn.SetDeadline(time.Now().Add(patience))
	defer p.conn.SetDeadline(time.Time{})
	if p.by == rawTCP {
		_, err := io.WriteString(p.conn, "ROOKERY\x01")
		return err
	}
	if _, err := io.WriteString(p.conn, handshake(address)); err != nil {
		return err
	}
	res, err := http.ReadResponse(p.in, nil)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return &refusedError{res.StatusCode, res.Header.Get("Retry-After")}
	}
	return nil
}

// handshake is the request that opens a WebSocket of binary frames.
func handshake(address string) string {
	return "GET /ws HTTP/1.1\r\nHost: " + address + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		"Sec-WebSocket-Protocol: " + proto.SubprotocolBinary + "\r\n\r\n"
}

// login opens an authenticated connection.
func login(address string, by transport, user string) (*peer, error) {
	return loginWithBuffer(address, by, user, 0)
}

func loginWithBuffer(address string, by transport, user string, receiveBuffer int) (*peer, error) {
	p, err := dial(address, by, receiveBuffer)
	if err != nil {
		return nil, err
	}
	reply, err := p.ask(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: user}}})
	if err == nil && reply.GetConnected().GetUser() != user {
		err = fmt.Errorf("connect as %s was answered with %v", user, reply)
	}
	if err != nil {
		p.conn.Close()
		return nil, err
	}
	return p, nil
}

// send writes requests with the next ids in one piece; the last id is returned.
func (p *peer) send(requests ...*v1.ClientFrame) (uint64, error) {
	var b []byte
	for _, r := range requests {
		p.nextID++
		r.Id = p.nextID
		b = proto.AppendClientFrame(b, proto.Binary, r)
	}
	return p.nextID, p.write(b)
}

// write sends what stands for frames in the stream.
func (p *peer) write(b []byte) error {
	if p.by == webSocket {
		return p.writeMessage(ws.OpBinary, b)
	}
	p.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := p.conn.Write(b)
	return err
}

// writeMessage makes one write, so that sender and receiver don't cut each other's frames.
func (p *peer) writeMessage(op ws.OpCode, payload []byte) error {
	var b bytes.Buffer
	ws.WriteFrame(&b, ws.MaskFrame(ws.NewFrame(op, true, bytes.Clone(payload)))) // a buffer takes all
	p.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := p.conn.Write(b.Bytes())
	return err
}

// ask sends one request and returns its reply, for a peer to which nothing else is sent.
func (p *peer) ask(request *v1.ClientFrame) (*v1.ServerFrame, error) {
	id, err := p.send(request)
	if err != nil {
		return nil, err
	}
	f, err := p.next()
	switch {
	case err != nil:
		return nil, err
	case f.Id != id:
		return nil, fmt.Errorf("request %d was answered with %v", id, f)
	case f.GetError() != nil:
		return nil, replyError{f.GetError()}
	}
	return f, nil
}

// enter joins a room for what is new.
func (p *peer) enter(room string) error {
	_, err := p.ask(joinRequest(room, nil, ""))
	return err
}

func joinRequest(room string, after *uint64, epoch string) *v1.ClientFrame {
	return &v1.ClientFrame{Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: room, After: after, Epoch: epoch}}}
}

func publishRequest(room, key, text string) *v1.ClientFrame {
	return &v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{
		Room: room, Key: key, Content: &v1.Publish_Text{Text: text},
	}}}
}

// history reads all of a room after a position, page by page, and gives each message to fn.
func (p *peer) history(room string, after uint64, fn func(*v1.Message)) error {
	for {
		reply, err := p.ask(&v1.ClientFrame{Op: &v1.ClientFrame_History{History: &v1.HistoryRequest{
			Room: room, After: &after, Limit: proto.MaxHistory,
		}}})
		if err != nil {
			return fmt.Errorf("history of %s after %d: %w", room, after, err)
		}
		page := reply.GetHistory()
		for _, m := range page.GetMessages() {
			fn(m)
			after = m.Seq
		}
		if !page.GetMore() {
			return nil
		}
		if len(page.Messages) == 0 {
			return fmt.Errorf("history of %s after %d is empty and says that there is more", room, after)
		}
	}
}

// next returns the next frame, a *closeError when it is the last one.
func (p *peer) next() (*v1.ServerFrame, error) {
	limit := p.limit
	if limit == 0 {
		limit = patience
	}
	for len(p.queue) == 0 {
		p.conn.SetReadDeadline(time.Now().Add(limit))
		if err := p.fill(); err != nil {
			return nil, err
		}
	}
	f := p.queue[0]
	p.queue = p.queue[1:]
	if c := f.GetClose(); c != nil {
		return nil, &closeError{uint16(c.Code), c.Reason}
	}
	if f.GetPing() != nil {
		p.pings++
	}
	return f, nil
}

// fill reads one TCP frame or one WebSocket frame.
func (p *peer) fill() error {
	if p.by == rawTCP {
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
		p.pings++
		if p.heedful {
			return p.writeMessage(ws.OpPong, payload)
		}
		return nil
	case ws.OpClose:
		code, reason := ws.ParseCloseFrameData(payload)
		return &closeError{uint16(code), reason}
	}
	for rest := payload; len(rest) > 0; {
		var frame []byte
		if frame, rest, err = proto.Next(proto.Binary, rest); err != nil {
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
	if err := proto.DecodeServerFrame(f, proto.Binary, b); err != nil {
		return err
	}
	p.queue = append(p.queue, f)
	return nil
}

// ended reads to the end and returns how the server ended the connection: the code of its
// Close, or 0 when there was none, and how long that took.
func (p *peer) ended() (code uint16, after time.Duration, err error) {
	begun := time.Now()
	for {
		_, err := p.next()
		var last *closeError
		var timeout net.Error
		switch {
		case errors.As(err, &last):
			return last.code, time.Since(begun), nil
		case errors.As(err, &timeout) && timeout.Timeout():
			return 0, time.Since(begun), fmt.Errorf("it is still open after %v", time.Since(begun))
		case err != nil:
			return 0, time.Since(begun), nil
		}
	}
}
