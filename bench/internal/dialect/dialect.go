// Package dialect is what is said to each kind of server that can be put under load: bytes in, events out, and requests
// as bytes. It is pure: no socket, no goroutine, and no clock but for the dates in tokens.
//
//	dialect.go      what all of them have in common
//	target.go       addresses
//	names.go        names of rooms and users, tokens
//	websocket.go    the client's side of RFC 6455
//	rookery.go      Rookery, over WebSocket and raw TCP
//	frames.go       its binary frames and JSON lines
//	generic.go      any WebSocket server that sends on what it gets
//	template.go     what such a server is told
//	socketio.go     Socket.IO
//	centrifugo.go   Centrifugo
//	mqtt.go         MQTT 3.1.1, over WebSocket and raw TCP
//	packets.go      its packets
//
// A Dialect has no state of a connection; that is in Session, which is small because there is one for each of
// hundreds of thousands of connections. What a connection receives is shown to Read until nothing is left but the begin of
// something; nothing is copied that was received as a whole.
package dialect

import (
	"fmt"
	"slices"
	"strings"

	"rookery/bench/plan"
)

// Dialect speaks to one kind of server. The Append methods append a request, or nothing where the server has no such
// thing. One Dialect may be used by one goroutine.
type Dialect interface {
	// AppendOpen is what a connection sends first.
	AppendOpen(dst []byte, s *Session) []byte
	AppendJoin(dst []byte, s *Session, j Join) []byte
	AppendLeave(dst []byte, s *Session, id uint32, room int) []byte
	AppendPublish(dst []byte, s *Session, p Publish) []byte
	// AppendMark says that everything of a room up to a message has been read. It is answered by Marked or Refused.
	AppendMark(dst []byte, s *Session, id uint32, room int, seq uint64) []byte
	// AppendWatch asks who is in a room that was joined, and to be told of changes. What comes of it is Presence.
	AppendWatch(dst []byte, s *Session, room int) []byte
	// AppendClose is what is sent before the socket is closed in good order.
	AppendClose(dst []byte, s *Session) []byte
	// Read takes at most one event out of in, which begins where the last Read ended, and gives the number
	// of bytes that are done with. It may give bytes without an event. Neither bytes nor an event means that
	// more input is needed. What e points to is valid until in changes and until the next Read.
	// An error ends the connection: the server does not speak this dialect, or closed.
	Read(s *Session, in []byte, e *Event) (n int, err error)
	Traits() Traits
}

// Traits are what a load can rely on with a server.
type Traits struct {
	// Numbered: messages of a room have the numbers 1, 2, 3 and so on, given by the server.
	Numbered bool
	// Acknowledges: a publish is answered by Acknowledged or Refused.
	Acknowledges bool
	// Answers joins and leaves. Where it does not, they count as done when they are sent.
	Answers bool
	// Pipelines: joins need not wait for the answer to the login, they may leave in one write with it. They can be appended as
	// soon as the session is Opened, Ready is the answer to the login, and answers to joins follow.
	Pipelines bool
	// Resumes: a join can name the last message that was seen and gets what followed.
	Resumes bool
	// Reaches says who gets a message.
	Reaches Reach
	// Ephemeral: it takes publishes with Publish.Ephemeral.
	Ephemeral bool
	// Receipts: it takes marks.
	Receipts bool
	// Presence: it tells who is in a room.
	Presence bool
}

// Reach says who gets a message.
type Reach uint8

// The zero Reach is that of a chat room.
const (
	Room       Reach = iota // the members of the room, the sender if it is one
	RoomOthers              // the same without the sender
	Everyone                // every connection, whatever it joined
	Others                  // the same without the sender
	Sender                  // only the sender: an echo
)

// Stamp begins every body: by it a message is known that a server has put into a text of its own.
const Stamp = "rb1."

// Join is a request to become a member of a room.
type Join struct {
	// ID is not 0, and not that of another request of the connection which is not answered.
	ID   uint32
	Room int
	// After is the number of the last message that was seen; what follows it is asked for. Negative: only what is new.
	After int64
}

// Publish is a message to be sent.
type Publish struct {
	ID   uint32
	Room int
	// Key is a number that no other publish of this user has.
	Key uint32
	// Ephemeral is the key of a message that is not to be stored; it needs no ID, and is answered only with one. Empty: it is to be stored.
	Ephemeral string
	// Body begins with Stamp and is printable ASCII without quotes and backslashes, so that it can be put into any text.
	Body []byte
}

// Session is what a dialect knows of one connection. The zero value with User set is a new connection's.
type Session struct {
	User uint32 // set by the caller: unique in the run

	// Of WebSocket, see websocket.go.
	inside int32   // bytes of the current frame that are still to come
	text   bool    // it is of a text message
	more   bool    // and not the last of it
	stage  stage   // how far the connection is
	masks  uint32  // makes the next masking key
	parts  *[]byte // the begin of what goes over several frames, nil nearly always

	// Of the dialects websocket and mqtt: requests that are not answered.
	waiting *waiting
	flight  *flight
}

// Opened reports whether the server has answered the handshake, or there is none.
func (s *Session) Opened() bool { return s.stage != stageOpening }

// Between reports whether the session is ready and nothing is half read, asked or under way in it: what it makes of bytes does not depend on what came
// before then, and is what every other such session of the same dialect makes of them.
func (s *Session) Between() bool {
	return s.stage == stageReady && s.inside == 0 && !s.more && s.parts == nil && s.waiting == nil && s.flight == nil
}

// stage of a connection. Dialects go from stageOpening over their own ones to stageReady.
type stage uint8

const (
	stageOpening stage = iota // the answer to the handshake is awaited
	stageLogin                // the answer to the login is awaited
	stageReady
)

// Kind of an Event.
type Kind uint8

const (
	None         Kind = iota
	Ready             // the login is done: rooms can be joined
	Joined            // ID; Seq is the number of the newest message of the room
	Left              // ID
	Message           // Room, Seq where messages are numbered, Body
	Acknowledged      // ID, Seq where messages are numbered
	Refused           // ID, Reason: of a join, a leave, a publish or a mark
	Marked            // ID, Seq up to which the user has read the room
	Receipt           // somebody has come further in a room, or some have
	Presence          // who is in a room, or who has come, gone or turned away
	Gap               // Room, Seq to Last: these are not there any more
	GoAway            // the server asks to leave soon
)

// Event is what a server said.
type Event struct {
	Kind Kind
	ID   uint32
	Room int // -1: none that this run has, or (dialect websocket) unknown
	Seq  uint64
	Last uint64
	// Body may have text around the message that was sent.
	Body []byte
	// Ephemeral: of a Message that is not stored. It has no Seq.
	Ephemeral bool
	Reason    string
	// Out is to be sent now, with or without another event.
	Out []byte

	pong []byte // the payload of a Pong
}

// reset forgets everything but the memory of Out.
func (e *Event) reset() { *e = Event{Room: -1, Out: e.Out[:0]} }

// Config says what is spoken.
type Config struct {
	Server plan.Server
	// Prefix is in front of the number of a room in its name, and of a user in its.
	Prefix string
	// Ephemeral: all messages will be, which changes what can be relied on.
	Ephemeral bool
}

// New gives the dialect of a plan's server for one target of it, a checked address.
func New(c Config, target Target) (Dialect, error) {
	make, ok := dialects[c.Server.Dialect]
	if !ok {
		return nil, fmt.Errorf("dialect %q: use one of %s", c.Server.Dialect, strings.Join(Names(), ", "))
	}
	d, err := make(c, target)
	if err != nil {
		return nil, err
	}
	if c.Ephemeral && !d.Traits().Ephemeral {
		return nil, fmt.Errorf("publish.ephemeral is set, but servers of the dialect %s have no such messages", c.Server.Dialect)
	}
	return d, nil
}

// dialects by name.
var dialects = map[string]func(Config, Target) (Dialect, error){
	"rookery":    newRookery,
	"websocket":  newGeneric,
	"socket.io":  newSocketIO,
	"centrifugo": newCentrifugo,
	"mqtt":       newMQTT,
}

// Names lists the dialects.
func Names() []string {
	var names []string
	for name := range dialects {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
