package dialect

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/gobwas/ws"
)

// centrifugo speaks the JSON protocol of Centrifugo 4 and later (its version 2) over WebSocket. A room is a channel; the
// client has to be allowed to subscribe and to publish, as with allow_subscribe_for_client and
// allow_publish_for_client of the channel's namespace, which the prefix of the rooms can name. Positions of channels
// with history are not used: publications count as not numbered.
type centrifugo struct {
	names
	web *webSocket

	scratch []byte // of the Append methods
}

// centrifugoLogin is the id of the login. A request of the caller may have it too: it comes later.
const centrifugoLogin = math.MaxUint32

func newCentrifugo(c Config, target Target) (Dialect, error) {
	web, err := target.web("centrifugo", "/connection/websocket")
	if err != nil {
		return nil, err
	}
	d := &centrifugo{names: newNames(c), web: web}
	return d, d.checkPlain()
}

func (d *centrifugo) Traits() Traits {
	return Traits{Acknowledges: true, Answers: true, Reaches: Room}
}

func (d *centrifugo) AppendOpen(dst []byte, s *Session) []byte { return d.web.appendHandshake(dst, s) }

func (d *centrifugo) appendLogin(dst []byte, s *Session) []byte {
	type connect struct {
		Token string `json:"token,omitempty"`
		Name  string `json:"name"`
	}
	command, err := json.Marshal(struct {
		ID      uint32  `json:"id"`
		Connect connect `json:"connect"`
	}{centrifugoLogin, connect{Token: d.login(s), Name: "rookery-bench"}})
	if err != nil {
		panic(fmt.Sprintf("BUG: a login can't be written as JSON: %v", err))
	}
	return appendFrame(dst, s, ws.OpText, command)
}

// begin puts a command into scratch, up to what follows the channel.
func (d *centrifugo) begin(id uint32, method string, room int) {
	d.scratch = append(d.scratch[:0], `{"id":`...)
	d.scratch = appendInteger(d.scratch, uint64(id))
	d.scratch = append(d.scratch, `,"`...)
	d.scratch = append(d.scratch, method...)
	d.scratch = append(d.scratch, `":{"channel":"`...)
	d.scratch = d.append(d.scratch, room)
}

// end appends scratch with its end.
func (d *centrifugo) end(dst []byte, s *Session, end string) []byte {
	d.scratch = append(d.scratch, end...)
	return appendFrame(dst, s, ws.OpText, d.scratch)
}

func (d *centrifugo) AppendJoin(dst []byte, s *Session, j Join) []byte {
	d.begin(j.ID, "subscribe", j.Room)
	return d.end(dst, s, `"}}`)
}

func (d *centrifugo) AppendLeave(dst []byte, s *Session, id uint32, room int) []byte {
	d.begin(id, "unsubscribe", room)
	return d.end(dst, s, `"}}`)
}

// AppendMark: it has no receipts.
func (*centrifugo) AppendMark(dst []byte, _ *Session, _ uint32, _ int, _ uint64) []byte { return dst }

// AppendWatch: it has no presence of this kind.
func (*centrifugo) AppendWatch(dst []byte, _ *Session, _ int) []byte { return dst }

func (d *centrifugo) AppendPublish(dst []byte, s *Session, p Publish) []byte {
	d.begin(p.ID, "publish", p.Room)
	d.scratch = append(d.scratch, `","data":"`...)
	d.scratch = append(d.scratch, p.Body...)
	return d.end(dst, s, `"}}`)
}

func (d *centrifugo) AppendClose(dst []byte, s *Session) []byte {
	if s.stage == stageOpening {
		return dst
	}
	return appendClose(dst, s)
}

func (d *centrifugo) Read(s *Session, in []byte, e *Event) (n int, err error) {
	e.reset()
	if s.stage == stageOpening {
		if n, err = d.web.readHandshake(s, in); n > 0 {
			s.stage = stageLogin
			e.Out = d.appendLogin(e.Out, s)
		}
		return n, err
	}
	line, ok, n, err := readPart(s, in, e, cutLine)
	if err != nil || !ok || len(line) == 0 {
		return n, err
	}
	if string(line) == "{}" { // a ping, and its answer
		e.Out = appendFrame(e.Out, s, ws.OpText, line)
		return n, nil
	}
	if d.readPublication(line, e) || readPublishReply(line, e) {
		return n, nil
	}
	return n, d.readReply(s, line, e)
}

// readPublication reads a message as the server writes it, without an allocation. What is behind data is left
// in the body; false for anything else.
func (d *centrifugo) readPublication(line []byte, e *Event) bool {
	in := scanner{rest: line, ok: true}
	in.want(`{"push":{"channel":"`)
	room := in.until('"')
	in.want(`,"pub":{"data":`)
	if !in.ok {
		return false
	}
	e.Kind, e.Room, e.Body = Message, d.number(room), in.rest
	return true
}

// readPublishReply reads the acknowledgement of a publish; false for anything else.
func readPublishReply(line []byte, e *Event) bool {
	in := scanner{rest: line, ok: true}
	in.want(`{"id":`)
	id := in.number()
	in.want(`,"publish":{`)
	if !in.ok || id > math.MaxUint32 {
		return false
	}
	e.Kind, e.ID = Acknowledged, uint32(id)
	return true
}

// centrifugoReply is what the server sends: the reply to a command, or a push.
type centrifugoReply struct {
	ID    uint32 `json:"id"`
	Error *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	Connect     *struct{} `json:"connect"`
	Subscribe   *struct{} `json:"subscribe"`
	Unsubscribe *struct{} `json:"unsubscribe"`
	Publish     *struct{} `json:"publish"`
	Push        *struct {
		Channel string `json:"channel"`
		Pub     *struct {
			Data json.RawMessage `json:"data"`
		} `json:"pub"`
		Unsubscribe *centrifugoEnd `json:"unsubscribe"`
		Disconnect  *centrifugoEnd `json:"disconnect"`
	} `json:"push"`
}

type centrifugoEnd struct {
	Code   int    `json:"code"`
	Reason string `json:"reason"`
}

func (d *centrifugo) readReply(s *Session, line []byte, e *Event) error {
	var r centrifugoReply
	if err := json.Unmarshal(line, &r); err != nil {
		return fmt.Errorf("the server sent a line that can't be read: %w", err)
	}
	e.ID = r.ID
	switch {
	case r.Error != nil && s.stage != stageReady:
		return fmt.Errorf("the login was refused: %d %s", r.Error.Code, r.Error.Message)
	case r.Error != nil:
		e.Kind, e.Reason = Refused, r.Error.Message
	case r.Connect != nil && s.stage != stageReady:
		s.stage = stageReady
		e.Kind, e.ID = Ready, 0
	case r.Subscribe != nil:
		e.Kind = Joined
	case r.Unsubscribe != nil:
		e.Kind = Left
	case r.Publish != nil:
		e.Kind = Acknowledged
	case r.Push == nil:
	case r.Push.Pub != nil:
		e.Kind, e.Room, e.Body = Message, d.number([]byte(r.Push.Channel)), r.Push.Pub.Data
	case r.Push.Disconnect != nil:
		return &ClosedError{Code: r.Push.Disconnect.Code, Reason: r.Push.Disconnect.Reason}
	case r.Push.Unsubscribe != nil:
		end := r.Push.Unsubscribe
		return fmt.Errorf("the server ended the subscription to %s with %d %s", r.Push.Channel, end.Code, end.Reason)
	}
	return nil
}
