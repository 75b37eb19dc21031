package gateway_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
	"rookery/storage/catalog"
	"rookery/storage/commitlog"
)

// change does something to a member and gives the answer; what comes before it is skipped.
func (p *peer) change(room, action, user string, more ...func(*v1.ChangeMember)) *v1.ServerFrame {
	p.t.Helper()
	c := &v1.ChangeMember{Room: room, Action: action, User: user}
	for _, f := range more {
		f(c)
	}
	return p.answer(p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Member{Member: c}}))
}

// answer skips to the reply with that id.
func (p *peer) answer(id uint64) *v1.ServerFrame {
	p.t.Helper()
	for {
		if f := p.must(); f.Id == id {
			return f
		}
	}
}

// until skips to the first frame that matches.
func (p *peer) until(match func(*v1.ServerFrame) bool) *v1.ServerFrame {
	p.t.Helper()
	for {
		if f := p.must(); match(f) {
			return f
		}
	}
}

func (p *peer) wantError(f *v1.ServerFrame, code proto.ErrorCode) {
	p.t.Helper()
	if f.GetError().GetName() != code.Name {
		p.t.Fatalf("got %v, want the error %s", f, code.Name)
	}
}

func (p *peer) create(c *v1.Create) *v1.RoomInfo {
	p.t.Helper()
	f := p.answer(p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Create{Create: c}}))
	if f.GetRoom() == nil {
		p.t.Fatalf("create was answered with %v", f)
	}
	return f.GetRoom()
}

func (p *peer) myRooms(watch bool) *v1.Rooms {
	p.t.Helper()
	f := p.answer(p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Rooms{Rooms: &v1.RoomsRequest{Watch: watch}}}))
	if f.GetRooms() == nil {
		p.t.Fatalf("rooms was answered with %v", f)
	}
	return f.GetRooms()
}

func TestGroups(t *testing.T) {
	t.Parallel()
	eachWire(t, func(t *testing.T, srv *gatewaytest.Server, w wire) {
		room := "group:" + w.name
		alice, bob, eve := login(t, srv.Addr(), w, "alice"), login(t, srv.Addr(), w, "bob"), login(t, srv.Addr(), w, "eve")
		if r := alice.create(&v1.Create{Room: room, Title: "Birds"}); r.Role != "owner" || r.Kind != "group" || r.Title != "Birds" || r.Room != room {
			t.Fatalf("the room is %v", r)
		}
		j := alice.enter(room)
		if m := j.GetMembership(); m.GetRole() != "owner" || m.GetTitle() != "Birds" || m.GetSpeak() != "member" {
			t.Fatalf("joined says %v", j)
		}
		// Who is not a member gets nowhere.
		eve.join(room, nil, "")
		eve.mustFail(proto.ErrNotMember)
		eve.publish(room, "", "hi")
		eve.mustFail(proto.ErrNotJoined)
		eve.request(&v1.ClientFrame{Op: &v1.ClientFrame_History{History: &v1.HistoryRequest{Room: room}}})
		eve.mustFail(proto.ErrNotJoined)
		eve.request(&v1.ClientFrame{Op: &v1.ClientFrame_Receipts{Receipts: &v1.ReceiptsRequest{Room: room}}})
		eve.mustFail(proto.ErrNotJoined)
		eve.request(&v1.ClientFrame{Op: &v1.ClientFrame_Members{Members: &v1.MembersRequest{Room: room}}})
		eve.mustFail(proto.ErrNotMember)
		eve.wantError(eve.change(room, "invite", "eve"), proto.ErrNotMember)

		// Who watches learns of an invitation, without being anywhere.
		before := len(bob.myRooms(true).GetRooms())
		if f := alice.change(room, "invite", "bob"); f.GetMember().GetRole() != "member" || f.GetMember().GetBy() != "alice" {
			t.Fatalf("invite was answered with %v", f)
		}
		if r := bob.must().GetRoom(); r.GetRoom() != room || r.GetRole() != "member" {
			t.Fatalf("bob was told %v", r)
		}
		if got := len(bob.myRooms(false).GetRooms()); got != before+1 {
			t.Errorf("bob is in %d rooms", got)
		}
		bob.enter(room)
		bob.publish(room, "", "hello")
		bob.until(func(f *v1.ServerFrame) bool { return f.GetPublished() != nil })
		alice.until(func(f *v1.ServerFrame) bool { return f.GetMessage().GetText() == "hello" })
		f := bob.answer(bob.request(&v1.ClientFrame{Op: &v1.ClientFrame_Members{Members: &v1.MembersRequest{Room: room}}}))
		if m := f.GetMembers(); m.GetTotal() != 2 || m.Members[0].User != "alice" || m.Members[0].Role != "owner" {
			t.Errorf("members are %v", f)
		}

		// A guest reads.
		alice.change(room, "role", "bob", func(c *v1.ChangeMember) { c.Role = "guest" })
		bob.until(func(f *v1.ServerFrame) bool { return f.GetRoom().GetRole() == "guest" })
		bob.wantError(bob.answer(bob.publish(room, "", "x")), proto.ErrRoleForbidden)
		// Until guests may speak.
		alice.answer(alice.request(&v1.ClientFrame{Op: &v1.ClientFrame_Configure{Configure: &v1.Configure{Room: room, Speak: "guest"}}}))
		bob.until(func(f *v1.ServerFrame) bool { return f.GetRoom().GetSpeak() == "guest" })
		if f := bob.answer(bob.publish(room, "", "x")); f.GetPublished() == nil {
			t.Errorf("a guest who may speak was answered %v", f)
		}

		// A mute, for ever and for a time.
		alice.change(room, "mute", "bob", func(c *v1.ChangeMember) { c.Reason = "loud" })
		bob.until(func(f *v1.ServerFrame) bool { return f.GetRoom().GetMutedUntil() == proto.MaxInteger })
		bob.wantError(bob.answer(bob.publish(room, "", "x")), proto.ErrMuted)
		alice.change(room, "unmute", "bob")
		bob.until(func(f *v1.ServerFrame) bool { return f.GetRoom() != nil && f.GetRoom().MutedUntil == nil })
		if f := bob.answer(bob.publish(room, "", "x")); f.GetPublished() == nil {
			t.Errorf("after the mute: %v", f)
		}

		// Out, by themselves.
		if f := bob.change(room, "leave", ""); f.GetMember().GetAction() != "leave" {
			t.Errorf("leave was answered with %v", f)
		}
		bob.wantError(bob.answer(bob.publish(room, "", "x")), proto.ErrNotJoined)
		bob.wantError(bob.answer(bob.join(room, nil, "")), proto.ErrNotMember)
		// A join and a leave of the connection that are sent together are answered both.
		id := alice.request(&v1.ClientFrame{Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: room}}})
		join := alice.join(room, nil, "")
		last := alice.request(&v1.ClientFrame{Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: room}}})
		for _, id := range []uint64{id, join, last} {
			if f := alice.answer(id); f.GetError() != nil {
				t.Errorf("%d was answered with %v", id, f)
			}
		}
	})
}

// TestKickWhileMessagesFlow: behind removed comes nothing of the room, to no connection of the user; others go on.
func TestKickWhileMessagesFlow(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"kick", "ban"} {
		eachWire(t, func(t *testing.T, srv *gatewaytest.Server, w wire) {
			room := "channel:" + action + w.name
			alice := login(t, srv.Addr(), w, "alice")
			alice.create(&v1.Create{Room: room})
			alice.enter(room)
			var devices []*peer
			for range 5 {
				p := login(t, srv.Addr(), w, "bob")
				p.enter(room)
				devices = append(devices, p)
			}
			after := ptr(uint64(0)) // and one that is read from the log
			const each = 400
			sent := make(chan error, 1)
			flood := login(t, srv.Addr(), w, "flood")
			flood.enter(room)
			go func() {
				for i := range each {
					f := &v1.ClientFrame{Id: uint64(100 + i), Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{Room: room, Content: &v1.Publish_Text{Text: fmt.Sprint(i)}}}}
					if err := flood.send(f); err != nil {
						sent <- err
						return
					}
				}
				sent <- nil
			}()
			devices[0].until(func(f *v1.ServerFrame) bool { return f.GetMessage().GetSeq() >= 20 })
			late := login(t, srv.Addr(), w, "bob")
			late.answer(late.join(room, after, ""))
			devices = append(devices, late)
			if f := alice.change(room, action, "bob"); f.GetMember().GetAction() != action {
				t.Fatalf("%s was answered with %v", action, f)
			}
			for i, p := range devices {
				p.until(func(f *v1.ServerFrame) bool {
					return f.GetRemoved().GetRoom() == room && f.GetRemoved().GetAction() == action
				})
				ping := p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
				for {
					f := p.must()
					if f.Id == ping {
						break
					}
					if f.GetMessage() != nil {
						t.Fatalf("device %d was sent message %d after it was removed", i, f.GetMessage().Seq)
					}
				}
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			alice.publish(room, "", "the end")
			alice.until(func(f *v1.ServerFrame) bool { return f.GetMessage().GetText() == "the end" })
			again := devices[0].join(room, nil, "")
			f := devices[0].answer(again)
			if action == "ban" {
				devices[0].wantError(f, proto.ErrBanned)
			} else if f.GetJoined() == nil {
				t.Errorf("who was kicked from an open room may come back, but: %v", f)
			}
		})
	}
}

// TestBanFromTheServer: live connections end at once, no other is let in, and only a token makes somebody who may do it.
func TestBanFromTheServer(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Auth.HS256Secret = secret })
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			user := "mallory " + w.name
			var staff *peer
			for _, moderate := range [][]string{{"channel:*"}, {"*"}} {
				staff = open(t, srv.Addr(), w)
				connect(staff, signed(t, jwt.MapClaims{"sub": "staff", "exp": time.Now().Add(time.Hour).Unix(), "moderate": moderate}), "")
				staff.must()
				if moderate[0] != "*" {
					staff.wantError(staff.change("", "ban", user), proto.ErrRoleForbidden)
				}
			}
			mallory := login(t, srv.Addr(), w, user)
			mallory.wantError(mallory.change("", "ban", "staff"), proto.ErrRoleForbidden)
			// In a room where staff is not even a member.
			mallory.create(&v1.Create{Room: "channel:" + user})
			mallory.enter("channel:" + user)
			staff.change("channel:"+user, "mute", user) // the owner is above a moderator
			if f := staff.change("", "ban", user, func(c *v1.ChangeMember) { c.ForMs = 3_600_000 }); f.GetMember().GetUntil() == 0 {
				t.Fatalf("the ban was answered with %v", f)
			}
			mallory.mustClose(proto.CloseBanned)
			again := open(t, srv.Addr(), w)
			connect(again, "", user)
			again.mustFail(proto.ErrBanned)
			again.mustClose(proto.CloseBanned)
			if f := staff.change("", "unban", user); f.GetMember() == nil {
				t.Fatalf("unban was answered with %v", f)
			}
			login(t, srv.Addr(), w, user)
		})
	}
}

// TestDirectFromBothSides: one room, whoever starts it, and both have it in their lists.
func TestDirectFromBothSides(t *testing.T) {
	t.Parallel()
	eachWire(t, func(t *testing.T, srv *gatewaytest.Server, w wire) {
		a, b := "ann "+w.name, "ben "+w.name
		ann, ben, eve := login(t, srv.Addr(), w, a), login(t, srv.Addr(), w, b), login(t, srv.Addr(), w, "eve")
		create := func(p *peer, other string) uint64 {
			return p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Create{Create: &v1.Create{User: other}}})
		}
		first, second := create(ann, b), create(ben, a)
		one, two := ann.answer(first).GetRoom(), ben.answer(second).GetRoom()
		if one.GetRoom() == "" || one.GetRoom() != two.GetRoom() || one.GetPeer() != b || two.GetPeer() != a || one.GetKind() != "direct" {
			t.Fatalf("the rooms are %v and %v", one, two)
		}
		for _, p := range []*peer{ann, ben} {
			if rooms := p.myRooms(false).GetRooms(); len(rooms) != 1 || rooms[0].Room != one.Room {
				t.Errorf("in the list is %v", rooms)
			}
		}
		if m := ann.enter(one.Room).GetMembership(); m.GetPeer() != b || m.GetKind() != "direct" {
			t.Errorf("joined says %v", m)
		}
		if m := ben.enter(one.Room).GetMembership(); m.GetPeer() != a {
			t.Errorf("joined says %v", m)
		}
		ann.publish(one.Room, "", "psst")
		ben.until(func(f *v1.ServerFrame) bool { return f.GetMessage().GetText() == "psst" })
		eve.join(one.Room, nil, "")
		eve.mustFail(proto.ErrNotMember)
		ann.wantError(ann.change(one.Room, "invite", "eve"), proto.ErrBadRequest)
		ann.wantError(ann.answer(create(ann, a)), proto.ErrBadRequest)
	})
}

// TestMembersSurviveARestart: members, roles, mutes, bans and settings.
func TestMembersSurviveARestart(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	in := func(c *gateway.Config) { c.Data = data }
	srv := gatewaytest.Start(t, in)
	w := wires[0]
	room := "group:a"
	alice := login(t, srv.Addr(), w, "alice")
	alice.create(&v1.Create{Room: room, Title: "Birds", SlowModeMs: 60_000})
	for _, user := range []string{"bob", "carol", "dave"} {
		alice.change(room, "invite", user)
	}
	alice.change(room, "mute", "bob", func(c *v1.ChangeMember) { c.ForMs = 3_600_000 })
	alice.change(room, "ban", "carol")
	alice.change(room, "kick", "dave")
	srv.Stop()

	srv = gatewaytest.Start(t, in)
	bob := login(t, srv.Addr(), w, "bob")
	j := bob.enter(room).GetMembership()
	if j.GetRole() != "member" || j.GetTitle() != "Birds" || j.GetSlowModeMs() != 60_000 || j.GetMutedUntil() == 0 || j.GetMutedUntil() == proto.MaxInteger {
		t.Errorf("joined says %v", j)
	}
	bob.publish(room, "", "x")
	bob.mustFail(proto.ErrMuted)
	for user, code := range map[string]proto.ErrorCode{"carol": proto.ErrBanned, "dave": proto.ErrNotMember} {
		p := login(t, srv.Addr(), w, user)
		p.join(room, nil, "")
		p.mustFail(code)
	}
	alice = login(t, srv.Addr(), w, "alice")
	if m := alice.enter(room).GetMembership(); m.GetRole() != "owner" {
		t.Errorf("joined says %v", m)
	}
}

// TestSlowMode: one message in a time, for all connections of a user together; moderators and what is ephemeral are exempt.
func TestSlowMode(t *testing.T) {
	t.Parallel()
	eachWire(t, func(t *testing.T, srv *gatewaytest.Server, w wire) {
		room := "channel:slow " + w.name
		alice, bob, phone := login(t, srv.Addr(), w, "alice"), login(t, srv.Addr(), w, "bob"), login(t, srv.Addr(), w, "bob")
		alice.create(&v1.Create{Room: room, SlowModeMs: 3_600_000})
		for _, p := range []*peer{alice, bob, phone} {
			p.enter(room)
		}
		for range 2 {
			if f := alice.answer(alice.publish(room, "", "x")); f.GetPublished() == nil {
				t.Fatalf("the owner was answered %v", f)
			}
		}
		first := bob.answer(bob.publish(room, "key", "x")).GetPublished()
		if first == nil {
			t.Fatal("the first message was not published")
		}
		// Repeated because its answer was lost, it is answered and not stored again.
		for _, p := range []*peer{bob, phone} {
			if again := p.answer(p.publish(room, "key", "x")).GetPublished(); again.GetSeq() != first.Seq {
				t.Errorf("the first message again was answered %v", again)
			}
		}
		// Leaving and coming back does not help.
		bob.answer(bob.request(&v1.ClientFrame{Op: &v1.ClientFrame_Leave{Leave: &v1.Leave{Room: room}}}))
		bob.answer(bob.join(room, nil, ""))
		for _, p := range []*peer{bob, phone} {
			e := p.answer(p.publish(room, "", "x")).GetError()
			if e.GetName() != proto.ErrSlowMode.Name || !e.Retry || e.GetRetryAfterMs() < 3_000_000 || e.GetRetryAfterMs() > 3_600_000 {
				t.Errorf("the second message was answered %v", e)
			}
			id := p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{Room: room, Ephemeral: true, Content: &v1.Publish_Text{Text: "typing"}}}})
			if f := p.answer(id); f.GetPublished() == nil {
				t.Errorf("an ephemeral message was answered %v", f)
			}
		}
		// A shorter time holds at once, and so does none.
		alice.answer(alice.request(&v1.ClientFrame{Op: &v1.ClientFrame_Configure{Configure: &v1.Configure{Room: room, SlowModeMs: ptr(uint32(0))}}}))
		bob.until(func(f *v1.ServerFrame) bool { return f.GetRoom() != nil })
		if f := bob.answer(bob.publish(room, "", "x")); f.GetPublished() == nil {
			t.Errorf("without slow mode: %v", f)
		}
	})
}

// TestMemberTokens: what tokens allow in rooms with members.
func TestMemberTokens(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, production)
	login := func(user string, more jwt.MapClaims) *peer {
		p := open(t, srv.Addr(), wires[0])
		more["sub"], more["exp"] = user, time.Now().Add(time.Hour).Unix()
		connect(p, signed(t, more), "")
		if p.must().GetConnected() == nil {
			t.Fatalf("%s was not connected", user)
		}
		return p
	}
	ann := login("ann", jwt.MapClaims{"create": []string{"group:ann-*"}})
	refused := func(p *peer, c *v1.Create, code proto.ErrorCode) {
		t.Helper()
		p.wantError(p.answer(p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Create{Create: c}})), code)
	}
	refused(ann, &v1.Create{Room: "group:other"}, proto.ErrRoomForbidden)
	refused(ann, &v1.Create{User: "ben"}, proto.ErrRoomForbidden)
	refused(ann, &v1.Create{Room: "group:ann-1", User: "ben"}, proto.ErrBadRequest)
	refused(ann, &v1.Create{}, proto.ErrBadRequest)
	ann.create(&v1.Create{Room: "group:ann-1"})
	ann.change("group:ann-1", "invite", "ben")
	// The token's rooms bound everything.
	ben := login("ben", jwt.MapClaims{"rooms": []string{"direct:*"}})
	ben.join("group:ann-1", nil, "")
	ben.mustFail(proto.ErrRoomForbidden)
	ben.wantError(ben.change("group:ann-1", "leave", ""), proto.ErrRoomForbidden)
	ben.create(&v1.Create{User: "cleo"})
	// A moderator by token enters a group and is seen there, and speaks where members may not.
	staff := login("staff", jwt.MapClaims{"moderate": []string{"group:*"}})
	ann.enter("group:ann-1")
	ann.answer(ann.request(&v1.ClientFrame{Op: &v1.ClientFrame_Configure{Configure: &v1.Configure{Room: "group:ann-1", Speak: "moderator"}}}))
	if m := staff.enter("group:ann-1").GetMembership(); m.GetRole() != "member" {
		t.Errorf("staff is %v", m)
	}
	ann.until(func(f *v1.ServerFrame) bool {
		return f.GetMember().GetUser() == "staff" && f.GetMember().Action == "join"
	})
	if f := staff.answer(staff.publish("group:ann-1", "", "x")); f.GetPublished() == nil {
		t.Errorf("staff was answered %v", f)
	}
}

// TestMembershipLimits: 10,000 rooms of a user and 100,000 members of a room, in the catalog as it is.
func TestMembershipLimits(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	log, err := commitlog.Open(commitlog.Config{Dir: data, Sync: commitlog.SyncNever})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c, err := catalog.Open(catalog.Config{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var changes []catalog.Change
	for i := range 99_999 {
		changes = append(changes, catalog.SetMember("channel:big", fmt.Sprint("user", i), catalog.Member{Role: "member"}))
	}
	for i := range 9_999 {
		changes = append(changes, catalog.SetMember(fmt.Sprint("channel:", i), "alice", catalog.Member{Role: "member"}))
	}
	for some := range slices.Chunk(changes, 1000) {
		if err := c.Update(t.Context(), some...); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}

	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Data = data })
	w := wires[0]
	bob, carol, alice := login(t, srv.Addr(), w, "bob"), login(t, srv.Addr(), w, "carol"), login(t, srv.Addr(), w, "alice")
	bob.enter("channel:big")
	carol.join("channel:big", nil, "")
	carol.mustFail(proto.ErrRoomFull)
	bob.change("channel:big", "leave", "")
	carol.enter("channel:big")
	alice.enter("channel:last")
	alice.join("channel:one more", nil, "")
	alice.mustFail(proto.ErrMemberOfTooMany)
	f := carol.answer(carol.request(&v1.ClientFrame{Op: &v1.ClientFrame_Members{Members: &v1.MembersRequest{Room: "channel:big", After: "user5", Limit: 200}}}))
	if m := f.GetMembers(); m.GetTotal() != 100_000 || len(m.Members) != 200 || !m.More || m.Members[0].User != "user50" {
		t.Errorf("the page is %d of %d from %v", len(m.GetMembers()), m.GetTotal(), m.GetMembers()[:1])
	}
	if rooms := alice.myRooms(false); len(rooms.Rooms) != 50 || !rooms.More {
		t.Errorf("a page of %d rooms", len(rooms.Rooms))
	}
}
