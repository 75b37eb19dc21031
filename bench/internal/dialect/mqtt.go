package dialect

import (
	"errors"
	"fmt"
	"math"

	"github.com/gobwas/ws"
)

// mqtt speaks MQTT 3.1.1, over WebSocket (subprotocol mqtt) and over TCP, where the bytes are the same. A room is a
// topic of its name. Publishes and subscriptions have the quality of service of plan.Server.QoS: at 0 a
// publish has no answer, at 1 it is acknowledged. A token is the password, beside the user's name. Sessions are
// clean, so that no server keeps anything of a run; keep alive is off, since the load may leave a connection in silence.
type mqtt struct {
	names
	web *webSocket // nil: raw TCP
	qos byte

	scratch []byte // of the Append methods and of Read
}

func newMQTT(c Config, target Target) (Dialect, error) {
	d := &mqtt{names: newNames(c), qos: byte(c.Server.QoS)}
	if c.Server.QoS != 0 && c.Server.QoS != 1 {
		return nil, fmt.Errorf("the quality of service is %d: use 0 or 1", c.Server.QoS)
	}
	if target.Scheme == "ws" {
		d.web = &webSocket{host: target.Host, path: target.path("/mqtt"), subprotocol: "mqtt"}
	}
	return d, d.checkPlain()
}

func (d *mqtt) Traits() Traits {
	return Traits{Acknowledges: d.qos == 1, Answers: true, Reaches: Room}
}

func (d *mqtt) AppendOpen(dst []byte, s *Session) []byte {
	if d.web != nil {
		return d.web.appendHandshake(dst, s)
	}
	s.stage = stageLogin
	return d.appendConnect(dst, s)
}

// appendPacket appends a packet as it stands on the connection.
func (d *mqtt) appendPacket(dst []byte, s *Session, packet []byte) []byte {
	if d.web == nil {
		return append(dst, packet...)
	}
	return appendFrame(dst, s, ws.OpBinary, packet)
}

func (d *mqtt) appendConnect(dst []byte, s *Session) []byte {
	user, token := d.user(s), d.login(s)
	body := appendString(nil, "MQTT")
	flags := byte(connectClean)
	if token != "" {
		flags |= connectUser | connectPassword
	}
	body = append(body, mqttLevel, flags, 0, 0) // keep alive is off
	body = appendString(body, user)             // the client's identifier
	if token != "" {
		body = appendString(appendString(body, user), token)
	}
	d.scratch = append(appendFixed(d.scratch[:0], packetConnect, 0, len(body)), body...)
	return d.appendPacket(dst, s, d.scratch)
}

func (d *mqtt) AppendJoin(dst []byte, s *Session, j Join) []byte {
	return d.appendTopicRequest(dst, s, packetSubscribe, j.ID, j.Room)
}

func (d *mqtt) AppendLeave(dst []byte, s *Session, id uint32, room int) []byte {
	return d.appendTopicRequest(dst, s, packetUnsubscribe, id, room)
}

func (d *mqtt) appendTopicRequest(dst []byte, s *Session, kind byte, id uint32, room int) []byte {
	packet, ok := s.requests().add(id)
	if !ok {
		return dst
	}
	topic := d.room(room)
	size := 2 + 2 + len(topic)
	if kind == packetSubscribe {
		size++
	}
	d.scratch = appendFixed(d.scratch[:0], kind, flagsRequest, size)
	d.scratch = appendString(appendShort(d.scratch, packet), topic)
	if kind == packetSubscribe {
		d.scratch = append(d.scratch, d.qos)
	}
	return d.appendPacket(dst, s, d.scratch)
}

// AppendMark: it has no receipts.
func (*mqtt) AppendMark(dst []byte, _ *Session, _ uint32, _ int, _ uint64) []byte { return dst }

// AppendWatch: it has no presence of this kind.
func (*mqtt) AppendWatch(dst []byte, _ *Session, _ int) []byte { return dst }

// AppendPublish appends nothing when 65,535 requests are not answered: then no identifier is free, and the
// message counts as lost, which it would be anyway with a server that is so far behind.
func (d *mqtt) AppendPublish(dst []byte, s *Session, p Publish) []byte {
	size := 2 + len(d.prefix) + digits(p.Room) + len(p.Body)
	if d.qos == 0 {
		d.scratch = appendFixed(d.scratch[:0], packetPublish, 0, size)
		d.scratch = d.appendTopic(d.scratch, p.Room)
	} else {
		packet, ok := s.requests().add(p.ID)
		if !ok {
			return dst
		}
		d.scratch = appendFixed(d.scratch[:0], packetPublish, d.qos<<1, size+2)
		d.scratch = appendShort(d.appendTopic(d.scratch, p.Room), packet)
	}
	d.scratch = append(d.scratch, p.Body...)
	return d.appendPacket(dst, s, d.scratch)
}

func (d *mqtt) appendTopic(dst []byte, room int) []byte {
	return d.append(appendShort(dst, uint16(len(d.prefix)+digits(room))), room)
}

func (d *mqtt) AppendClose(dst []byte, s *Session) []byte {
	if s.stage == stageOpening {
		return dst
	}
	d.scratch = appendFixed(d.scratch[:0], packetDisconnect, 0, 0)
	dst = d.appendPacket(dst, s, d.scratch)
	if d.web != nil {
		dst = appendClose(dst, s)
	}
	return dst
}

func (d *mqtt) Read(s *Session, in []byte, e *Event) (n int, err error) {
	e.reset()
	if d.web == nil {
		packet, n, err := cutPacket(in, false)
		if err != nil || n == 0 {
			return 0, err
		}
		return n, d.readPacket(s, packet, e)
	}
	if s.stage == stageOpening {
		if n, err = d.web.readHandshake(s, in); n > 0 {
			s.stage = stageLogin
			e.Out = d.appendConnect(e.Out, s)
		}
		return n, err
	}
	// MQTT 6.0: packets need not end where WebSocket messages do, so these are read as one stream.
	packet, ok, n, err := readPart(s, in, e, cutPacket)
	switch {
	case err != nil || !ok:
		return n, err
	case s.text:
		return n, errors.New("the server sent a text message; MQTT is binary")
	}
	return n, d.readPacket(s, packet, e)
}

// readPacket takes one packet of the server.
func (d *mqtt) readPacket(s *Session, packet []byte, e *Event) error {
	kind, flags := packet[0]>>4, packet[0]&0x0f
	body := packet[1:]
	_, size, _ := cutSize(body) // cutPacket has seen it
	body = body[size:]
	switch kind {
	case packetPublish:
		return d.readPublish(s, flags, body, e)
	case packetConnack:
		return readConnack(s, body, e)
	case packetPuback, packetUnsuback, packetSuback:
		return readAnswer(s, kind, body, e)
	case packetPingresp:
		return nil
	}
	return fmt.Errorf("the server sent a packet of type %d, which no client gets", kind)
}

func readConnack(s *Session, body []byte, e *Event) error {
	switch {
	case len(body) != 2:
		return errShortPacket
	case body[1] != 0:
		return fmt.Errorf("the login was refused: %s", connackReason(body[1]))
	case s.stage == stageReady:
		return errors.New("the server answered a login that was not asked for")
	}
	s.stage = stageReady
	e.Kind = Ready
	return nil
}

// readPublish takes a message, and acknowledges it where its quality of service is 1.
func (d *mqtt) readPublish(s *Session, flags byte, body []byte, e *Event) error {
	topic, rest, ok := cutString(body)
	if !ok {
		return errShortPacket
	}
	switch qos := flags >> 1 & 3; qos {
	case 0:
	case 1:
		if len(rest) < 2 {
			return errShortPacket
		}
		d.scratch = append(appendFixed(d.scratch[:0], packetPuback, 0, 2), rest[:2]...)
		e.Out = d.appendPacket(e.Out, s, d.scratch)
		rest = rest[2:]
	default:
		return fmt.Errorf("the server sent a message of quality of service %d, 1 at most was asked for", qos)
	}
	e.Kind, e.Room, e.Body = Message, d.number(topic), rest
	return nil
}

// readAnswer takes the answer to a request.
func readAnswer(s *Session, kind byte, body []byte, e *Event) error {
	if len(body) < 2 {
		return errShortPacket
	}
	id, ok := s.requests().take(uint16(body[0])<<8 | uint16(body[1]))
	if !ok {
		return errors.New("the server answered a request that is not waiting for an answer")
	}
	e.ID = id
	switch kind {
	case packetPuback:
		e.Kind = Acknowledged
	case packetUnsuback:
		e.Kind = Left
	case packetSuback:
		switch {
		case len(body) != 3:
			return errShortPacket
		case body[2] == subackFailure:
			e.Kind, e.Reason = Refused, "the subscription failed"
		default:
			e.Kind = Joined
		}
	}
	return nil
}

// flight gives the 16 bits that MQTT has for the identifier of a packet to requests, which have 32. Identifiers
// are given in turn, so a queue of the requests is all that is kept: 4 bytes for each that is not
// answered, or was sent after one that is not. Servers answer nearly in order, so the queue is short.
type flight struct {
	ids   []uint32 // of the requests, in order; 0: answered
	head  int      // ids before are answered
	first uint16   // the identifier of ids[head], counted from 0
}

// identifiers is how many there are: 1 to 65,535.
const identifiers = math.MaxUint16

func (s *Session) requests() *flight {
	if s.flight == nil {
		s.flight = &flight{}
	}
	return s.flight
}

// add gives an identifier to a request; false when none is free.
func (f *flight) add(id uint32) (packet uint16, ok bool) {
	waiting := len(f.ids) - f.head
	if waiting == identifiers {
		return 0, false
	}
	if f.head > 64 && f.head > waiting {
		f.ids = f.ids[:copy(f.ids, f.ids[f.head:])]
		f.head = 0
	}
	f.ids = append(f.ids, id)
	return uint16((int(f.first)+waiting)%identifiers) + 1, true
}

// take gives the request of an identifier, once.
func (f *flight) take(packet uint16) (id uint32, ok bool) {
	at := f.head + (int(packet)-1-int(f.first)+identifiers)%identifiers
	if packet == 0 || at >= len(f.ids) || f.ids[at] == 0 {
		return 0, false
	}
	id, f.ids[at] = f.ids[at], 0
	for f.head < len(f.ids) && f.ids[f.head] == 0 {
		f.head++
		f.first = (f.first + 1) % identifiers
	}
	if f.head == len(f.ids) {
		f.ids, f.head = f.ids[:0], 0
		if cap(f.ids) > 64 {
			f.ids = nil // an idle connection keeps little
		}
	}
	return id, true
}
