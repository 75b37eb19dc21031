package handoff

import "rookery/proto"

// EventKind says what a loop is told.
type EventKind uint8

const (
	// Joined answers Join. Every delivery of the room after it in the mailbox has a higher
	// sequence number than Seq.
	Joined EventKind = iota + 1
	// Published answers Publish: the message is committed, or ephemeral and on its way.
	Published
	// Refused answers any request that failed.
	Refused
	// Delivery is a committed message for all members of Room on this loop.
	Delivery
	// Ephemeral is a message for all members of Room on this loop that is not in the log. It has no place
	// among the deliveries.
	Ephemeral
	// Page answers a Replay read.
	Page
	// Answer carries a finished reply to a request for history.
	Answer
	// Marked carries the finished reply to a Mark, Told that to one that asks, or to any request of the keepers of members and of presence.
	Marked
	Told
	// Admitted lets a connection join a room with members, Denied does not.
	Admitted
	Denied
	// MemberChanged: a member has another role, or is muted or no more. For all loops, as are those that follow.
	MemberChanged
	// MemberRemoved: a user is no member any more. Message is what their connections are told.
	MemberRemoved
	// RoomChanged: a room with members has other settings.
	RoomChanged
	// Personal is Message for those connections of a user that want to be told of their rooms.
	Personal
	// Banned: a user may not be here any more. Disconnect: their connections are closed, for the reason in Text.
	Banned
	Disconnect
	// Observe has a loop tell the keeper of presence who is in Room, and who comes and goes from
	// then on; Ignore ends that.
	Observe
	Ignore
	// Changed is a frame for one connection that watches Room, if it still does.
	Changed
	// Responded is the whole answer, in Frames, to a request by HTTP that the loop has passed on. The connection ends with it.
	Responded
	// Posted is a POST for a stream of events. Taken answers it: Seq is the status.
	Posted
	Taken
	// Tick: a tenth of a second has passed.
	Tick
	// Drain: tell every client to leave and come back later.
	Drain
	// Refuse: answer every request with the error draining from now on.
	Refuse
	// Shut: close every connection now, with a closing handshake.
	Shut
	// Revoke: end the sessions of a token or a user.
	Revoke
	// Granted answers Connect: with a Grant or without one, or with Code if it is refused.
	Granted
	// Shrink: give back the memory of connections that have left.
	Shrink
	// Retrace: the list of users whose frames are noted is another one.
	Retrace
	// Survey: look for who is behind, and for large and busy rooms.
	Survey
	// Freeze: read nothing any more. Quiet: say whether anything is under way. Pack: give away the connections. Land: take those in that
	// were given.
	Freeze
	Quiet
	Pack
	Land
)

// Headroom is left free in front of frames that are encoded off the loop, for the header of
// the WebSocket message that carries them: so a page is not copied for its header.
const Headroom = 10

// Post is the body of a request for a stream of events.
type Post struct {
	From Handle // of the request
	Body []byte // the receiver's from now on
}

// Event is what a loop is told. Which fields are set depends on Kind.
type Event struct {
	Kind EventKind
	To   Handle
	ID   uint64 // of the request; Revoke: the token's, see identity.HashTokenID, if there is no user
	Room string // Revoke: the user

	Seq uint64 // Joined: head; Published: the message's, 0 if it is ephemeral; Page: position after the page; Drain: window to come back in, ms
	At  int64  // Published; Refused, Granted: time to wait in ms, 0: nothing is said of it; Drain: time to go in, ms; Revoke: of a user, tokens issued up to this Unix second

	// Joined: the position that the subscription continues after, and whether it does.
	HasAfter  bool
	Recovered bool
	After     uint64
	Begin     uint64 // oldest message that is still there

	Grant   *Grant         // Granted: nil leaves the token's rights
	Post    *Post          // Posted
	Member  *Membership    // Admitted, MemberChanged, MemberRemoved, RoomChanged, Personal, Banned, Disconnect
	Message *proto.Encoded // Delivery, Ephemeral, MemberRemoved, Personal
	// Page, Answer, Marked, Told, Changed: Headroom, then frames as they stand in a stream of the codec. Responded: bytes of HTTP.
	Frames []byte

	Code proto.ErrorCode // Refused, Denied, Granted; Page, Answer and Told when there are no Frames
	Text string          // the sentence for Code; Disconnect: the reason

	Size int // bytes to Release when worked off
}
