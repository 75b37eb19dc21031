package dialect

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/gobwas/ws"
	"github.com/golang-jwt/jwt/v5"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// loginID is the request id of a login: none of the caller's, which have 32 bits.
const loginID = 1 << 32

// rookery speaks docs/protocol.md. Over WebSocket the frames of one message are taken one by one as they
// come, so that a large message needs no large buffer.
type rookery struct {
	prefix string
	codec  proto.Codec
	web    *webSocket // nil: raw TCP
	token  string
	key    []byte

	// Scratch of the Append methods and of Read.
	frame   v1.ClientFrame
	payload []byte
	name    []byte
	server  v1.ServerFrame
}

func newRookery(c Config, target Target) (Dialect, error) {
	r := &rookery{prefix: c.Prefix, codec: proto.Binary, token: c.Server.Token, key: []byte(c.Server.Key)}
	if target.Scheme == "tcp" {
		if c.Server.Codec == "json" {
			return nil, errors.New("raw TCP has binary frames only: leave codec out, or use a ws:// target")
		}
		return r, nil
	}
	r.web = &webSocket{host: target.Host, path: target.Path, subprotocols: proto.SubprotocolBinary}
	if c.Server.Codec == "json" {
		r.codec, r.web.subprotocols = proto.JSON, proto.SubprotocolJSON
	}
	return r, nil
}

func (r *rookery) Traits() Traits {
	return Traits{Numbered: true, Acknowledges: true, Answers: true, Resumes: true, Reaches: Room}
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
	connect := &v1.Connect{Token: r.token}
	user := r.prefix + strconv.Itoa(int(s.User))
	switch {
	case len(r.key) > 0:
		now := time.Now()
		claims := jwt.MapClaims{"sub": user, "iat": now.Unix(), "exp": now.Add(24 * time.Hour).Unix()}
		connect.Token, _ = jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(r.key) // fails for other keys only
	case r.token == "":
		connect.Name = user
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

func (r *rookery) room(number int) string { return r.prefix + strconv.Itoa(number) }

// number is the reverse of room, -1 for a name of others.
func (r *rookery) number(name []byte) int {
	digits, ok := bytes.CutPrefix(name, []byte(r.prefix))
	if !ok || len(digits) == 0 || len(digits) > 9 {
		return -1
	}
	n := 0
	for _, d := range digits {
		if d < '0' || d > '9' {
			return -1
		}
		n = n*10 + int(d-'0')
	}
	return n
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
	return r.appendRequest(dst, s, &v1.ClientFrame{Id: uint64(p.ID), Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{
		Room: r.room(p.Room), Key: strconv.FormatUint(uint64(p.Key), 36), Content: &v1.Publish_Text{Text: string(p.Body)},
	}}})
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
		frame, size, err := cutBinary(in)
		if err != nil || size == 0 {
			return 0, err
		}
		return size, r.readFrame(s, frame, e)
	}
	if s.stage == stageOpening {
		if n, err = r.web.readHandshake(s, in); n > 0 {
			s.stage = stageLogin
			e.Out = r.appendLogin(e.Out, s)
		}
		return n, err
	}
	if s.inside == 0 {
		f, err := readHeader(in)
		if err != nil || f.header == 0 {
			return 0, err
		}
		if f.op.IsControl() {
			return readControl(s, f, in, e)
		}
		s.inside = int32(f.length)
		return f.header, nil
	}
	whole := len(in) >= int(s.inside)
	in = in[:min(len(in), int(s.inside))]
	var frame []byte
	if r.codec == proto.JSON {
		frame, n = cutLine(in, whole)
	} else if frame, n, err = cutBinary(in); err != nil {
		return 0, err
	}
	if n == 0 {
		if whole {
			return 0, errors.New("the server's message ends inside a frame")
		}
		return 0, nil
	}
	s.inside -= int32(n)
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
	f := &r.server
	f.Reset()
	if err := proto.DecodeServerFrame(f, r.codec, frame); err != nil {
		return fmt.Errorf("the server sent a frame that can't be read: %w", err)
	}
	e.ID = uint32(f.Id)
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
		e.Body = []byte(op.Message.GetText())
	case *v1.ServerFrame_Gap:
		e.Kind, e.Room, e.Seq, e.Last, e.Reason = Gap, r.number([]byte(op.Gap.Room)), op.Gap.First, op.Gap.Last, op.Gap.Reason
	case *v1.ServerFrame_Error:
		if f.Id == loginID {
			return fmt.Errorf("the login was refused: %s: %s", op.Error.Name, op.Error.Message)
		}
		e.Kind, e.Reason = Refused, op.Error.Name
	case *v1.ServerFrame_Ping:
		e.Out = r.appendRequest(e.Out, s, &v1.ClientFrame{Id: loginID + 1, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
	case *v1.ServerFrame_Goaway:
		e.Kind, e.Reason = GoAway, op.Goaway.Reason
	case *v1.ServerFrame_Close:
		return &ClosedError{Code: int(op.Close.Code), Reason: op.Close.Reason}
	}
	return nil
}
