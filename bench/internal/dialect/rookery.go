package dialect

import (
	"errors"
	"fmt"
	"math"

	"github.com/gobwas/ws"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// loginID is the request id of a login: none of the caller's, which have 32 bits.
const loginID = 1 << 32

// rookery speaks docs/protocol.md. Over WebSocket the frames of one message are taken one by one as they
// come, so that a large message needs no large buffer.
type rookery struct {
	names
	ephemeral bool // all messages
	codec     proto.Codec
	web       *webSocket // nil: raw TCP
	cut       cutter

	// Scratch of the Append methods and of Read.
	payload []byte
	publish []byte
	server  v1.ServerFrame
}

func newRookery(c Config, target Target) (Dialect, error) {
	r := &rookery{names: newNames(c), ephemeral: c.Ephemeral, codec: proto.Binary, cut: cutBinary}
	if target.Scheme == "tcp" {
		if c.Server.Codec == "json" {
			return nil, errors.New("raw TCP has binary frames only: leave codec out, or use a ws:// target")
		}
		return r, r.checkPlain()
	}
	r.web = &webSocket{host: target.Host, path: target.path("/ws"), subprotocol: proto.SubprotocolBinary}
	if c.Server.Codec == "json" {
		r.codec, r.cut, r.web.subprotocol = proto.JSON, cutLine, proto.SubprotocolJSON
	}
	return r, r.checkPlain()
}

func (r *rookery) Traits() Traits {
	if r.ephemeral {
		return Traits{Acknowledges: true, Answers: true, Pipelines: true, Reaches: Room, Ephemeral: true, Presence: true}
	}
	return Traits{Numbered: true, Acknowledges: true, Answers: true, Pipelines: true, Resumes: true, Reaches: Room, Ephemeral: true, Receipts: true, Presence: true}
}

func (r *rookery) AppendOpen(dst []byte, s *Session) []byte {
	if r.web != nil {
		return r.web.appendHandshake(dst, s)
	}
	s.stage = stageLogin
	dst = append(dst, proto.Preface...)
	return r.appendLogin(dst, s)
}

func (r *rookery) appendLogin(dst []byte, s *Session) []byte {
	connect := &v1.Connect{Token: r.login(s)}
	if connect.Token == "" {
		connect.Name = r.user(s)
	}
	return r.appendRequest(dst, s, &v1.ClientFrame{Id: loginID, Op: &v1.ClientFrame_Connect{Connect: connect}})
}

// appendRequest appends a frame as it stands on the connection.
func (r *rookery) appendRequest(dst []byte, s *Session, f *v1.ClientFrame) []byte {
	if r.web == nil {
		return proto.AppendClientFrame(dst, r.codec, f)
	}
	r.payload = proto.AppendClientFrame(r.payload[:0], r.codec, f)
	return appendFrame(dst, s, r.opcode(), r.payload)
}

func (r *rookery) opcode() ws.OpCode {
	if r.codec == proto.JSON {
		return ws.OpText
	}
	return ws.OpBinary
}

func (r *rookery) AppendJoin(dst []byte, s *Session, j Join) []byte {
	join := &v1.Join{Room: r.room(j.Room)}
	if j.After >= 0 {
		after := uint64(j.After)
		join.After = &after
	}
	return r.appendRequest(dst, s, &v1.ClientFrame{Id: uint64(j.ID), Op: &v1.ClientFrame_Join{Join: join}})
}

func (r *rookery) AppendLeave(dst []byte, s *Session, id uint32, room int) []byte {
	return r.appendRequest(dst, s, &v1.ClientFrame{Id: uint64(id), Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: r.room(room)}}})
}

func (r *rookery) AppendPublish(dst []byte, s *Session, p Publish) []byte {
	if r.codec == proto.JSON {
		r.payload = r.appendPublishJSON(r.payload[:0], p)
	} else {
		r.payload = r.appendPublishBinary(r.payload[:0], p)
	}
	if r.web == nil {
		return append(dst, r.payload...)
	}
	return appendFrame(dst, s, r.opcode(), r.payload)
}

func (r *rookery) AppendMark(dst []byte, s *Session, id uint32, room int, seq uint64) []byte {
	return r.appendRequest(dst, s, &v1.ClientFrame{Id: uint64(id), Op: &v1.ClientFrame_Mark{Mark: &v1.Mark{Room: r.room(room), Read: seq}}})
}

// AppendWatch has an id that no request of the load has: neither the answer nor a refusal is waited for.
func (r *rookery) AppendWatch(dst []byte, s *Session, room int) []byte {
	return r.appendRequest(dst, s, &v1.ClientFrame{Id: loginID + 2, Op: &v1.ClientFrame_Presence{Presence: &v1.PresenceRequest{Room: r.room(room), Watch: true}}})
}

func (r *rookery) AppendClose(dst []byte, s *Session) []byte {
	if r.web == nil || s.stage == stageOpening {
		return dst
	}
	return appendClose(dst, s)
}

func (r *rookery) Read(s *Session, in []byte, e *Event) (n int, err error) {
	e.reset()
	if r.web == nil {
		frame, n, err := r.cut(in, false)
		if err != nil || n == 0 {
			return 0, err
		}
		return n, r.readFrame(s, frame, e)
	}
	if s.stage == stageOpening {
		if n, err = r.web.readHandshake(s, in); n > 0 {
			s.stage = stageLogin
			e.Out = r.appendLogin(e.Out, s)
		}
		return n, err
	}
	frame, ok, n, err := readPart(s, in, e, r.cut)
	switch {
	case err != nil || !ok:
		return n, err
	case s.text != (r.codec == proto.JSON):
		return n, errors.New("the server sent a message of the other codec")
	case len(frame) == 0 && r.codec == proto.JSON:
		return n, nil // an empty line
	}
	return n, r.readFrame(s, frame, e)
}

// readFrame takes one frame of the server.
func (r *rookery) readFrame(s *Session, frame []byte, e *Event) error {
	// Messages are nearly all that comes; the rest may cost more.
	if r.codec == proto.Binary {
		if r.readBinaryMessage(frame, e) {
			return nil
		}
	} else if r.readJSONMessage(frame, e) {
		return nil
	}
	e.reset()
	f := &r.server
	f.Reset()
	if err := proto.DecodeServerFrame(f, r.codec, frame); err != nil {
		return fmt.Errorf("the server sent a frame that can't be read: %w", err)
	}
	if f.Id <= math.MaxUint32 {
		e.ID = uint32(f.Id)
	}
	switch op := f.Op.(type) {
	case *v1.ServerFrame_Connected:
		if f.Id == loginID {
			s.stage = stageReady
			e.Kind = Ready
		}
	case *v1.ServerFrame_Joined:
		e.Kind, e.Seq = Joined, op.Joined.Head
	case *v1.ServerFrame_Left:
		e.Kind = Left
	case *v1.ServerFrame_Published:
		e.Kind, e.Seq = Acknowledged, op.Published.Seq
	case *v1.ServerFrame_Message:
		e.Kind, e.Seq, e.Room = Message, op.Message.Seq, r.number([]byte(op.Message.Room))
		e.Ephemeral = op.Message.Ephemeral
		if e.Body = op.Message.GetData(); e.Body == nil {
			e.Body = []byte(op.Message.GetText())
		}
	case *v1.ServerFrame_Marked:
		e.Kind, e.Seq = Marked, op.Marked.Read
	case *v1.ServerFrame_Receipt, *v1.ServerFrame_Receipts:
		e.Kind = Receipt
	case *v1.ServerFrame_Presence, *v1.ServerFrame_PresenceChange:
		e.Kind = Presence
	case *v1.ServerFrame_Gap:
		e.Kind, e.Room, e.Seq, e.Last, e.Reason = Gap, r.number([]byte(op.Gap.Room)), op.Gap.First, op.Gap.Last, op.Gap.Reason
	case *v1.ServerFrame_Error:
		if f.Id == loginID {
			return fmt.Errorf("the login was refused: %s: %s", op.Error.Name, op.Error.Message)
		}
		if f.Id <= math.MaxUint32 { // a ping or a watch of ours may be refused without harm
			e.Kind, e.Reason = Refused, op.Error.Name
		}
	case *v1.ServerFrame_Ping:
		e.Out = r.appendRequest(e.Out, s, &v1.ClientFrame{Id: loginID + 1, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
	case *v1.ServerFrame_Goaway:
		e.Kind, e.Reason = GoAway, op.Goaway.Reason
	case *v1.ServerFrame_Close:
		return &ClosedError{Code: int(op.Close.Code), Reason: op.Close.Reason}
	}
	return nil
}
