package handoff

import (
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// CommandKind says what a loop wants of a room.
type CommandKind uint8

const (
	// Join asks where a room stands, and for its deliveries from there on: answered by Joined. A loop may ask again.
	Join CommandKind = iota + 1
	// Gone: the loop has no members of the room any more, nor joins of any under way. Not answered.
	Gone
	// Publish is answered by Published or Refused, by nothing but Refused if it is ephemeral and without ID.
	Publish
	// Alter is a Publish that changes an earlier message. It is looked at beside the log before the shard orders it.
	Alter
)

// Command is one request from a loop to the shard of a room. Its strings and bytes are
// its own copies.
type Command struct {
	Kind CommandKind
	From Handle
	ID   uint64 // of the request, 0: it has none
	Room string
	// Ephemeral: the room of a Join is, the message of a Publish is.
	Ephemeral bool

	// Join: the position to continue after, if HasAfter. An empty Epoch is the current one.
	HasAfter bool
	After    uint64
	Epoch    string

	// Publish.
	User    string
	Key     string
	Content []byte // as proto.AppendContent makes it
	Refers  uint64 // newest message that it speaks of, 0 if none

	// Alter, besides the fields of Publish.
	Change *Change

	// Ask: an application is asked before the shard orders a Publish or an Alter. Moderates: the user has the rights of a moderator in the
	// room, set where Ask is. Asked: the application has had its word.
	Ask, Moderates, Asked bool
	// Refusal is set by who looks at a command beside the log: why it is refused. It goes to the shard all the same, since its retry key may
	// be known there.
	Refusal *Refusal
}

// Refusal is why a request is not granted.
type Refusal struct {
	Code proto.ErrorCode
	Text string
	Wait time.Duration // to ask again after, 0: nothing is said of it
}

// Change is what the way of an Alter adds to it, set by the loop.
type Change struct {
	*v1.Change
	Moderates bool // the user has the rights of a moderator in the room
	Pins      bool // everybody may pin in the room
}

// Size is about what the command holds of memory.
func (c *Command) Size() int { return 192 + len(c.Room) + len(c.Epoch) + len(c.Key) + len(c.Content) }

// ReadKind says what is read from the log for a connection.
type ReadKind uint8

const (
	// Replay: the messages of a subscription that is behind, ascending, answered by Page.
	Replay ReadKind = iota + 1
	// HistoryBefore and HistoryAfter: a page that the client asked for, answered by Answer.
	HistoryBefore
	HistoryAfter
	// Sync: a page of a user's rooms, answered by Answer.
	Sync
)

// ReadList is which messages of a room a page of history is of.
type ReadList uint8

// Of these but Everything only what the index of changes lists.
const (
	Everything ReadList = iota
	Thread              // the thread that message Root begins
	Pinned
	Mentions // of User
)

// Read asks the log readers for messages of one room, or for a user's rooms.
type Read struct {
	Kind     ReadKind
	To       Handle
	ID       uint64 // of the request, for history
	Room     string
	Position uint64 // exclusive; for HistoryBefore 0 is the newest end
	Limit    int    // messages, for history
	Codec    proto.Codec
	User     string // who reads
	List     ReadList
	Root     uint64 // of a Thread
	Rooms    *Rooms // of Sync; Limit is how many, and Room is not there
}

// Rooms says which part of a user's rooms is wanted. Its strings are its own copies.
type Rooms struct {
	Position string // of an earlier Sync
	Next     string // of the page before
	Messages int    // of each room
	// May reports whether the user may read a room. It is safe to call from any goroutine.
	May func(room string) bool
}

// Mark says that a user has come further in a room, or asks how far everybody has. A question is answered by Told, a mark by Marked or Refused, and
// one without ID by nothing but Refused. Its strings are its own copies.
type Mark struct {
	From  Handle
	ID    uint64 // of the request, 0: it has none
	Codec proto.Codec
	Room  string
	User  string

	Ask             bool // it is a question; then the positions are not there
	Delivered, Read uint64
}

// Size is about what the mark holds of memory.
func (m *Mark) Size() int { return 96 + len(m.Room) + len(m.User) }
