package handoff

import (
	"time"

	"rookery/proto"
)

// RoomKind says who may be in a room. It follows from the room's name and never changes.
type RoomKind uint8

const (
	Plain  RoomKind = iota // whoever's token allows it; the room has no members
	Open                   // the same, and who joins becomes a member
	Group                  // members only, who are invited
	Direct                 // two users, named by DirectName
)

func (k RoomKind) String() string { return [...]string{"plain", "open", "group", "direct"}[k] }

// ParseRoomKind is for the kinds of rooms with members.
func ParseRoomKind(s string) (kind RoomKind, ok bool) {
	for kind = Open; kind <= Direct; kind++ {
		if kind.String() == s {
			return kind, true
		}
	}
	return Plain, false
}

// Role is what a user is in a room. A higher one may do all that a lower one may.
type Role uint8

const (
	RoleNone      Role = iota // not a member
	RoleGuest                 // reads
	RoleMember                // publishes and invites
	RoleModerator             // sees to order among those below
	RoleOwner                 // names moderators and owners
	RoleServer                // whoever runs the server
)

func (r Role) String() string {
	return [...]string{"", "guest", "member", "moderator", "owner", "server"}[r]
}

// ParseRole is for the roles that a member can have.
func ParseRole(s string) (role Role, ok bool) {
	for role = RoleGuest; role <= RoleOwner; role++ {
		if role.String() == s {
			return role, true
		}
	}
	return RoleNone, false
}

// Notify says of which messages a member is told who has not received them.
type Notify uint8

const (
	NotifyAll Notify = iota
	NotifyMentions
	NotifyNone
)

func (n Notify) String() string { return [...]string{"all", "mentions", "none"}[n] }

// ParseNotify reads the name of one.
func ParseNotify(s string) (n Notify, ok bool) {
	for n = NotifyAll; n <= NotifyNone; n++ {
		if n.String() == s {
			return n, true
		}
	}
	return NotifyAll, false
}

// WebPush is a subscription of a browser to a push service.
type WebPush struct{ Endpoint, P256dh, Auth string }

// Subscription is how a device is told, by one of three services.
type Subscription struct {
	WebPush WebPush
	APNs    string // token of Apple's push service
	FCM     string // token of Firebase Cloud Messaging
}

// Service is what tells a device.
type Service string

const (
	NoService      Service = ""
	ServiceWebPush Service = "web_push"
	ServiceAPNs    Service = "apns"
	ServiceFCM     Service = "fcm"
)

// Service names the one that is set, NoService if none or several are.
func (s Subscription) Service() Service {
	switch {
	case s == Subscription{WebPush: s.WebPush} && s.WebPush != WebPush{}:
		return ServiceWebPush
	case s == Subscription{APNs: s.APNs} && s.APNs != "":
		return ServiceAPNs
	case s == Subscription{FCM: s.FCM} && s.FCM != "":
		return ServiceFCM
	}
	return NoService
}

func (s *Subscription) size() int {
	return len(s.WebPush.Endpoint) + len(s.WebPush.P256dh) + len(s.WebPush.Auth) + len(s.APNs) + len(s.FCM)
}

// ForEver is a time that does not come, Unix milliseconds.
const ForEver = proto.MaxInteger

// UntilWhen ends a sentence about a ban or a mute: " until" and the time, in UTC, or nothing if it is for ever.
func UntilWhen(until int64) string {
	if until >= ForEver {
		return ""
	}
	return " until " + time.UnixMilli(until).UTC().Format("2006-01-02 15:04:05 UTC")
}

// MemberKind says what is asked of the keeper of members.
type MemberKind uint8

const (
	// Enter wants to subscribe to a room with members: answered by Admitted or Denied. All else is answered by Told.
	Enter MemberKind = iota + 1
	CreateRoom
	ConfigureRoom
	ChangeMember
	ListMembers
	ListRooms
	SetNotify
	SetDevice
)

// MemberRequest is what somebody wants of the keeper of members. Its strings are its own copies.
type MemberRequest struct {
	Kind  MemberKind
	From  Handle
	ID    uint64
	Codec proto.Codec
	Room  string // empty in a change: the whole server
	User  string // who asks
	// Moderator: the user's token makes them one in this room, or of the whole server. Server: it is the server that asks.
	Moderator, Server bool

	// Enter: the position to continue after, which comes back with the answer.
	Entry

	// CreateRoom: Target is the other user of a direct room, and of the server's rooms the owner.
	// ConfigureRoom: what is to be changed.
	SetTitle, SetSlow bool
	Title             string
	SlowMS            uint32
	Speak             string

	// ChangeMember.
	Target string // empty: who asks
	Action string
	Role   string
	ForMS  uint64 // 0: for ever
	Reason string

	// ListMembers and ListRooms.
	PageAfter string
	Limit     int
	Banned    bool

	// SetNotify.
	Level string // empty: only asked

	// SetDevice.
	Device       string                 // empty: only asked
	Register     bool                   // or forget
	Subscription Subscription           // to register
	May          func(room string) bool // of ListRooms: whether a room is listed; nil: all are. Safe from any goroutine
}

// Size is about what the request holds of memory.
func (r *MemberRequest) Size() int {
	return 320 + len(r.Room) + len(r.User) + len(r.Epoch) + len(r.Title) + len(r.Target) + len(r.Reason) + len(r.PageAfter) + len(r.Level) +
		len(r.Device) + r.Subscription.size()
}

// Entry is where a join continues.
type Entry struct {
	HasAfter bool
	After    uint64
	Epoch    string
}

// Membership is what the keeper tells loops of a user in a room, or of the room.
type Membership struct {
	Entry // Admitted: as it was asked

	User       string
	Role       Role
	MutedUntil int64 // Unix milliseconds, 0: not muted
	Peer       string

	Kind   RoomKind
	Title  string
	Speak  Role
	SlowMS uint32
}
