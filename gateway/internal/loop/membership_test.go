package loop

import (
	"fmt"
	"testing"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

const group = "group:a"

func (r *rig) asked() []handoff.MemberRequest {
	m := r.loop.cfg.Members.(*fakeMembers)
	requests := m.requests
	m.requests = nil
	return requests
}

func being(role handoff.Role) *handoff.Membership {
	return &handoff.Membership{User: "alice", Role: role, Kind: handoff.Group, Speak: handoff.RoleMember, Title: "A"}
}

// enter makes a socket a member of the group, the shard's answer among it if it is asked.
func (r *rig) enter(s *fakeSocket, m *handoff.Membership) {
	r.t.Helper()
	commands := len(r.rooms.commands)
	r.request(s, &v1.ClientFrame{Id: 2, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: group}}})
	if len(r.asked()) != 1 || len(r.rooms.commands) != commands {
		r.t.Fatal("the keeper of members was not asked, or the shard before it")
	}
	to := s.context.(*conn).handle
	r.put(handoff.Event{Kind: handoff.Admitted, To: to, ID: 2, Room: group, Member: m})
	r.work()
	if len(r.rooms.commands) > commands {
		r.put(handoff.Event{Kind: handoff.Joined, To: to, ID: 2, Room: group})
		r.work()
	}
	frames := r.sent(s)
	if len(frames) != 1 || frames[0].GetJoined().GetMembership().GetRole() != m.Role.String() {
		r.t.Fatalf("join was answered with %v", frames)
	}
}

func (r *rig) removed() {
	m := proto.EncodeFrame(group, "alice", "", &v1.ServerFrame{Op: &v1.ServerFrame_Removed{Removed: &v1.Removed{Room: group, Action: "kick"}}})
	r.put(handoff.Event{Kind: handoff.MemberRemoved, Room: group, Member: &handoff.Membership{User: "alice"}, Message: m})
	r.work()
}

// TestEntryIsLeftAndRefused: every join and leave has one answer, in whichever state the other is.
func TestEntryIsLeftAndRefused(t *testing.T) {
	join := &v1.ClientFrame{Id: 2, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: group}}}
	leave := &v1.ClientFrame{Id: 3, Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: group}}}
	for name, test := range map[string]struct {
		steps func(r *rig, s *fakeSocket, to handoff.Handle)
		want  []string
	}{
		"left, then admitted": {func(r *rig, s *fakeSocket, to handoff.Handle) {
			r.request(s, join)
			r.request(s, leave)
			r.put(handoff.Event{Kind: handoff.Admitted, To: to, ID: 2, Room: group, Member: being(handoff.RoleMember)})
			r.work()
			r.put(handoff.Event{Kind: handoff.Joined, To: to, ID: 2, Room: group})
		}, []string{"2 joined", "3 left"}},
		"left, then denied": {func(r *rig, s *fakeSocket, to handoff.Handle) {
			r.request(s, join)
			r.request(s, leave)
			r.put(handoff.Event{Kind: handoff.Denied, To: to, ID: 2, Room: group, Code: proto.ErrNotMember, Text: "no"})
		}, []string{"2 not_member", "3 left"}},
		"joined twice": {func(r *rig, s *fakeSocket, to handoff.Handle) {
			r.request(s, join)
			r.request(s, &v1.ClientFrame{Id: 4, Op: join.Op})
			r.put(handoff.Event{Kind: handoff.Denied, To: to, ID: 2, Room: group, Code: proto.ErrBanned, Text: "no"})
		}, []string{"4 already_joined", "2 banned"}},
		"removed before the shard answers": {func(r *rig, s *fakeSocket, to handoff.Handle) {
			r.request(s, join)
			r.put(handoff.Event{Kind: handoff.Admitted, To: to, ID: 2, Room: group, Member: being(handoff.RoleMember)})
			r.work()
			r.removed()
			r.request(s, leave)
			r.put(handoff.Event{Kind: handoff.Joined, To: to, ID: 2, Room: group})
		}, []string{"3 not_joined", "2 not_member"}},
		"removed before the keeper answers": {func(r *rig, s *fakeSocket, to handoff.Handle) {
			r.request(s, join)
			r.removed() // of an earlier time: the keeper's answer counts
			r.put(handoff.Event{Kind: handoff.Admitted, To: to, ID: 2, Room: group, Member: being(handoff.RoleMember)})
			r.work()
			r.put(handoff.Event{Kind: handoff.Joined, To: to, ID: 2, Room: group})
		}, []string{"2 joined"}},
		"the shard is full": {func(r *rig, s *fakeSocket, to handoff.Handle) {
			r.request(s, join)
			r.request(s, leave)
			r.rooms.full = true
			r.put(handoff.Event{Kind: handoff.Admitted, To: to, ID: 2, Room: group, Member: being(handoff.RoleMember)})
		}, []string{"2 overloaded", "3 left"}},
		"the keeper is full": {func(r *rig, s *fakeSocket, to handoff.Handle) {
			r.loop.cfg.Members.(*fakeMembers).full = true
			r.request(s, join)
			r.request(s, leave)
			r.request(s, &v1.ClientFrame{Id: 5, Op: &v1.ClientFrame_Rooms{Rooms: &v1.RoomsRequest{}}})
		}, []string{"2 overloaded", "3 not_joined", "5 overloaded"}},
		"used before the keeper answers": {func(r *rig, s *fakeSocket, to handoff.Handle) {
			r.request(s, join)
			r.request(s, &v1.ClientFrame{Id: 6, Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{Room: group, Content: &v1.Publish_Text{Text: "x"}}}})
			r.request(s, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_History{History: &v1.HistoryRequest{Room: group}}})
			r.request(s, &v1.ClientFrame{Id: 8, Op: &v1.ClientFrame_Mark{Mark: &v1.Mark{Room: group, Read: 1}}})
		}, []string{"6 join_pending", "7 join_pending", "8 join_pending"}},
		"gone before the keeper answers": {func(r *rig, s *fakeSocket, to handoff.Handle) {
			r.request(s, join)
			r.loop.abort(s.context.(*conn))
			r.put(handoff.Event{Kind: handoff.Admitted, To: to, ID: 2, Room: group, Member: being(handoff.RoleMember)})
			r.put(handoff.Event{Kind: handoff.Denied, To: to, ID: 2, Room: group, Code: proto.ErrNotMember, Text: "no"})
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			s := r.open(true, proto.Binary)
			c := s.context.(*conn)
			test.steps(r, s, c.handle)
			r.work()
			var got []string
			for _, f := range r.sent(s) {
				what := f.GetError().GetName()
				switch {
				case f.GetJoined() != nil:
					what = "joined"
				case f.GetLeft() != nil:
					what = "left"
				}
				got = append(got, fmt.Sprint(f.Id, " ", what))
			}
			if fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("answers are %v, want %v", got, test.want)
			}
			if !s.closed {
				r.loop.abort(c)
			}
			if len(r.loop.rooms) != 0 || len(r.loop.leaves) != 0 || r.loop.counted.Subscriptions.Load() != 0 {
				t.Errorf("left behind: %d rooms, %d leaves, %d subscriptions", len(r.loop.rooms), len(r.loop.leaves), r.loop.counted.Subscriptions.Load())
			}
			gone := 0
			for _, command := range r.rooms.commands {
				switch command.Kind {
				case handoff.Join:
					gone++
				case handoff.Gone:
					gone--
				}
			}
			if gone != 0 {
				t.Errorf("the shard was told %v", r.rooms.commands)
			}
		})
	}
}

// TestRemovedInTheMiddle: in a batch that is being handed out, the one who is removed is passed over, and nobody else.
func TestRemovedInTheMiddle(t *testing.T) {
	r := newRig(t, nil)
	r.loop.slice = 2
	var alices []*fakeSocket
	for range 3 {
		s := r.open(true, proto.Binary)
		r.enter(s, being(handoff.RoleMember))
		alices = append(alices, s)
	}
	bob := r.open(true, proto.Binary)
	bob.context.(*conn).identity.User = "bob"
	m := being(handoff.RoleMember)
	m.User = "bob"
	r.enter(bob, m)
	r.deliver(group, 1)
	r.loop.work() // two of the four are served
	r.removed()
	r.deliver(group, 2)
	r.work()
	r.mustGet(bob, upTo(1, 2))
	for i, s := range alices {
		frames := r.sent(s)
		want := 1
		if i < 2 {
			want = 2 // message 1, and removed
		}
		if len(frames) != want || frames[want-1].GetRemoved().GetRoom() != group {
			t.Errorf("connection %d was sent %v", i, frames)
		}
		if s.context.(*conn).find(group) >= 0 {
			t.Errorf("connection %d is still subscribed", i)
		}
	}
	if users := r.loop.rooms[group].membership.users; len(users) != 1 || users["bob"] == nil {
		t.Errorf("present are %v", users)
	}
}

// TestHistoryOfOneRemoved: a page that was read meanwhile is not given to who was removed from the room, or may not have it any more.
func TestHistoryOfOneRemoved(t *testing.T) {
	for want, end := range map[string]func(r *rig, c *conn){
		"history":        func(*rig, *conn) {},
		"not_joined":     func(r *rig, _ *conn) { r.removed() },
		"room_forbidden": func(r *rig, c *conn) { c.identity.Rights = &identity.Rights{Join: []string{"other"}} },
	} {
		r := newRig(t, nil)
		s := r.open(true, proto.Binary)
		c := s.context.(*conn)
		r.enter(s, being(handoff.RoleMember))
		r.request(s, &v1.ClientFrame{Id: 3, Op: &v1.ClientFrame_History{History: &v1.HistoryRequest{Room: group}}})
		end(r, c)
		page := proto.NewHistory(proto.Binary, 3, group, "e", 1)
		r.put(handoff.Event{Kind: handoff.Answer, To: c.handle, ID: 3, Room: group, Frames: page.Append(make([]byte, handoff.Headroom), false, false)})
		r.work()
		frames := r.sent(s)
		last := frames[len(frames)-1]
		if last.Id != 3 || want == "history" && last.GetHistory() == nil || want != "history" && last.GetError().GetName() != want {
			t.Errorf("answered with %v, want %s", last, want)
		}
		if c.readings != 0 {
			t.Errorf("%d readings are under way", c.readings)
		}
	}
}

// TestSpeaking: role, mute and slow mode are checked here, with what the keeper told last.
func TestSpeaking(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(true, proto.Binary)
	publish := func() string {
		t.Helper()
		r.request(s, &v1.ClientFrame{Id: 9, Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{Room: group, Content: &v1.Publish_Text{Text: "x"}}}})
		frames := r.sent(s)
		if len(frames) == 0 {
			return "taken"
		}
		return frames[0].GetError().GetName()
	}
	want := func(what string) {
		t.Helper()
		if got := publish(); got != what {
			t.Errorf("a publish was %s, want %s", got, what)
		}
	}
	tell := func(kind handoff.EventKind, change func(*handoff.Membership)) {
		m := being(handoff.RoleMember)
		change(m)
		r.put(handoff.Event{Kind: kind, Room: group, Member: m})
		r.work()
	}
	want("not_joined")
	r.enter(s, being(handoff.RoleGuest))
	want("role_forbidden")
	tell(handoff.MemberChanged, func(*handoff.Membership) {})
	want("taken")
	tell(handoff.MemberChanged, func(m *handoff.Membership) { m.MutedUntil = time.Now().UnixMilli() + 3_600_000 })
	want("muted")
	tell(handoff.MemberChanged, func(m *handoff.Membership) { m.MutedUntil = time.Now().UnixMilli() - 1 })
	want("taken")
	tell(handoff.RoomChanged, func(m *handoff.Membership) { m.SlowMS = 3_600_000 })
	// What the shard does not take does not count.
	r.rooms.full = true
	want("overloaded")
	r.rooms.full = false
	want("taken")
	want("slow_mode")
	tell(handoff.MemberChanged, func(m *handoff.Membership) { m.Role = handoff.RoleModerator })
	want("taken")
	tell(handoff.RoomChanged, func(m *handoff.Membership) { m.Speak = handoff.RoleOwner })
	want("role_forbidden")
}

// TestSlowModeRepeats: the same message again is no other one, for as long as its key is known. It neither waits nor counts.
func TestSlowModeRepeats(t *testing.T) {
	s, begun := newSlowMode(time.Minute), time.Unix(1000, 0)
	who := speaker{group, "alice"}
	for _, c := range []struct {
		key    string
		after  time.Duration
		wait   time.Duration
		counts bool
	}{
		{"k1", 0, 0, true},
		{"k1", time.Second, 0, false},
		{"k2", time.Second, time.Hour - time.Second, false},
		{"", time.Second, time.Hour - time.Second, false},
		{"k1", 59 * time.Second, 0, false},
		{"k1", time.Minute, 59 * time.Minute, false}, // its key may be forgotten: it would be stored as another message
		{"", time.Hour, 0, true},
		{"", time.Hour, time.Hour, false}, // without a key it is another one
	} {
		if wait, counts := s.take(who, c.key, time.Hour, begun.Add(c.after)); wait != c.wait || counts != c.counts {
			t.Errorf("key %q after %v: wait %v, counts %v; want %+v", c.key, c.after, wait, counts, c)
		}
	}
}

// TestSlowModeForgets what is over, when it has many.
func TestSlowModeForgets(t *testing.T) {
	s, now := newSlowMode(time.Minute), time.Unix(1, 0)
	for i := range 10_000 {
		if wait, _ := s.take(speaker{group, fmt.Sprint(i)}, "", time.Second, now.Add(time.Duration(i)*time.Millisecond)); wait != 0 {
			t.Fatalf("%d has to wait %v", i, wait)
		}
	}
	if len(s.last) > 2*leastSlow+1000 {
		t.Errorf("%d are kept", len(s.last))
	}
	last := now.Add(9_999 * time.Millisecond)
	if wait, _ := s.take(speaker{group, "9999"}, "", time.Second, last); wait != time.Second {
		t.Errorf("the last has to wait %v", wait)
	}
	if wait, _ := s.take(speaker{group, "9999"}, "", time.Millisecond, last); wait != time.Millisecond {
		t.Errorf("after a change of the room the last has to wait %v", wait)
	}
	if wait, _ := s.take(speaker{"another", "9999"}, "", time.Second, last); wait != 0 {
		t.Errorf("in another room: %v", wait)
	}
}

// TestWatchers are told of their user's rooms until they go.
func TestWatchers(t *testing.T) {
	r := newRig(t, nil)
	watcher, other := r.open(true, proto.Binary), r.open(false, proto.JSON)
	for range 2 { // twice is once
		r.request(watcher, &v1.ClientFrame{Id: 5, Op: &v1.ClientFrame_Rooms{Rooms: &v1.RoomsRequest{Watch: true, Limit: 1 << 31}}})
	}
	asked := r.asked()
	if len(asked) != 2 || asked[0].Kind != handoff.ListRooms || asked[0].User != "alice" || asked[0].Limit != proto.MaxPage+1 {
		t.Fatalf("the keeper was asked %+v", asked)
	}
	m := proto.EncodeFrame(group, "alice", "", &v1.ServerFrame{Op: &v1.ServerFrame_Room{Room: &v1.RoomInfo{Room: group, Role: "member"}}})
	tell := func() {
		r.put(handoff.Event{Kind: handoff.Personal, Room: group, Member: being(handoff.RoleMember), Message: m})
		r.work()
	}
	tell()
	r.removed()
	if frames := r.sent(watcher); len(frames) != 2 || frames[0].GetRoom().GetRole() != "member" || frames[1].GetRemoved() == nil {
		t.Errorf("the watcher was sent %v", frames)
	}
	if frames := r.sent(other); len(frames) != 0 {
		t.Errorf("who does not watch was sent %v", frames)
	}
	// Also while a join is on its way, which fails then: the list of rooms would keep it.
	r.request(watcher, &v1.ClientFrame{Id: 2, Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: group}}})
	r.put(handoff.Event{Kind: handoff.Admitted, To: watcher.context.(*conn).handle, ID: 2, Room: group, Member: being(handoff.RoleMember)})
	r.work()
	r.removed()
	r.put(handoff.Event{Kind: handoff.Joined, To: watcher.context.(*conn).handle, ID: 2, Room: group})
	r.work()
	if frames := r.sent(watcher); len(frames) != 2 || frames[0].GetRemoved() == nil || frames[1].GetError().GetName() != proto.ErrNotMember.Name {
		t.Errorf("the watcher whose join is on its way was sent %v", frames)
	}
	r.loop.abort(watcher.context.(*conn))
	tell()
	if len(r.loop.watchers) != 0 {
		t.Errorf("watchers are %v", r.loop.watchers)
	}
}

// TestManyAreExpelled: however many are expelled one after the other, those at the end of the table have their turn.
func TestManyAreExpelled(t *testing.T) {
	r := newRig(t, nil)
	sockets := make([]*fakeSocket, 2*sweepSlots+10)
	for i := range sockets {
		sockets[i] = r.open(true, proto.Binary)
		sockets[i].context.(*conn).identity.User = "bob"
	}
	last := sockets[len(sockets)-1]
	last.context.(*conn).identity.User = "alice"
	r.put(handoff.Event{Kind: handoff.Banned, Member: &handoff.Membership{User: "alice"}})
	for i := range 10 {
		r.put(handoff.Event{Kind: handoff.Disconnect, Member: &handoff.Membership{User: fmt.Sprint("nobody-", i)}})
		r.loop.work()
	}
	if frames := r.sent(last); len(frames) != 1 || frames[0].GetClose().GetCode() != uint32(proto.CloseBanned.Code) {
		t.Errorf("the banned one was sent %v", frames)
	}
	r.work()
	if r.loop.expelled != nil || r.loop.toExpel != nil {
		t.Error("they are still looked for")
	}
}

// TestBannedAreFound: all connections of the user, a part of the table each turn.
func TestBannedAreFound(t *testing.T) {
	r := newRig(t, nil)
	sockets := make([]*fakeSocket, sweepSlots+10)
	for i := range sockets {
		sockets[i] = r.open(true, proto.Binary)
		if i%1000 != 7 {
			sockets[i].context.(*conn).identity.User = "bob"
		}
	}
	r.put(handoff.Event{Kind: handoff.Banned, Member: &handoff.Membership{User: "alice"}})
	r.loop.work()
	if !r.rung || len(r.loop.expelled) != 1 {
		t.Error("the whole table was looked at in one turn")
	}
	r.work()
	for i, s := range sockets {
		frames := r.sent(s)
		if banned := len(frames) == 1 && frames[0].GetClose().GetCode() == uint32(proto.CloseBanned.Code); banned != (i%1000 == 7) {
			t.Fatalf("connection %d was sent %v", i, frames)
		}
	}
	if r.loop.expelled != nil {
		t.Error("they are still looked for")
	}
	// Who is disconnected is told another code, also beside somebody who is banned.
	r.put(handoff.Event{Kind: handoff.Disconnect, Member: &handoff.Membership{User: "bob"}, Text: "bye"})
	r.put(handoff.Event{Kind: handoff.Banned, Member: &handoff.Membership{User: "carol"}})
	r.work()
	for i, s := range sockets {
		if i%1000 == 7 {
			continue
		}
		if frames := r.sent(s); len(frames) != 1 || frames[0].GetClose().GetCode() != uint32(proto.CloseNormal.Code) || frames[0].GetClose().GetReason() != "bye" {
			t.Fatalf("connection %d was sent %v", i, frames)
		}
	}
	// Who is banned does not get in.
	r.loop.cfg.Members.(*fakeMembers).banned = map[string]int64{"alice": handoff.ForEver}
	s := &fakeSocket{room: 1 << 30, loop: r.events}
	r.loop.accept(s)
	c := s.context.(*conn)
	c.stream, c.codec, c.phase = true, proto.Binary, opened
	r.request(s, &v1.ClientFrame{Id: 1, Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: "alice"}}})
	if frames := r.sent(s); len(frames) != 2 || frames[0].GetError().GetName() != "banned" || frames[1].GetClose().GetCode() != uint32(proto.CloseBanned.Code) {
		t.Errorf("alice was sent %v", frames)
	}
}
