package gateway_test

import (
	"maps"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// presence asks who is in a room.
func (p *peer) presence(room string, watch bool) *v1.Presence {
	p.t.Helper()
	id := p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Presence{Presence: &v1.PresenceRequest{Room: room, Watch: watch}}})
	f := p.must()
	if f.Id != id || f.GetPresence() == nil {
		p.t.Fatalf("presence was answered with %v", f)
	}
	return f.GetPresence()
}

// sees takes changes until the users of the room stand as wanted.
func (p *peer) sees(from *v1.Presence, want map[string]string) {
	p.t.Helper()
	states, version := map[string]string{}, from.Version
	for _, u := range from.Users {
		states[u.User] = u.State
	}
	for !maps.Equal(states, want) {
		c := p.must().GetPresenceChange()
		if c == nil || c.Room != from.Room || c.Version != version+1 {
			p.t.Fatalf("after version %d comes %v; seen are %v, want %v", version, c, states, want)
		}
		version = c.Version
		for _, u := range c.Users {
			if states[u.User] = u.State; u.State == "offline" {
				if since := time.Since(time.UnixMilli(int64(u.Since))); since < 0 || since > waitLimit {
					p.t.Errorf("%s is offline since %v", u.User, since)
				}
				delete(states, u.User)
			}
		}
		if int(c.Count) != len(states) {
			p.t.Errorf("the change says %d users, seen are %v", c.Count, states)
		}
	}
	from.Version, from.Users = version, nil
	for user, state := range states {
		from.Users = append(from.Users, &v1.UserPresence{User: user, State: state})
	}
}

// TestPresence: who is there, on several devices, over every wire and both loops.
func TestPresence(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Rooms.PresenceGrace = 100 * time.Millisecond })
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			room := "presence " + w.name
			alice, laptop, phone := login(t, srv.Addr(), w, "alice"), login(t, srv.Addr(), w, "bob"), login(t, srv.Addr(), w, "bob")
			alice.enter(room)
			seen := alice.presence(room, true)
			if seen.Count != 1 || seen.Version != 1 || seen.Users[0].User != "alice" || seen.Users[0].State != "online" {
				t.Fatalf("alone there is %v", seen)
			}
			laptop.enter(room)
			phone.enter(room)
			alice.sees(seen, map[string]string{"alice": "online", "bob": "online"})
			for _, p := range []*peer{laptop, phone} {
				id := p.request(&v1.ClientFrame{Op: &v1.ClientFrame_State{State: &v1.StateRequest{State: "away"}}})
				if f := p.must(); f.Id != id || f.GetState().GetState() != "away" {
					t.Fatalf("state was answered with %v", f)
				}
			}
			alice.sees(seen, map[string]string{"alice": "online", "bob": "away"})
			laptop.conn.Close() // one of two devices
			id := phone.request(&v1.ClientFrame{Op: &v1.ClientFrame_State{State: &v1.StateRequest{State: "online"}}})
			if f := phone.must(); f.Id != id {
				t.Fatalf("state was answered with %v", f)
			}
			alice.sees(seen, map[string]string{"alice": "online", "bob": "online"})
			phone.conn.Close()
			alice.sees(seen, map[string]string{"alice": "online"})
			if p := login(t, srv.Addr(), w, "carol").presence(room, false); p.Count != 1 || p.Version != seen.Version {
				t.Errorf("who only asks sees %v, version %d was told", p, seen.Version)
			}
		})
	}
}

// TestTyping: the members are told, and for how long it holds.
func TestTyping(t *testing.T) {
	t.Parallel()
	eachWire(t, func(t *testing.T, srv *gatewaytest.Server, w wire) {
		room := "typing " + w.name
		alice, bob := login(t, srv.Addr(), w, "alice"), login(t, srv.Addr(), w, "bob")
		alice.enter(room)
		bob.enter(room)
		types := func(stopped bool) {
			t.Helper()
			if err := bob.send(&v1.ClientFrame{Op: &v1.ClientFrame_Typing{Typing: &v1.TypingRequest{Room: room, Stopped: stopped}}}); err != nil {
				t.Fatal(err)
			}
		}
		types(false)
		for _, p := range []*peer{alice, bob} {
			f := p.must().GetTyping()
			if f.GetRoom() != room || len(f.GetUsers()) != 1 || f.Users[0] != "bob" || f.LifetimeMs != 4000 {
				t.Fatalf("told %v", f)
			}
		}
		types(true)
		for _, p := range []*peer{alice, bob} {
			if f := p.must().GetTyping(); f.GetRoom() != room || len(f.GetUsers()) != 0 {
				t.Fatalf("told %v", f)
			}
		}
		bob.request(&v1.ClientFrame{Op: &v1.ClientFrame_Typing{Typing: &v1.TypingRequest{Room: "elsewhere"}}})
		if e := bob.must().GetError(); e.GetName() != proto.ErrNotJoined.Name {
			t.Fatalf("typing elsewhere was answered with %v", e)
		}
	})
}

// TestRoomsWithoutPresence: nobody is told.
func TestRoomsWithoutPresence(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Rooms.Presence = []string{"open-*"} })
	p := login(t, srv.Addr(), wires[0], "alice")
	p.enter("closed")
	p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Presence{Presence: &v1.PresenceRequest{Room: "closed", Watch: true}}})
	if e := p.must().GetError(); e.GetName() != proto.ErrBadRequest.Name {
		t.Fatalf("answered with %v", e)
	}
	p.enter("open-1")
	if got := p.presence("open-1", true); got.Count != 1 {
		t.Fatalf("there is %v", got)
	}
}

// TestPresenceOfGroups: whoever is no member is told nothing, and a ban ends what there was, at once.
func TestPresenceOfGroups(t *testing.T) {
	t.Parallel()
	eachWire(t, func(t *testing.T, srv *gatewaytest.Server, w wire) {
		room := "group:presence " + w.name
		alice, bob, carol := login(t, srv.Addr(), w, "alice"), login(t, srv.Addr(), w, "bob"), login(t, srv.Addr(), w, "carol")
		alice.create(&v1.Create{Room: room})
		alice.change(room, "invite", "bob")
		bob.request(&v1.ClientFrame{Op: &v1.ClientFrame_Presence{Presence: &v1.PresenceRequest{Room: room}}})
		bob.mustFail(proto.ErrNotJoined)
		alice.enter(room)
		bob.enter(room)
		seen := alice.presence(room, true)
		alice.sees(seen, map[string]string{"alice": "online", "bob": "online"})
		bob.presence(room, true)
		if err := bob.send(&v1.ClientFrame{Op: &v1.ClientFrame_Typing{Typing: &v1.TypingRequest{Room: room}}}); err != nil {
			t.Fatal(err)
		}
		for _, p := range []*peer{alice, bob} {
			p.until(func(f *v1.ServerFrame) bool { return len(f.GetTyping().GetUsers()) == 1 })
		}
		alice.request(&v1.ClientFrame{Op: &v1.ClientFrame_Member{Member: &v1.ChangeMember{Room: room, Action: "ban", User: "bob"}}})
		bob.until(func(f *v1.ServerFrame) bool { return f.GetRemoved().GetRoom() == room })
		// The grace period is 20 seconds, and what is typed is told for 4: neither is waited for.
		var stopped, gone, told bool
		for !stopped || !gone || !told {
			switch f := alice.must(); {
			case f.GetTyping() != nil && len(f.GetTyping().Users) == 0:
				stopped = true
			case f.GetMember().GetAction() == "ban":
				told = told || f.Id != 0
			case f.GetPresenceChange() != nil:
				c := f.GetPresenceChange()
				gone = len(c.Users) == 1 && c.Users[0].User == "bob" && c.Users[0].State == "offline" && c.Count == 1
				seen.Version = c.Version
			default:
				t.Fatalf("alice is told %v", f)
			}
		}
		alice.change(room, "invite", "carol")
		carol.enter(room)
		alice.until(func(f *v1.ServerFrame) bool { return f.GetPresenceChange().GetVersion() == seen.Version+1 })
		id := bob.request(&v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
		if f := bob.must(); f.Id != id {
			t.Fatalf("who is banned is told %v", f)
		}
		bob.request(&v1.ClientFrame{Op: &v1.ClientFrame_Presence{Presence: &v1.PresenceRequest{Room: room, Watch: true}}})
		bob.mustFail(proto.ErrNotJoined)
	})
}

// TestLastSeen: when a session ends it is stored, over a restart, and told to who is with the user in a room.
func TestLastSeen(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	start := func(kept bool) *gatewaytest.Server {
		return gatewaytest.Start(t, func(c *gateway.Config) {
			c.Data, c.Rooms.LastSeen, c.Rooms.Presence = data, kept, []string{"group:told"}
		})
	}
	seen := func(p *peer, room string) (at map[string]uint64) {
		t.Helper()
		at = map[string]uint64{}
		f := p.answer(p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Members{Members: &v1.MembersRequest{Room: room}}}))
		for _, m := range f.GetMembers().GetMembers() {
			at[m.User] = m.GetLastSeen()
		}
		return at
	}
	srv := start(true)
	alice, bob := login(t, srv.Addr(), wires[0], "alice"), login(t, srv.Addr(), wires[1], "bob")
	for _, room := range []string{"group:told", "group:untold"} {
		alice.create(&v1.Create{Room: room})
		alice.change(room, "invite", "bob")
	}
	if at := seen(alice, "group:told"); at["bob"] != 0 || at["alice"] != 0 {
		t.Errorf("before anybody has left they were seen %v", at)
	}
	before := uint64(time.Now().UnixMilli())
	bob.conn.Close()
	eventually(t, "bob was seen", func() bool { return seen(alice, "group:told")["bob"] >= before })
	first := seen(alice, "group:told")["bob"]
	if at := seen(alice, "group:untold"); at["bob"] != 0 {
		t.Errorf("where nobody is told who is there, bob was seen at %v", at)
	}
	srv.Stop()

	srv = start(true)
	carol := login(t, srv.Addr(), wires[2], "alice")
	if at := seen(carol, "group:told"); at["bob"] != first || at["alice"] < first {
		t.Errorf("after a restart they were seen %v, bob before it at %d", at, first)
	}
	srv.Stop()
	srv = start(false)
	if at := seen(login(t, srv.Addr(), wires[0], "alice"), "group:told"); at["bob"] != 0 {
		t.Errorf("turned off, bob was seen at %v", at)
	}
}
