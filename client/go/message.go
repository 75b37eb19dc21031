package client

import (
	"time"

	v1 "rookery/proto/rookery/v1"
)

// Message is a message of a room. Its bytes belong to the receiver.
type Message struct {
	Room string
	Seq  uint64 // 1, 2, 3 and so on in each room; 0 of an ephemeral message
	At   time.Time
	From string
	Text string
	Data []byte // not nil for a message of bytes; Text is empty then

	// Ephemeral messages have no Seq, are in no history, and carry the Key of their publish.
	Ephemeral bool
	Key       string

	ReplyTo  uint64   // message that this one answers, 0: none
	Thread   uint64   // message that begins the thread it belongs to, 0: none
	Mentions []string // users that it speaks of
	Kind     string   // what an application takes the content for

	// Change is not nil when this is not a message but a change to an earlier one: see Shown. An edit's Text, Data and
	// Mentions are those of the message from now on, unless NoContent.
	Change *Change
	// NoContent: it has neither Text nor Data, not even empty ones.
	NoContent bool

	// What the server has folded into a message that it read from the log, and Shown into one that it holds.
	Revision  uint64 // sequence number of the newest change in it, 0: none
	Edits     int
	Deleted   bool // a tombstone: it has no content any more
	Pinned    bool
	Reactions []Reaction
	Replies   Replies // of the thread that it begins
}

func newMessage(m *v1.Message) Message {
	message := Message{
		Room: m.Room, Seq: m.Seq, At: time.UnixMilli(int64(m.At)), From: m.From, Text: m.GetText(),
		Ephemeral: m.Ephemeral, Key: m.Key,
		ReplyTo: m.ReplyTo, Thread: m.Thread, Mentions: m.Mentions, Kind: m.Kind,
		Change: newChange(m.Change), NoContent: m.Content == nil,
		Revision: m.Revision, Edits: int(m.Edits), Deleted: m.Deleted, Pinned: m.Pinned,
		Replies: Replies{Count: int(m.Replies.GetCount()), Last: m.Replies.GetLast()},
	}
	for _, r := range m.Reactions {
		message.Reactions = append(message.Reactions, Reaction{r.Reaction, int(r.Count), r.Users, r.Own})
	}
	if c, ok := m.Content.(*v1.Message_Data); ok {
		message.Data = append([]byte{}, c.Data...)
	}
	return message
}

// Position is a place in a room's history: after message Seq of the history that Epoch
// names. The zero Position is the beginning of whichever history is current.
type Position struct {
	Epoch string
	Seq   uint64
}

// Publication is what PublishMessage, Enqueue and the calls for ephemeral messages take.
type Publication struct {
	Room string
	// Key makes repetition harmless: the server stores one message per user, room and
	// key. Empty: the client makes one. Of an ephemeral message it says which value this is
	// a newer one of, and stays empty if it is.
	Key string
	// Text, or Data when that is not nil.
	Text string
	Data []byte

	// As in Message; all may be left out. A Change other than an edit has no content and mentions, and
	// there are calls for them: Edit, Delete, React, Pin.
	ReplyTo  uint64
	Thread   uint64
	Mentions []string
	Kind     string
	Change   *Change
}

// Published is the acknowledgement: the message is durable in its place.
type Published struct {
	Room string
	Seq  uint64
	At   time.Time
	Key  string
}

// HistoryQuery asks for the newest messages, those before a message, or those after one.
type HistoryQuery struct {
	// Before is a sequence number; 0: not asked for.
	Before uint64
	// After is a sequence number, 0 for the beginning; nil: not asked for.
	After *uint64
	// Limit is 1 to 200; 0: 50. The server may send fewer, see Page.More.
	Limit int
	// At most one of these: only the thread that this message begins, itself among it; only what is pinned; only what
	// mentions this user.
	Thread   uint64
	Pinned   bool
	Mentions bool
}

// Page is an answer to History.
type Page struct {
	Epoch    string
	Messages []Message   // ascending, with their later changes in them; one that is a Change is there for its Seq only
	More     bool        // in the direction that was asked for
	Begin    uint64      // oldest message of the room that is still there; one above the newest if none is
	Gaps     []*GapError // messages of this page that can't be read, ascending
}

// State is where the client stands; docs/client.md draws the transitions. There is no idle
// state: New starts to connect.
type State int

const (
	Waiting    State = iota // for the next try to connect
	Connecting              // asking for a token, opening the socket, saying who we are
	Connected
	Closed // for good
)

func (s State) String() string {
	switch s {
	case Waiting:
		return "waiting"
	case Connecting:
		return "connecting"
	case Connected:
		return "connected"
	}
	return "closed"
}

// StateChange is what OnState is told.
type StateChange struct {
	State State
	// RetryIn is the time to the next try, when Waiting.
	RetryIn time.Duration
	// Err is what ended the last connection or try when Waiting, the reason when Closed.
	Err error
	// User and Session are the server's names for them, when Connected.
	User, Session string
}
