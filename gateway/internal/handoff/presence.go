package handoff

import "rookery/proto"

// PresenceKind says what a loop tells the keeper of presence.
type PresenceKind uint8

const (
	// AskPresence is answered by Told; with Watch the connection is given Changed from then on, until Unwatch.
	AskPresence PresenceKind = iota + 1
	// Unwatch: the connection watches the room no more. Not answered.
	Unwatch
	// Here answers Observe: the Members that the loop has of the room. What follows from that loop comes after.
	Here
	// Came, Went and Turned are of a connection in an observed room: it joined, it left or ended, it is away or back.
	Came
	Went
	Turned
	// Expelled is Went for a user who is no member of the room any more.
	Expelled
	// Typing: the user is typing in a room, or with Stopped is not any more. Not answered.
	Typing
)

// Presence is what a loop tells the keeper of presence. Its strings are its own copies.
type Presence struct {
	Kind  PresenceKind
	From  Handle // of Here only the loop counts
	ID    uint64 // AskPresence
	Codec proto.Codec
	Room  string
	User  string

	Watch   bool
	Away    bool // Came, Turned
	Stopped bool // Typing

	Members []Member // Here
}

// Member is a connection in a room.
type Member struct {
	Handle Handle
	User   string
	Away   bool
}

// Size is about what it holds of memory.
func (p *Presence) Size() int { return 128 + len(p.Room) + len(p.User) + 48*len(p.Members) }
