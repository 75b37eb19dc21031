package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/gobwas/ws"
)

// socketIO speaks Socket.IO v5 (Engine.IO v4, as socket.io has it since its version 3) over WebSocket alone, in the default
// namespace. A server fits that handles three events with an acknowledgement each, and sends one:
//
//	io.on('connection', (socket) => {
//	  socket.on('join', (room, done) => { socket.join(room); done(); });
//	  socket.on('leave', (room, done) => { socket.leave(room); done(); });
//	  socket.on('publish', (message, done) => { io.to(message.room).emit('message', message); done(); });
//	});
//
// where message is {room, body}. done({ error: 'why' }) refuses. A token is shown as the field token of
// the handshake's auth. What else the server sends is nobody's, and so are attachments.
type socketIO struct {
	names
	web *webSocket

	scratch []byte // of the Append methods
}

// What the first characters of a packet say: Engine.IO's types, and behind its message Socket.IO's.
const (
	engineOpen  = '0'
	engineClose = '1'
	enginePing  = '2'
	enginePong  = '3'

	socketConnect      = "40"
	socketDisconnect   = "41"
	socketEvent        = "42"
	socketAck          = "43"
	socketConnectError = "44"
)

// An acknowledgement says nothing but the number of what it is for, so the number says what that was.
const (
	ackJoin = iota
	ackLeave
	ackPublish
	ackKinds
)

func newSocketIO(c Config, target Target) (Dialect, error) {
	web, err := target.web("socket.io", "/socket.io/")
	if err != nil {
		return nil, err
	}
	mark := "?"
	if strings.Contains(web.path, "?") {
		mark = "&"
	}
	web.path += mark + "EIO=4&transport=websocket"
	d := &socketIO{names: newNames(c), web: web}
	return d, d.checkPlain()
}

func (d *socketIO) Traits() Traits { return Traits{Acknowledges: true, Answers: true, Reaches: Room} }

func (d *socketIO) AppendOpen(dst []byte, s *Session) []byte { return d.web.appendHandshake(dst, s) }

// begin puts an event with an acknowledgement into scratch, up to its argument.
func (d *socketIO) begin(event string, kind int, id uint32) {
	d.scratch = append(d.scratch[:0], socketEvent...)
	d.scratch = appendInteger(d.scratch, uint64(id)*ackKinds+uint64(kind))
	d.scratch = append(d.scratch, `["`...)
	d.scratch = append(d.scratch, event...)
	d.scratch = append(d.scratch, `",`...)
}

// end appends scratch with its end.
func (d *socketIO) end(dst []byte, s *Session, end string) []byte {
	d.scratch = append(d.scratch, end...)
	return appendFrame(dst, s, ws.OpText, d.scratch)
}

func (d *socketIO) AppendJoin(dst []byte, s *Session, j Join) []byte {
	return d.appendRoomEvent(dst, s, "join", ackJoin, j.ID, j.Room)
}

func (d *socketIO) AppendLeave(dst []byte, s *Session, id uint32, room int) []byte {
	return d.appendRoomEvent(dst, s, "leave", ackLeave, id, room)
}

func (d *socketIO) appendRoomEvent(dst []byte, s *Session, event string, kind int, id uint32, room int) []byte {
	d.begin(event, kind, id)
	d.scratch = append(d.scratch, '"')
	d.scratch = d.append(d.scratch, room)
	return d.end(dst, s, `"]`)
}

// AppendMark: it has no receipts.
func (*socketIO) AppendMark(dst []byte, _ *Session, _ uint32, _ int, _ uint64) []byte { return dst }

// AppendWatch: it has no presence of this kind.
func (*socketIO) AppendWatch(dst []byte, _ *Session, _ int) []byte { return dst }

func (d *socketIO) AppendPublish(dst []byte, s *Session, p Publish) []byte {
	d.begin("publish", ackPublish, p.ID)
	d.scratch = append(d.scratch, `{"room":"`...)
	d.scratch = d.append(d.scratch, p.Room)
	d.scratch = append(d.scratch, `","body":"`...)
	d.scratch = append(d.scratch, p.Body...)
	return d.end(dst, s, `"}]`)
}

func (d *socketIO) AppendClose(dst []byte, s *Session) []byte {
	if s.stage == stageOpening {
		return dst
	}
	if s.stage == stageReady {
		dst = appendFrame(dst, s, ws.OpText, []byte(socketDisconnect))
	}
	return appendClose(dst, s)
}

func (d *socketIO) Read(s *Session, in []byte, e *Event) (n int, err error) {
	e.reset()
	if s.stage == stageOpening {
		if n, err = d.web.readHandshake(s, in); n > 0 {
			s.stage = stageLogin
		}
		return n, err
	}
	packet, ok, n, err := readPart(s, in, e, cutMessage)
	if err != nil || !ok || !s.text {
		return n, err
	}
	switch packet[0] {
	case engineOpen:
		e.Out = d.appendConnect(e.Out, s)
	case enginePing:
		e.Out = appendFrame(e.Out, s, ws.OpText, []byte{enginePong})
	case engineClose:
		return n, errors.New("the server closed the connection with a packet of Engine.IO")
	default:
		return n, d.readPacket(s, packet, e)
	}
	return n, nil
}

func (d *socketIO) appendConnect(dst []byte, s *Session) []byte {
	packet := []byte(socketConnect)
	if token := d.login(s); token != "" {
		auth, err := json.Marshal(map[string]string{"token": token})
		if err != nil {
			panic(fmt.Sprintf("BUG: a token can't be written as JSON: %v", err))
		}
		packet = append(packet, auth...)
	}
	return appendFrame(dst, s, ws.OpText, packet)
}

// readPacket takes a packet of Socket.IO.
func (d *socketIO) readPacket(s *Session, packet []byte, e *Event) error {
	in := scanner{rest: packet, ok: true}
	switch {
	case in.next(socketEvent):
		d.readEvent(in, e)
	case in.next(socketAck):
		d.readAck(in, e)
	case in.next(socketConnect):
		s.stage = stageReady
		e.Kind = Ready
	case in.next(socketConnectError):
		return fmt.Errorf("the login was refused: %.200s", in.rest)
	case in.next(socketDisconnect):
		return errors.New("the server disconnected the namespace")
	}
	return nil
}

func (d *socketIO) readEvent(in scanner, e *Event) {
	in.number() // an acknowledgement that the server asks for; it gets none
	in.ok = true
	if !in.next(`["message",`) {
		return
	}
	e.Kind, e.Body = Message, in.rest
	if _, room, ok := bytes.Cut(in.rest, []byte(`"room":"`)); ok {
		room, _, _ := bytes.Cut(room, []byte(`"`))
		e.Room = d.number(room)
	}
}

func (d *socketIO) readAck(in scanner, e *Event) {
	number := in.number()
	if !in.ok || number/ackKinds > math.MaxUint32 {
		return
	}
	e.ID = uint32(number / ackKinds)
	if in.next(`[{"error":`) {
		e.Kind, e.Reason = Refused, reason(in.rest)
		return
	}
	switch number % ackKinds {
	case ackJoin:
		e.Kind = Joined
	case ackLeave:
		e.Kind = Left
	case ackPublish:
		e.Kind = Acknowledged
	}
}

// reason gives the JSON value that in begins with as a text.
func reason(in []byte) string {
	var value any
	if err := json.NewDecoder(bytes.NewReader(in)).Decode(&value); err != nil {
		return "no reason that can be read"
	}
	return fmt.Sprint(value)
}
