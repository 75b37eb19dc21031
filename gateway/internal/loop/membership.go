package loop

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// membership is what a loop knows of a room with members: what the room is like, and what those of its users are who are
// subscribed here. Plain rooms have none. The keeper of members tells of each change, in order with who it admits, so that a publish is
// checked here without asking.
type membership struct {
	kind   handoff.RoomKind
	speak  handoff.Role // the least that may publish
	slowMS uint32
	title  string
	direct [2]string // the users of a direct room
	users  map[string]*present
}

// present is a user who is subscribed on this loop, with one connection or several.
type present struct {
	role       handoff.Role
	mutedUntil int64    // Unix milliseconds, 0: not muted
	slots      []uint32 // of the connections, one for each subscription that was admitted
}

// sweepSlots is how many connections are looked at in a turn for users who are expelled.
const sweepSlots = 4096

// requestEntry asks the keeper whether the user may join. Until it answers the subscription is entering: it counts, it can be
// left, and it is given nothing.
func (l *Loop) requestEntry(c *conn, id uint64, r *v1.Join) {
	room := strings.Clone(r.Room)
	taken := l.cfg.Members.Ask(handoff.MemberRequest{
		Kind: handoff.Enter, From: c.handle, ID: id, Room: room, User: c.identity.User, Moderator: c.identity.Moderates(room),
		Entry: handoff.Entry{HasAfter: r.After != nil, After: r.GetAfter(), Epoch: strings.Clone(r.Epoch)},
	})
	if !taken {
		l.overloaded(c, id)
		return
	}
	l.refer(c, l.local(room), entering)
}

// entered returns the index of the subscription that the keeper's answer is for.
func (c *conn) entered(room string) int {
	i := c.answered(c.loop.rooms[room], entering)
	if i < 0 {
		panic("BUG: the keeper of members answered a join of room " + room + " that nobody made")
	}
	return i
}

// admitted goes on with a join that the keeper allows.
func (l *Loop) admitted(e *handoff.Event) {
	c := l.conn(e.To)
	if c == nil || c.phase != connected {
		return // its subscription has ended
	}
	i := c.entered(e.Room)
	s := &c.subscriptions[i]
	r := s.room
	r.present(c, e.Member)
	join := &v1.Join{Room: r.name, Epoch: e.Member.Epoch}
	if e.Member.HasAfter {
		join.After = &e.Member.After
	}
	here := !s.gone && l.standsAt(c, join)
	s.member = joining
	if here {
		l.joinHere(c, e.ID, i, join)
		return
	}
	if !l.sendJoin(c, e.ID, r, join) {
		l.overloaded(c, e.ID)
		l.endJoin(c, i)
	}
}

// denied ends a join that the keeper does not allow.
func (l *Loop) denied(e *handoff.Event) {
	c := l.conn(e.To)
	if c == nil || c.phase != connected {
		return
	}
	l.fail(c, e.ID, e.Code, e.Text)
	l.endJoin(c, c.entered(e.Room))
}

// endJoin ends a subscription whose join was answered with an error, and answers the leave that may wait for that.
func (l *Loop) endJoin(c *conn, i int) {
	s := c.subscriptions[i]
	if s.gone && !s.removed {
		l.answerLeave(c, s.room)
	}
	l.remove(c, i)
}

// present notes a subscription that was admitted.
func (r *localRoom) present(c *conn, m *handoff.Membership) {
	if r.membership == nil {
		r.membership = &membership{users: make(map[string]*present)}
	}
	r.membership.know(m)
	if m.Kind == handoff.Direct {
		r.membership.direct = [2]string{m.User, m.Peer}
	}
	p := r.membership.users[m.User]
	if p == nil {
		p = &present{}
		r.membership.users[m.User] = p
	}
	p.role, p.mutedUntil = m.Role, m.MutedUntil
	p.slots = append(p.slots, c.handle.Slot)
}

func (m *membership) know(told *handoff.Membership) {
	m.kind, m.title, m.speak, m.slowMS = told.Kind, told.Title, told.Speak, told.SlowMS
}

// absent ends what present noted.
func (r *localRoom) absent(c *conn) {
	p := r.membership.users[c.identity.User]
	i := slices.Index(p.slots, c.handle.Slot)
	p.slots = slices.Delete(p.slots, i, i+1)
	if len(p.slots) == 0 {
		delete(r.membership.users, c.identity.User)
	}
}

// info is the room as a user sees it who is present.
func (r *localRoom) info(user string) *v1.RoomInfo {
	m := r.membership
	if m == nil {
		return nil
	}
	p := m.users[user]
	i := &v1.RoomInfo{Room: r.name, Kind: m.kind.String(), Title: m.title, Role: p.role.String(), Speak: m.speak.String(), SlowModeMs: m.slowMS}
	if p.mutedUntil > 0 {
		until := uint64(p.mutedUntil)
		i.MutedUntil = &until
	}
	if i.Peer = m.direct[0]; i.Peer == user {
		i.Peer = m.direct[1]
	}
	return i
}

// isInside reports whether the connection may read a room beyond its live messages: any room that is plain, and one with members
// where it has been admitted. It answers if not.
func (l *Loop) isInside(c *conn, id uint64, room string) bool {
	if l.cfg.Kind(room) == handoff.Plain || l.inside(c, room) != nil {
		return true
	}
	l.failOutside(c, id, room)
	return false
}

func (l *Loop) failOutside(c *conn, id uint64, room string) {
	if c.find(room) >= 0 {
		l.fail(c, id, proto.ErrJoinPending, fmt.Sprintf("Whether you may join %q is not known yet; send again.", room))
		return
	}
	l.fail(c, id, proto.ErrNotJoined, fmt.Sprintf("%q is a room with members: join it first.", room))
}

// inside is what the connection's user is in a room with members that it has joined, nil if it has not.
func (l *Loop) inside(c *conn, room string) *present {
	i := c.find(room)
	if i < 0 || c.subscriptions[i].member == entering || c.subscriptions[i].room.membership == nil {
		return nil
	}
	return c.subscriptions[i].room.membership.users[c.identity.User]
}

// moderates reports whether the connection's user is a moderator of a room, by token or by role.
func (l *Loop) moderates(c *conn, room string) bool {
	if c.identity.Moderates(room) {
		return true
	}
	p := l.inside(c, room)
	return p != nil && p.role >= handoff.RoleModerator
}

// maySpeak reports whether the user may publish in a room, and answers if not. slow is what slow mode allows one message in, if it
// holds for the user.
func (l *Loop) maySpeak(c *conn, id uint64, r *v1.Publish) (slow time.Duration, ok bool) {
	if l.cfg.Kind(r.Room) == handoff.Plain {
		return 0, true
	}
	role, ok := l.voice(c, id, r.Room)
	if !ok || role >= handoff.RoleModerator || r.Change != nil || r.Ephemeral || l.cfg.Ephemeral(r.Room) {
		return 0, ok // slow mode is for messages that people have to read
	}
	return time.Duration(l.rooms[r.Room].membership.slowMS) * time.Millisecond, true
}

// voice is the role with which the user may publish in a room with members. It answers if there is none.
func (l *Loop) voice(c *conn, id uint64, room string) (role handoff.Role, ok bool) {
	p := l.inside(c, room)
	if p == nil {
		l.failOutside(c, id, room)
		return role, false
	}
	speak := l.rooms[room].membership.speak
	role = p.role
	if l.moderates(c, room) {
		role = max(role, handoff.RoleModerator)
	}
	switch now := time.Now().UnixMilli(); {
	case role < speak:
		l.fail(c, id, proto.ErrRoleForbidden, fmt.Sprintf("You are a %s of %q, and it takes a %s to publish there.", role, room, speak))
		return role, false
	case p.mutedUntil > now:
		l.fail(c, id, proto.ErrMuted, fmt.Sprintf("You are muted in %q%s.", room, handoff.UntilWhen(p.mutedUntil)))
		return role, false
	}
	return role, true
}

// memberChanged puts a role or a mute in force.
func (l *Loop) memberChanged(e *handoff.Event) {
	if r := l.rooms[e.Room]; r != nil && r.membership != nil {
		if p := r.membership.users[e.Member.User]; p != nil {
			p.role, p.mutedUntil = e.Member.Role, e.Member.MutedUntil
		}
	}
}

func (l *Loop) roomChanged(e *handoff.Event) {
	if r := l.rooms[e.Room]; r != nil && r.membership != nil {
		r.membership.know(e.Member)
	}
}

// memberRemoved ends the subscriptions of a user who is no member any more. Their connections are told in place of the room's next
// message.
func (l *Loop) memberRemoved(e *handoff.Event) {
	var told []uint32
	if r := l.rooms[e.Room]; r != nil && r.membership != nil {
		if p := r.membership.users[e.Member.User]; p != nil {
			for _, slot := range slices.Clone(p.slots) {
				if l.expelFrom(l.slots[slot].conn, r, e.Message) {
					told = append(told, slot)
				}
			}
		}
	}
	l.tellWatchers(e, told)
}

// tellWatchers is for those connections of a user that watch their rooms, but those that were told, and those whose token does not
// let them into this one.
func (l *Loop) tellWatchers(e *handoff.Event, told []uint32) {
	for _, slot := range l.watchers[e.Member.User] {
		if c := l.slots[slot].conn; c.identity.CanJoin(e.Room) && !slices.Contains(told, slot) {
			l.sendEncoded(c, e.Message)
		}
	}
}

// expelFrom ends a subscription and tells so, or has its join fail if that is on its way: told is false then, and its answer does not say to who
// watches that the room is one of theirs no more. One that was left already ends by itself.
func (l *Loop) expelFrom(c *conn, r *localRoom, m *proto.Encoded) (told bool) {
	i := slices.IndexFunc(c.subscriptions, func(s subscription) bool { return s.room == r && s.member != entering && !s.gone })
	switch {
	case i < 0:
	case c.subscriptions[i].member == joining:
		c.subscriptions[i].gone, c.subscriptions[i].removed = true, true
	default:
		l.sendEncoded(c, m)
		c.subscriptions[i].removed = true
		l.remove(c, i)
		return true
	}
	return false
}

// sendEncoded sends an encoded frame to one connection.
func (l *Loop) sendEncoded(c *conn, m *proto.Encoded) {
	frame := m.Frame(c.codec)
	l.frames(c, append(make([]byte, handoff.Headroom, handoff.Headroom+len(frame)), frame...))
}

// watch has the connection told of its user's rooms.
func (l *Loop) watch(c *conn) {
	if !c.watching {
		c.watching = true
		l.watchers[c.identity.User] = append(l.watchers[c.identity.User], c.handle.Slot)
	}
}

func (l *Loop) unwatch(c *conn) {
	if !c.watching {
		return
	}
	c.watching = false
	left := slices.DeleteFunc(l.watchers[c.identity.User], func(slot uint32) bool { return slot == c.handle.Slot })
	if len(left) == 0 {
		delete(l.watchers, c.identity.User)
		return
	}
	l.watchers[c.identity.User] = left
}

// expulsion is a user whose connections are to be closed, and what they are told.
type expulsion struct {
	user   string
	code   proto.CloseCode
	reason string
}

// expel has the connections of a user looked for. There is no index of users, which all would pay for and few need. Who is expelled
// in the middle of a walk through the table waits for the next one: beginning anew each time, with one after the other, would never
// come to the end of the table.
func (l *Loop) expel(x expulsion) {
	into := &l.expelled
	if l.swept > 0 {
		into = &l.toExpel
	}
	if *into == nil {
		*into = make(map[string]expulsion)
	}
	(*into)[x.user] = x
}

// sweepExpelled closes the connections of who is expelled, a part of the table each turn. Who is banned and connects meanwhile is
// refused.
func (l *Loop) sweepExpelled() {
	if len(l.expelled) == 0 {
		return
	}
	end := min(l.swept+sweepSlots, len(l.slots))
	for ; l.swept < end; l.swept++ {
		c := l.slots[l.swept].conn
		who := c.speaksFor()
		if who == nil {
			continue
		}
		if x, expelled := l.expelled[who.User]; expelled {
			l.close(c, x.code, x.reason)
		}
	}
	if l.swept >= len(l.slots) {
		l.expelled, l.toExpel, l.swept = l.toExpel, nil, 0
	}
}
