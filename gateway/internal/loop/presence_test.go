package loop

import (
	"fmt"
	"slices"
	"testing"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// presenceRig has someRooms allowed, and nobody told who is in the room none.
func presenceRig(t *testing.T) (*rig, *fakePresence) {
	keeper := &fakePresence{}
	return newRig(t, func(c *Config) {
		c.Presence = keeper
		c.Rules.Auth = someRooms{}
		c.KeepsPresence = func(room string) bool { return room != "none" }
	}), keeper
}

// short is what the keeper was told, which is taken.
func (k *fakePresence) short() (list []string) {
	for _, p := range k.said {
		s := fmt.Sprintf("%d %s %v", p.Kind, p.Room, p.From.Slot)
		if p.Away {
			s += " away"
		}
		if p.Stopped {
			s += " stopped"
		}
		if p.Kind == handoff.Here {
			s = fmt.Sprintf("here %s", p.Room)
			for _, m := range p.Members {
				s += fmt.Sprintf(" %d %v", m.Handle.Slot, m.Away)
			}
		}
		list = append(list, s)
	}
	k.said = nil
	return list
}

func (k *fakePresence) must(t *testing.T, want ...string) {
	t.Helper()
	if got := k.short(); !slices.Equal(got, want) {
		t.Fatalf("the keeper was told %q, want %q", got, want)
	}
}

func askPresence(id uint64, room string, watch bool) *v1.ClientFrame {
	return &v1.ClientFrame{Id: id, Op: &v1.ClientFrame_Presence{Presence: &v1.PresenceRequest{Room: room, Watch: watch}}}
}

func typing(id uint64, room string) *v1.ClientFrame {
	return &v1.ClientFrame{Id: id, Op: &v1.ClientFrame_Typing{Typing: &v1.TypingRequest{Room: room}}}
}

func stopTyping(id uint64, room string) *v1.ClientFrame {
	return &v1.ClientFrame{Id: id, Op: &v1.ClientFrame_Typing{Typing: &v1.TypingRequest{Room: room, Stopped: true}}}
}

// TestObservedRooms: of a room that is observed the keeper is told everything, of others nothing.
func TestObservedRooms(t *testing.T) {
	r, keeper := presenceRig(t)
	a, b := r.open(true, proto.Binary), r.open(true, proto.Binary)
	r.join(a, "r", 0)
	keeper.must(t)
	state := func(s *fakeSocket, state string) {
		t.Helper()
		r.request(s, &v1.ClientFrame{Id: 3, Op: &v1.ClientFrame_State{State: &v1.StateRequest{State: state}}})
		if frames := r.sent(s); len(frames) != 1 || frames[0].GetState().GetState() != state {
			t.Fatalf("state was answered with %v", frames)
		}
	}
	state(a, "away")
	keeper.must(t)
	for _, room := range []string{"r", "other"} {
		r.put(handoff.Event{Kind: handoff.Observe, Room: room, Size: handoff.ReplySize})
	}
	r.work()
	keeper.must(t, "here r 0 true", "here other")
	came, went, turned := fmt.Sprint(handoff.Came), fmt.Sprint(handoff.Went), fmt.Sprint(handoff.Turned)
	r.join(b, "r", 0)
	r.join(b, "other", 0) // a room that the loop had not when it was told to observe it
	state(a, "away")      // as before
	state(a, "online")
	keeper.must(t, came+" r 1", came+" other 1", turned+" r 0")
	r.request(a, &v1.ClientFrame{Id: 4, Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: "r"}}})
	r.events.Close(b)
	keeper.must(t, went+" r 0", went+" other 1", went+" r 1")
	r.put(handoff.Event{Kind: handoff.Ignore, Room: "r", Size: handoff.ReplySize})
	r.work()
	r.sent(a)
	r.join(a, "r", 0)
	keeper.must(t)
}

// TestPresenceWatchers: a change is for who watches, and takes bytes.
func TestPresenceWatchers(t *testing.T) {
	r, keeper := presenceRig(t)
	s := r.open(true, proto.Binary)
	c := s.context.(*conn)
	r.join(s, "r", 0)
	change := func() []*v1.ServerFrame {
		frames := proto.AppendServerFrame(make([]byte, handoff.Headroom), proto.Binary, &v1.ServerFrame{
			Op: &v1.ServerFrame_PresenceChange{PresenceChange: &v1.PresenceChange{Room: "r", Version: 2}}})
		r.put(handoff.Event{Kind: handoff.Changed, To: c.handle, Room: "r", Frames: frames, Size: handoff.ReplySize})
		r.work()
		return r.sent(s)
	}
	if frames := change(); len(frames) != 0 {
		t.Fatalf("who does not watch was told %v", frames)
	}
	r.request(s, askPresence(3, "r", true))
	keeper.must(t, fmt.Sprintf("%d r 0", handoff.AskPresence))
	if frames := change(); len(frames) != 1 || frames[0].GetPresenceChange().GetVersion() != 2 {
		t.Fatalf("who watches was told %v", frames)
	}
	c.backed = true
	if frames := change(); len(frames) != 0 {
		t.Fatalf("whose socket is full was told %v", frames)
	}
	c.backed = false
	r.request(s, &v1.ClientFrame{Id: 4, Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: "r"}}})
	keeper.must(t, fmt.Sprintf("%d r 0", handoff.Unwatch))
	r.sent(s)
	if frames := change(); len(frames) != 0 {
		t.Fatalf("who has left was told %v", frames)
	}
	r.events.Close(s)
	change() // of a connection that is gone
}

// TestPresenceFaults: what is refused, and with what.
func TestPresenceFaults(t *testing.T) {
	r, keeper := presenceRig(t)
	s := r.open(true, proto.Binary)
	r.join(s, "r", 0)
	for _, c := range []struct {
		frame *v1.ClientFrame
		want  proto.ErrorCode
	}{
		{askPresence(5, "none", false), proto.ErrBadRequest},
		{askPresence(5, "secret", false), proto.ErrRoomForbidden},
		{askPresence(5, "", false), proto.ErrBadRequest},
		{askPresence(5, "other", true), proto.ErrNotJoined},
		{typing(5, "other"), proto.ErrNotJoined},
		{typing(0, "other"), proto.ErrNotJoined},
		{typing(5, ""), proto.ErrBadRequest},
		{&v1.ClientFrame{Id: 5, Op: &v1.ClientFrame_State{State: &v1.StateRequest{State: "asleep"}}}, proto.ErrBadRequest},
	} {
		r.request(s, c.frame)
		r.mustFail(s, c.frame.Id, c.want)
	}
	keeper.must(t)
	r.request(s, typing(0, "r")) // nobody waits for an answer
	if frames := r.sent(s); len(frames) != 0 || len(keeper.said) != 1 || keeper.said[0].User != s.context.(*conn).identity.User {
		t.Fatalf("sent %v, the keeper was told %+v", frames, keeper.said)
	}
	r.request(s, typing(6, "r"))
	if frames := r.sent(s); len(frames) != 1 || frames[0].Id != 6 || frames[0].GetTyping().GetRoom() != "r" {
		t.Fatalf("typing with an id was answered with %v", frames)
	}
	keeper.full = true
	r.request(s, typing(0, "r"))
	if frames := r.sent(s); len(frames) != 0 {
		t.Fatalf("typing under pressure was answered with %v", frames)
	}
	r.request(s, typing(7, "r"))
	r.mustFail(s, 7, proto.ErrOverloaded)
	r.request(s, askPresence(8, "r", false))
	r.mustFail(s, 8, proto.ErrOverloaded)
	keeper.full = false
	for id := range uint64(maxReadings) {
		r.request(s, askPresence(10+id, "r", false))
	}
	r.request(s, askPresence(30, "r", false))
	r.mustFail(s, 30, proto.ErrRateLimited)
}

// TestTypingEndsWithTheRoom: who leaves or publishes while typing has stopped; who is not typing has nothing to stop.
func TestTypingEndsWithTheRoom(t *testing.T) {
	r, keeper := presenceRig(t)
	s := r.open(true, proto.Binary)
	types := fmt.Sprintf("%d r 0", handoff.Typing)
	leave := &v1.ClientFrame{Id: 3, Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: "r"}}}
	r.join(s, "r", 0)
	r.request(s, typing(0, "r"))
	r.request(s, leave)
	keeper.must(t, types, types+" stopped")
	r.sent(s)
	r.join(s, "r", 0)
	r.request(s, typing(0, "r"))
	r.request(s, stopTyping(0, "r"))
	r.request(s, leave)
	keeper.must(t, types, types+" stopped")
	r.sent(s)
	r.join(s, "r", 0)
	r.request(s, typing(0, "r"))
	publish := func(p *v1.Publish) {
		if p.Change == nil {
			p.Content = &v1.Publish_Text{Text: "x"}
		}
		r.request(s, &v1.ClientFrame{Id: 4, Op: &v1.ClientFrame_Publish{Publish: p}})
	}
	publish(&v1.Publish{Room: "r", Ephemeral: true})
	publish(&v1.Publish{Room: "other"})
	publish(&v1.Publish{Room: "r", Change: &v1.Change{Target: 1, Op: &v1.Change_React{React: &v1.React{Reaction: "x"}}}})
	keeper.must(t, types)
	publish(&v1.Publish{Room: "r"})
	publish(&v1.Publish{Room: "r"})
	keeper.must(t, types+" stopped")
	r.request(s, typing(0, "r"))
	r.events.Close(s)
	keeper.must(t, types, types+" stopped")
}

// TestPresenceOfGroups: it is for who is inside, typing for who may publish, and both end when a membership does.
func TestPresenceOfGroups(t *testing.T) {
	keeper := &fakePresence{}
	r := newRig(t, func(c *Config) { c.Presence = keeper })
	s := r.open(true, proto.Binary)
	outside := func(code proto.ErrorCode) {
		t.Helper()
		for _, f := range []*v1.ClientFrame{askPresence(5, group, false), askPresence(5, group, true), typing(5, group), stopTyping(5, group)} {
			r.request(s, f)
			r.mustFail(s, 5, code)
		}
	}
	outside(proto.ErrNotJoined)
	r.request(s, &v1.ClientFrame{Id: 2, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: group}}})
	outside(proto.ErrJoinPending)
	r.put(handoff.Event{Kind: handoff.Denied, To: s.context.(*conn).handle, ID: 2, Room: group, Code: proto.ErrNotMember, Text: "no"})
	r.work()
	r.mustFail(s, 2, proto.ErrNotMember)
	r.asked()
	keeper.must(t)

	r.enter(s, being(handoff.RoleGuest))
	r.request(s, typing(6, group))
	r.mustFail(s, 6, proto.ErrRoleForbidden)
	muted := being(handoff.RoleMember)
	muted.MutedUntil = proto.MaxInteger
	r.put(handoff.Event{Kind: handoff.MemberChanged, Room: group, Member: muted})
	r.work()
	r.request(s, typing(6, group))
	r.mustFail(s, 6, proto.ErrMuted)
	r.request(s, stopTyping(0, group)) // who was muted while typing may stop
	keeper.must(t, fmt.Sprintf("%d %s 0 stopped", handoff.Typing, group))

	r.put(handoff.Event{Kind: handoff.MemberChanged, Room: group, Member: being(handoff.RoleMember)})
	r.put(handoff.Event{Kind: handoff.Observe, Room: group, Size: handoff.ReplySize})
	r.work()
	r.request(s, typing(0, group))
	r.request(s, askPresence(7, group, true))
	r.sent(s)
	keeper.said = nil
	r.removed()
	keeper.must(t, fmt.Sprintf("%d %s 0", handoff.Unwatch, group), fmt.Sprintf("%d %s 0 stopped", handoff.Typing, group),
		fmt.Sprintf("%d %s 0", handoff.Expelled, group))
	if frames := r.sent(s); len(frames) != 1 || frames[0].GetRemoved() == nil {
		t.Fatalf("who is removed is sent %v", frames)
	}
	outside(proto.ErrNotJoined)
}
