package client

import (
	"context"
	"fmt"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// ForEver is the end of a ban or a mute that does not end.
var ForEver = time.UnixMilli(proto.MaxInteger)

// Roles of members. A higher one may do all that a lower one may; docs/rooms.md says what that is.
const (
	RoleGuest     = "guest"
	RoleMember    = "member"
	RoleModerator = "moderator"
	RoleOwner     = "owner"
)

// What can be done to a member.
const (
	Invite = "invite"
	Quit   = "leave" // for the user of this client: the membership ends, and all subscriptions with it
	Kick   = "kick"
	Ban    = "ban"
	Unban  = "unban"
	Mute   = "mute"
	Unmute = "unmute"
	Role   = "role"
)

// RoomInfo is a room with members, and what the user of this client is in it.
type RoomInfo struct {
	Room       string
	Kind       string // open, group or direct
	Title      string
	Role       string    // empty: not a member, or what is told is about the room alone
	Speak      string    // the least role that may publish
	MutedUntil time.Time // zero: not muted
	SlowMode   time.Duration
	Peer       string // of a direct room: the other user
}

// RoomOptions is what CreateRoom makes.
type RoomOptions struct {
	Room     string
	Title    string
	SlowMode time.Duration // one message of a user in this time
	Speak    string        // empty: RoleMember
}

// RoomSettings are changes of a room; what is nil or empty stays as it is.
type RoomSettings struct {
	Title    *string
	SlowMode *time.Duration
	Speak    string
}

// MemberAction is what ChangeMember does.
type MemberAction struct {
	Room   string // empty: the whole server, for Ban and Unban
	User   string // empty: the user of this client
	Action string
	Role   string        // of Invite and Role
	For    time.Duration // of Ban and Mute; 0: for ever
	Reason string
}

// MemberChange is what has happened to a user in a room.
type MemberChange struct {
	Room, User, Action string
	Role               string    // what the user is now; empty: not a member
	Until              time.Time // of a ban or mute
	Reason             string
	By                 string // empty: the server
}

// Removal is the end of the user's membership in a room.
type Removal struct {
	Room, Action string // leave, kick or ban
	Until        time.Time
	Reason, By   string
}

// RemovedError ends the subscriptions to a room of which the user is no member any more.
type RemovedError struct{ Removal }

func (e *RemovedError) Error() string {
	return fmt.Sprintf("no longer a member of room %q: %s by %q %s", e.Room, e.Action, e.By, e.Reason)
}

// RoomEvent is what OnRoom is told: one of the three. Room with a role is about the user of this client.
type RoomEvent struct {
	Room    *RoomInfo
	Member  *MemberChange
	Removed *Removal
}

// PageQuery asks for a part of a list, by name.
type PageQuery struct {
	After  string // names behind this one
	Limit  int    // 1 to 200; 0: 50
	Banned bool   // of members: instead, who is banned from the room
}

// Member is a user of a room, or one who is banned from it.
type Member struct {
	User, Role  string
	Since       time.Time
	MutedUntil  time.Time
	BannedUntil time.Time
	Reason      string
	LastSeen    time.Time // when the last session that has ended did; zero if that is not known
}

// MemberPage is an answer to Members.
type MemberPage struct {
	Members []Member
	More    bool
	Total   int
}

// RoomPage is an answer to Rooms.
type RoomPage struct {
	Rooms []RoomInfo
	More  bool
}

// All requests about members last over lost connections like reads, so the server may see one twice. To whom it has happened already
// it says so: a second kick is answered with no_such_member.

// CreateRoom makes a room with members, and the user its owner.
func (c *Client) CreateRoom(ctx context.Context, options RoomOptions) (RoomInfo, error) {
	return c.askRoom(ctx, options.Room, &v1.ClientFrame{Op: &v1.ClientFrame_Create{Create: &v1.Create{
		Room: options.Room, Title: options.Title, SlowModeMs: uint32(options.SlowMode.Milliseconds()), Speak: options.Speak,
	}}})
}

// StartDirect gives the direct room of this user and another, which it makes if there is none.
func (c *Client) StartDirect(ctx context.Context, user string) (RoomInfo, error) {
	return c.askRoom(ctx, "with "+user, &v1.ClientFrame{Op: &v1.ClientFrame_Create{Create: &v1.Create{User: user}}})
}

// ConfigureRoom changes settings of a room.
func (c *Client) ConfigureRoom(ctx context.Context, room string, settings RoomSettings) (RoomInfo, error) {
	configure := &v1.Configure{Room: room, Title: settings.Title, Speak: settings.Speak}
	if settings.SlowMode != nil {
		ms := uint32(settings.SlowMode.Milliseconds())
		configure.SlowModeMs = &ms
	}
	return c.askRoom(ctx, room, &v1.ClientFrame{Op: &v1.ClientFrame_Configure{Configure: configure}})
}

func (c *Client) askRoom(ctx context.Context, room string, request *v1.ClientFrame) (info RoomInfo, err error) {
	err = c.machine.read(ctx, newRead(request, func(reply *v1.ServerFrame) bool {
		if reply.GetRoom() != nil {
			info = *newRoomInfo(reply.GetRoom())
		}
		return reply.GetRoom() != nil
	}))
	if err != nil {
		return RoomInfo{}, fmt.Errorf("room %q: %w", room, err)
	}
	return info, nil
}

// ChangeMember does something to a member of a room, and returns when it is stored and in force.
func (c *Client) ChangeMember(ctx context.Context, action MemberAction) (change MemberChange, err error) {
	request := &v1.ClientFrame{Op: &v1.ClientFrame_Member{Member: &v1.ChangeMember{
		Room: action.Room, User: action.User, Action: action.Action, Role: action.Role,
		ForMs: uint64(action.For.Milliseconds()), Reason: action.Reason,
	}}}
	err = c.machine.read(ctx, newRead(request, func(reply *v1.ServerFrame) bool {
		if reply.GetMember() != nil {
			change = *newMemberChange(reply.GetMember())
		}
		return reply.GetMember() != nil
	}))
	if err != nil {
		return MemberChange{}, fmt.Errorf("%s %q in room %q: %w", action.Action, action.User, action.Room, err)
	}
	return change, nil
}

// Members reads a page of the members of a room.
func (c *Client) Members(ctx context.Context, room string, query PageQuery) (page MemberPage, err error) {
	request := &v1.ClientFrame{Op: &v1.ClientFrame_Members{Members: &v1.MembersRequest{
		Room: room, After: query.After, Limit: uint32(query.Limit), Banned: query.Banned,
	}}}
	err = c.machine.read(ctx, newRead(request, func(reply *v1.ServerFrame) bool {
		answer := reply.GetMembers()
		if answer == nil {
			return false
		}
		page = MemberPage{More: answer.More, Total: int(answer.Total)}
		for _, m := range answer.Members {
			page.Members = append(page.Members, Member{
				User: m.User, Role: m.Role, Since: timeOf(m.Since), MutedUntil: timeOf(m.MutedUntil), BannedUntil: timeOf(m.BannedUntil), Reason: m.Reason,
				LastSeen: timeOf(m.LastSeen),
			})
		}
		return true
	}))
	if err != nil {
		return MemberPage{}, fmt.Errorf("members of room %q: %w", room, err)
	}
	return page, nil
}

// Rooms reads a page of the rooms that the user is a member of.
func (c *Client) Rooms(ctx context.Context, query PageQuery) (page RoomPage, err error) {
	request := &v1.ClientFrame{Op: &v1.ClientFrame_Rooms{Rooms: &v1.RoomsRequest{After: query.After, Limit: uint32(query.Limit)}}}
	err = c.machine.read(ctx, newRead(request, func(reply *v1.ServerFrame) bool {
		answer := reply.GetRooms()
		if answer == nil {
			return false
		}
		page = RoomPage{More: answer.More}
		for _, room := range answer.Rooms {
			page.Rooms = append(page.Rooms, *newRoomInfo(room))
		}
		return true
	}))
	if err != nil {
		return RoomPage{}, fmt.Errorf("rooms of the user: %w", err)
	}
	return page, nil
}

// Membership is what the room is and what the user is in it, as the last join said; nil in a room without members.
func (s *Subscription) Membership() *RoomInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.membership
}

// watchRooms has the server tell this connection of the user's rooms. The page that comes with it is of no use.
func (m *machine) watchRooms() {
	if m.config.OnRoom != nil {
		m.request(&v1.ClientFrame{Op: &v1.ClientFrame_Rooms{Rooms: &v1.RoomsRequest{Limit: 1, Watch: true}}}, func(*v1.ServerFrame) {})
	}
}

// removed: the user is no member of a room any more.
func (m *machine) removed(frame *v1.Removed) {
	removal := Removal{Room: frame.Room, Action: frame.Action, Until: timeOf(frame.Until), Reason: frame.Reason, By: frame.By}
	if r := m.rooms[frame.Room]; r != nil {
		delete(m.rooms, frame.Room)
		r.finish(&RemovedError{removal})
	}
	m.news.add(RoomEvent{Removed: &removal})
}

func newRoomInfo(r *v1.RoomInfo) *RoomInfo {
	return &RoomInfo{
		Room: r.Room, Kind: r.Kind, Title: r.Title, Role: r.Role, Speak: r.Speak, MutedUntil: timeOf(r.MutedUntil),
		SlowMode: time.Duration(r.SlowModeMs) * time.Millisecond, Peer: r.Peer,
	}
}

func newMemberChange(c *v1.MemberChanged) *MemberChange {
	return &MemberChange{Room: c.Room, User: c.User, Action: c.Action, Role: c.Role, Until: timeOf(c.Until), Reason: c.Reason, By: c.By}
}

// timeOf is a time of the protocol, zero if it is absent.
func timeOf(ms *uint64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return time.UnixMilli(int64(*ms))
}
