package client

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// fakeServer speaks the protocol over pipes, as a script in the test says. It lives in a
// bubble of testing/synctest, so waits of hours take no time and "nothing happens" can be
// checked.
type fakeServer struct {
	t     *testing.T
	peers chan *peer

	mu      sync.Mutex
	dials   []time.Time
	refusal string // an HTTP response in place of the upgrade
	down    bool   // nobody listens
}

func newFakeServer(t *testing.T) *fakeServer {
	return &fakeServer{t: t, peers: make(chan *peer, 100)}
}

func (s *fakeServer) dial(_ context.Context, _, address string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials = append(s.dials, time.Now())
	if s.down {
		return nil, errors.New("connection refused")
	}
	client, server := net.Pipe()
	go s.serve(server, address == "raw:1", s.refusal)
	return client, nil
}

func (s *fakeServer) set(change func(*fakeServer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *fakeServer) dialed() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), s.dials...)
}

func (s *fakeServer) serve(conn net.Conn, raw bool, refusal string) {
	p := &peer{t: s.t, conn: conn, raw: raw, requests: make(chan *v1.ClientFrame, 1000)}
	in := bufio.NewReader(conn)
	switch {
	case raw:
		start := make([]byte, len(preface))
		if _, err := io.ReadFull(in, start); err != nil || string(start) != preface {
			s.t.Errorf("a raw TCP connection starts with %q, %v; want the preface", start, err)
		}
	case refusal != "":
		for line := "x"; line != "\r\n"; {
			line, _ = in.ReadString('\n')
		}
		io.WriteString(conn, refusal)
		conn.Close()
		return
	default:
		upgrader := ws.Upgrader{Protocol: func(name []byte) bool {
			return string(name) == proto.SubprotocolBinary
		}}
		if _, err := upgrader.Upgrade(struct {
			io.Reader
			io.Writer
		}{in, conn}); err != nil {
			return // the client gave up
		}
	}
	s.peers <- p
	p.readLoop(in)
}

// peer is one connection as the server sees it.
type peer struct {
	t    *testing.T
	conn net.Conn
	raw  bool

	requests chan *v1.ClientFrame // closed with the connection; pings are not among them

	mu        sync.Mutex
	pings     int
	pongs     []string // of WebSocket
	closed    uint16   // the code of the client's Close frame
	mute      bool     // answer no pings
	lastFrame int      // bytes of the last message
}

func (p *peer) readLoop(in *bufio.Reader) {
	defer close(p.requests)
	for {
		payload, err := p.receive(in)
		if err != nil {
			return
		}
		for len(payload) > 0 {
			var bytes []byte
			if bytes, payload, err = proto.Next(proto.Binary, payload); err != nil {
				p.t.Errorf("the client sent a bad frame: %v", err)
				return
			}
			frame := new(v1.ClientFrame)
			if err := frame.UnmarshalVT(bytes); err != nil {
				p.t.Errorf("the client sent a bad frame: %v", err)
				return
			}
			if frame.GetPing() == nil {
				p.requests <- frame
				continue
			}
			p.mu.Lock()
			p.pings++
			mute := p.mute
			p.mu.Unlock()
			if !mute {
				p.send(&v1.ServerFrame{Id: frame.Id, Op: &v1.ServerFrame_Pong{Pong: &v1.Pong{}}})
			}
		}
	}
}

func (p *peer) receive(in *bufio.Reader) ([]byte, error) {
	if p.raw {
		size, err := binary.ReadUvarint(in)
		if err != nil {
			return nil, err
		}
		payload := binary.AppendUvarint(nil, size)
		start := len(payload)
		payload = append(payload, make([]byte, size)...)
		_, err = io.ReadFull(in, payload[start:])
		return payload, err
	}
	header, err := ws.ReadHeader(in)
	if err != nil {
		return nil, err
	}
	if !header.Masked {
		p.t.Error("the client sent a frame without a mask")
	}
	payload := make([]byte, header.Length)
	if _, err := io.ReadFull(in, payload); err != nil {
		return nil, err
	}
	ws.Cipher(payload, header.Mask, 0)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch header.OpCode {
	case ws.OpClose:
		code, _ := ws.ParseCloseFrameData(payload)
		p.closed = uint16(code)
		go p.conn.Close() // the answer of a server that has nothing more to say
		return nil, nil
	case ws.OpPong:
		p.pongs = append(p.pongs, string(payload))
		return nil, nil
	}
	p.lastFrame = len(payload)
	return payload, nil
}

// send writes the frames as one message. A client that has gone is not an error.
func (p *peer) send(frames ...*v1.ServerFrame) {
	var payload []byte
	for _, f := range frames {
		payload = proto.AppendServerFrame(payload, proto.Binary, f)
	}
	if p.raw {
		p.conn.Write(payload)
		return
	}
	p.write(ws.NewBinaryFrame(payload))
}

func (p *peer) write(frames ...ws.Frame) {
	for _, f := range frames {
		bytes, err := ws.CompileFrame(f)
		if err != nil {
			panic(err)
		}
		p.conn.Write(bytes)
	}
}

// close sends a Close frame, on raw TCP the frame close, and ends the socket.
func (p *peer) close(code uint16) {
	if p.raw {
		p.send(&v1.ServerFrame{Op: &v1.ServerFrame_Close{Close: &v1.Close{Code: uint32(code), Reason: "test"}}})
	} else {
		p.write(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(code), "test")))
	}
	synctest.Wait()
	p.conn.Close()
}

func (p *peer) drop() { p.conn.Close() }

// next is the next request that is no ping.
func (p *peer) next() *v1.ClientFrame {
	p.t.Helper()
	select {
	case f, ok := <-p.requests:
		if !ok {
			p.t.Fatal("the client closed the connection; want a request")
		}
		return f
	case <-time.After(time.Hour):
		p.t.Fatal("no request within an hour")
		return nil
	}
}

// quiet checks that no request has come.
func (p *peer) quiet() {
	p.t.Helper()
	synctest.Wait()
	select {
	case f, ok := <-p.requests:
		if ok {
			p.t.Fatalf("got request %v; want none", f)
		}
	default:
	}
}

// ended waits for the end of the connection and returns the client's close code.
func (p *peer) ended() uint16 {
	p.t.Helper()
	for {
		select {
		case _, ok := <-p.requests:
			if !ok {
				p.mu.Lock()
				defer p.mu.Unlock()
				return p.closed
			}
		case <-time.After(time.Hour):
			p.t.Fatal("the connection did not end within an hour")
		}
	}
}

func (p *peer) seen() (pings int, pongs []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pings, p.pongs
}

func (s *fakeServer) accept() *peer {
	s.t.Helper()
	select {
	case p := <-s.peers:
		return p
	case <-time.After(time.Hour):
		s.t.Fatal("no connection within an hour")
		return nil
	}
}

// none checks that the client does not come back.
func (s *fakeServer) none() {
	s.t.Helper()
	select {
	case <-s.peers:
		s.t.Fatal("the client came back; want it to stay away")
	case <-time.After(2 * time.Hour):
	}
}

// welcome accepts a connection and answers its connect.
func (s *fakeServer) welcome() *peer {
	s.t.Helper()
	p := s.accept()
	p.welcome()
	return p
}

func (p *peer) welcome() {
	p.t.Helper()
	f := p.next()
	if f.GetConnect() == nil {
		p.t.Fatalf("first request is %v; want connect", f)
	}
	p.send(&v1.ServerFrame{Id: f.Id, Op: &v1.ServerFrame_Connected{Connected: &v1.Connected{
		User: "alice", Session: "0-1", HeartbeatMs: 25000, MaxMessageBytes: 65536,
	}}})
	synctest.Wait()
}

// expectJoin checks the next request: after < 0 for a join without a position.
func (p *peer) expectJoin(room, epoch string, after int) *v1.ClientFrame {
	p.t.Helper()
	f := p.next()
	join := f.GetJoin()
	if join == nil {
		p.t.Fatalf("request is %v; want join", f)
	}
	got := -1
	if join.After != nil {
		got = int(*join.After)
	}
	if join.Room != room || join.Epoch != epoch || got != after {
		p.t.Fatalf("join of %q epoch %q after %d; want %q %q %d", join.Room, join.Epoch, got, room, epoch, after)
	}
	return f
}

func (p *peer) expectPublish(key, text string) *v1.ClientFrame {
	p.t.Helper()
	f := p.next()
	publish := f.GetPublish()
	if publish == nil || publish.Key != key || publish.GetText() != text {
		p.t.Fatalf("request is %v; want publish %q with key %q", f, text, key)
	}
	return f
}

func (p *peer) expectLeave(room string) {
	p.t.Helper()
	f := p.next()
	if f.GetLeave().GetRoom() != room {
		p.t.Fatalf("request is %v; want leave %q", f, room)
	}
	p.send(&v1.ServerFrame{Id: f.Id, Op: &v1.ServerFrame_Left{Left: &v1.Left{Room: room}}})
}

// Frames of the server.

func joinedFrame(f *v1.ClientFrame, epoch string, head uint64, recovered *bool) *v1.ServerFrame {
	return &v1.ServerFrame{Id: f.Id, Op: &v1.ServerFrame_Joined{Joined: &v1.Joined{
		Room: f.GetJoin().Room, Epoch: epoch, Head: head, Recovered: recovered,
	}}}
}

func messageFrame(room string, seq uint64) *v1.ServerFrame {
	return &v1.ServerFrame{Op: &v1.ServerFrame_Message{Message: &v1.Message{
		Room: room, Seq: seq, At: 1763839392123, From: "bob",
		Content: &v1.Message_Text{Text: fmt.Sprint("m", seq)},
	}}}
}

func messageFrames(room string, first, last uint64) (frames []*v1.ServerFrame) {
	for seq := first; seq <= last; seq++ {
		frames = append(frames, messageFrame(room, seq))
	}
	return frames
}

func publishedFrame(f *v1.ClientFrame, seq uint64) *v1.ServerFrame {
	return &v1.ServerFrame{Id: f.Id, Op: &v1.ServerFrame_Published{Published: &v1.Published{
		Room: f.GetPublish().Room, Seq: seq, At: 1763839392456,
	}}}
}

func retryFrame(f *v1.ClientFrame, code proto.ErrorCode, after time.Duration) *v1.ServerFrame {
	reply := code.Frame(f.Id, "Not now.")
	milliseconds := uint32(after.Milliseconds())
	reply.GetError().RetryAfterMs = &milliseconds
	return reply
}

var yes, no = true, false

// start makes a client of the fake server. random is what the source of random numbers
// gives; the client is closed at the end of the test.
func start(t *testing.T, s *fakeServer, random func() float64, change func(*Config)) *Client {
	t.Helper()
	config := Config{URL: "ws://fake/ws", Name: "alice", Dial: s.dial}
	if change != nil {
		change(&config)
	}
	config, err := config.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{machine: startMachineWith(config, random)}
	t.Cleanup(c.Close)
	return c
}

func zero() float64 { return 0 }

// almostOne is the largest that a source of random numbers gives.
func almostOne() float64 { return 1 - 1e-9 }

// history collects the changes of state.
type history struct {
	mu      sync.Mutex
	changes []StateChange
}

func (h *history) add(change StateChange) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changes = append(h.changes, change)
}

func (h *history) last() StateChange {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changes[len(h.changes)-1]
}

// reader ranges over a subscription in the background.
type reader struct {
	t      *testing.T
	events chan event
}

type event struct {
	message Message
	err     error
}

func follow(t *testing.T, s *Subscription) *reader {
	r := &reader{t: t, events: make(chan event, 10000)}
	go func() {
		defer close(r.events)
		for message, err := range s.Messages(context.Background()) {
			r.events <- event{message, err}
		}
	}()
	return r
}

// expect checks that exactly these messages have come.
func (r *reader) expect(first, last uint64) {
	r.t.Helper()
	for seq := first; seq <= last; seq++ {
		synctest.Wait()
		select {
		case e, ok := <-r.events:
			if !ok || e.err != nil || e.message.Seq != seq {
				r.t.Fatalf("got %+v; want message %d", e, seq)
			}
			if want := fmt.Sprint("m", seq); e.message.Text != want {
				r.t.Fatalf("message %d has text %q; want %q", seq, e.message.Text, want)
			}
		default:
			r.t.Fatalf("message %d has not come", seq)
		}
	}
	r.nothing()
}

func (r *reader) nothing() {
	r.t.Helper()
	synctest.Wait()
	select {
	case e, ok := <-r.events:
		if ok {
			r.t.Fatalf("got %+v; want nothing", e)
		}
	default:
	}
}

func (r *reader) expectError() error {
	r.t.Helper()
	synctest.Wait()
	select {
	case e := <-r.events:
		if e.err == nil {
			r.t.Fatalf("got %+v; want an error", e)
		}
		return e.err
	default:
		r.t.Fatal("nothing has come; want an error")
		return nil
	}
}

// join joins in the background of the script, which answers with joined.
func join(c *Client, s *peer, room string, options JoinOptions, answer func(*v1.ClientFrame) *v1.ServerFrame) *Subscription {
	s.t.Helper()
	type result struct {
		subscription *Subscription
		err          error
	}
	done := make(chan result, 1)
	go func() {
		subscription, err := c.Join(context.Background(), room, options)
		done <- result{subscription, err}
	}()
	s.send(answer(s.next()))
	r := <-done
	if r.err != nil {
		s.t.Fatal(r.err)
	}
	return r.subscription
}

func containsText(err error, part string) bool { return strings.Contains(err.Error(), part) }
