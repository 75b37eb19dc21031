package loop

import (
	"fmt"
	"strings"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// askPresence asks the keeper who is in a room.
func (l *Loop) askPresence(c *conn, id uint64, r *v1.PresenceRequest) {
	i := c.find(r.Room)
	switch {
	case !l.mayRead(c, id, r.Room) || !l.isInside(c, id, r.Room):
		return
	case !l.cfg.KeepsPresence(r.Room):
		l.fail(c, id, proto.ErrBadRequest, fmt.Sprintf("Nobody is told who is in the room %q.", r.Room))
		return
	case i < 0 && r.Watch:
		l.fail(c, id, proto.ErrNotJoined, fmt.Sprintf("This connection has not joined %q.", r.Room))
		return
	case c.readings >= maxReadings:
		l.fail(c, id, proto.ErrRateLimited, "Wait for the answers to your earlier requests for history, receipts, members and presence.")
		return
	}
	if !l.cfg.Presence.Ask(handoff.Presence{
		Kind: handoff.AskPresence, From: c.handle, ID: id, Codec: c.codec, Room: strings.Clone(r.Room), Watch: r.Watch,
	}) {
		l.overloaded(c, id)
		return
	}
	c.readings++
	if i >= 0 {
		c.subscriptions[i].watching = r.Watch
	}
}

// state notes whether somebody sits at the connection.
func (l *Loop) state(c *conn, id uint64, r *v1.StateRequest) {
	if r.State != "online" && r.State != "away" {
		l.fail(c, id, proto.ErrBadRequest, "state is online or away.")
		return
	}
	l.reply(c, &v1.ServerFrame{Id: id, Op: &v1.ServerFrame_State{State: &v1.State{State: r.State}}})
	if away := r.State == "away"; away != c.away {
		c.away = away
		for _, s := range c.subscriptions {
			if s.member >= 0 {
				l.tellPresence(c, s.room, handoff.Turned)
			}
		}
	}
}

// typing tells the keeper that the user is typing. Without an id nobody waits for an answer, and under pressure it is dropped.
func (l *Loop) typing(c *conn, id uint64, r *v1.TypingRequest) {
	i := c.find(r.Room)
	switch {
	case !l.validRoom(c, id, r.Room) || !l.isInside(c, id, r.Room):
		return
	case i < 0:
		l.fail(c, id, proto.ErrNotJoined, fmt.Sprintf("This connection has not joined %q.", r.Room))
		return
	case !c.identity.CanPublish(r.Room):
		l.fail(c, id, proto.ErrPublishForbidden, fmt.Sprintf("Your token does not allow publishing in %q.", r.Room))
		return
	case !r.Stopped && l.cfg.Kind(r.Room) != handoff.Plain:
		if _, ok := l.voice(c, id, r.Room); !ok {
			return
		}
	}
	taken := l.cfg.Presence.Ask(handoff.Presence{
		Kind: handoff.Typing, From: c.handle, Room: strings.Clone(r.Room), User: c.identity.User, Stopped: r.Stopped,
	})
	if taken {
		c.subscriptions[i].typing = !r.Stopped
		c.typed = true
	}
	switch {
	case id == 0:
	case taken:
		l.reply(c, &v1.ServerFrame{Id: id, Op: &v1.ServerFrame_Typing{Typing: &v1.Typing{Room: r.Room}}})
	default:
		l.overloaded(c, id)
	}
}

// wrote: who publishes is not typing any more. Most connections never say that they are, and need not look for the room.
func (l *Loop) wrote(c *conn, room string) {
	if !c.typed {
		return
	}
	if i := c.find(room); i >= 0 && c.subscriptions[i].typing {
		c.subscriptions[i].typing = false
		l.stopTyping(c, room)
	}
}

func (l *Loop) stopTyping(c *conn, room string) {
	l.cfg.Presence.Tell(handoff.Presence{Kind: handoff.Typing, From: c.handle, Room: room, User: c.identity.User, Stopped: true})
}

// endPresence ends what a subscription that is removed had to do with presence.
func (l *Loop) endPresence(c *conn, s *subscription) {
	if s.watching {
		l.cfg.Presence.Tell(handoff.Presence{Kind: handoff.Unwatch, From: c.handle, Room: s.room.name})
	}
	if s.typing {
		l.stopTyping(c, s.room.name)
	}
}

// tellPresence tells the keeper what became of a member of a room that it observes.
func (l *Loop) tellPresence(c *conn, r *localRoom, kind handoff.PresenceKind) {
	if r.observed {
		l.cfg.Presence.Tell(handoff.Presence{Kind: kind, From: c.handle, Room: r.name, User: c.identity.User, Away: c.away})
	}
}

// observe tells the keeper who is in a room, and from now on who comes and goes.
func (l *Loop) observe(e *handoff.Event) {
	l.observed[e.Room] = struct{}{}
	here := handoff.Presence{Kind: handoff.Here, From: handoff.Handle{Loop: l.index}, Room: e.Room}
	if r := l.rooms[e.Room]; r != nil {
		r.observed = true
		for _, slot := range r.members {
			if slot != hole {
				c := l.slots[slot].conn
				here.Members = append(here.Members, handoff.Member{Handle: c.handle, User: c.identity.User, Away: c.away})
			}
		}
	}
	l.cfg.Presence.Tell(here)
}

func (l *Loop) ignore(room string) {
	delete(l.observed, room)
	if r := l.rooms[room]; r != nil {
		r.observed = false
	}
}

// presenceChanged gives a change to a connection that watches its room. One that takes nothing goes without: it sees by the next version
// that it has missed one.
func (l *Loop) presenceChanged(e *handoff.Event) {
	c := l.conn(e.To)
	if c == nil || c.backed {
		return
	}
	if i := c.find(e.Room); i >= 0 && c.subscriptions[i].watching {
		l.frames(c, e.Frames)
	}
}
