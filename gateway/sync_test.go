package gateway_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

func (p *peer) sync(r *v1.SyncRequest) *v1.Synced {
	p.t.Helper()
	f := p.answer(p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Sync{Sync: r}}))
	if f.GetSynced() == nil {
		p.t.Fatalf("sync was answered with %v", f)
	}
	return f.GetSynced()
}

// syncAll reads page after page, and gives the last state of each room and the position for the next sync. between runs after each page.
func (p *peer) syncAll(r *v1.SyncRequest, between func(page *v1.Synced)) (states map[string]*v1.RoomState, position string) {
	p.t.Helper()
	states = map[string]*v1.RoomState{}
	for {
		page := p.sync(r)
		for _, s := range page.Rooms {
			states[s.Room] = s
		}
		if (page.Next == "") == (page.Position == "") {
			p.t.Fatalf("a page has next or position, this one %q and %q", page.Next, page.Position)
		}
		if between != nil {
			between(page)
		}
		if page.Next == "" {
			return states, page.Position
		}
		r.Next = page.Next
	}
}

// inWords writes rooms as a line: name, head, what is read, what is not, mentions, and the newest messages of one that has changed.
func inWords(rooms []*v1.RoomState) string {
	var words []string
	for _, s := range rooms {
		word := fmt.Sprintf("%s %d/%d +%d @%d", s.Room, s.Read, s.Head, s.Unread, s.Mentions)
		if s.Membership != nil {
			word += " " + s.Membership.Role
		}
		if s.Changed {
			word += " changed"
		}
		for _, m := range s.Messages {
			word += fmt.Sprintf(" %d:%s", m.Seq, m.GetText())
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

func TestSync(t *testing.T) {
	t.Parallel()
	eachWire(t, func(t *testing.T, srv *gatewaytest.Server, w wire) {
		one, two, plain := "group:one"+w.name, "group:two"+w.name, "plain"+w.name
		alice, bob := login(t, srv.Addr(), w, "alice"+w.name), login(t, srv.Addr(), w, "bob"+w.name)
		me := "bob" + w.name
		if s := bob.sync(&v1.SyncRequest{}); len(s.Rooms) != 0 || s.Position == "" || s.Epoch == "" {
			t.Fatalf("who has nothing is told %v", s)
		}
		for _, room := range []string{two, one} {
			alice.create(&v1.Create{Room: room})
			alice.change(room, "invite", me)
			alice.enter(room)
		}
		alice.enter(plain)
		want := func(r *v1.SyncRequest, want ...string) string {
			t.Helper()
			s := bob.sync(r)
			if got := inWords(s.Rooms); got != strings.Join(want, ", ") {
				t.Errorf("sync says\n%s\nwant\n%s", got, strings.Join(want, ",\n"))
			}
			return s.Position
		}
		want(&v1.SyncRequest{Messages: 1}, one+" 0/0 +0 @0 member changed", two+" 0/0 +0 @0 member changed")

		for _, text := range []string{"a", "b", "c"} {
			alice.answer(alice.publish(one, "", text))
		}
		alice.answer(alice.publish(plain, "", "x"))
		mention := func(room, text string) uint64 {
			return alice.answer(alice.alter(&v1.Publish{Room: room, Mentions: []string{me}, Content: &v1.Publish_Text{Text: text}})).GetPublished().GetSeq()
		}
		for _, text := range []string{"hi", "you", "there"} {
			mention(two, text)
		}
		alice.answer(alice.alter(edit(two, 1, "nobody")))
		alice.answer(alice.alter(remove(two, 3)))
		alice.answer(alice.alter(react(two, 2, "+1", false)))
		position := want(&v1.SyncRequest{Messages: 2}, two+" 0/6 +3 @1 member changed 2:you 3:", one+" 0/3 +3 @0 member changed 2:b 3:c")
		want(&v1.SyncRequest{Position: position, Messages: 2}, two+" 0/6 +3 @1 member", one+" 0/3 +3 @0 member")

		// Who comes later has not missed what was said before.
		carol := login(t, srv.Addr(), w, "carol"+w.name)
		alice.change(two, "invite", "carol"+w.name)
		if got := inWords(carol.sync(&v1.SyncRequest{}).Rooms); got != two+" 0/6 +0 @0 member changed" {
			t.Errorf("carol is told %s", got)
		}
		carol.enter(two)
		alice.answer(alice.publish(two, "", "new"))
		alice.change(two, "role", "carol"+w.name, func(c *v1.ChangeMember) { c.Role = "guest" })
		if got := inWords(carol.sync(&v1.SyncRequest{}).Rooms); got != two+" 0/7 +1 @0 guest changed" {
			t.Errorf("carol is told %s", got)
		}

		// What is plain counts from the first mark on.
		bob.enter(plain)
		bob.enter(two)
		bob.answer(bob.mark(plain, 1, 1))
		bob.answer(bob.mark(two, 2, 2))
		alice.answer(alice.publish(one, "", "d"))
		want(&v1.SyncRequest{Position: position, Messages: 2},
			one+" 0/4 +4 @0 member changed 3:c 4:d", two+" 2/7 +2 @0 member changed 3: 7:new", plain+" 1/1 +0 @0")
		page := bob.sync(&v1.SyncRequest{Limit: 1})
		if got := inWords(page.Rooms); got != one+" 0/4 +4 @0 member changed" || page.Next == "" || page.Position != "" {
			t.Errorf("a page of one room is %s, next %q, position %q", got, page.Next, page.Position)
		}
		bob.answer(bob.request(&v1.ClientFrame{Op: &v1.ClientFrame_Member{Member: &v1.ChangeMember{Room: one, Action: "leave"}}}))
		want(&v1.SyncRequest{Position: position}, two+" 2/7 +2 @0 member changed", plain+" 1/1 +0 @0")

		for _, r := range []*v1.SyncRequest{
			{Limit: proto.MaxSyncRooms + 1}, {Messages: proto.MaxSyncMessages + 1}, {Position: "1"}, {Position: "a/b"}, {Next: "a/1/x/r"}, {Next: position},
			{Position: strings.Repeat("x", 300)},
		} {
			bob.wantError(bob.answer(bob.request(&v1.ClientFrame{Op: &v1.ClientFrame_Sync{Sync: r}})), proto.ErrBadRequest)
		}
		// A position of another epoch is worth nothing, and no error.
		_, end, _ := strings.Cut(position, "/")
		want(&v1.SyncRequest{Position: "0123/" + end}, two+" 2/7 +2 @0 member changed", plain+" 1/1 +0 @0 changed")
	})
}

// TestSyncWhileRoomsMove: rooms that are written to between pages change their places, and none is passed over. What was said after
// its room came is said to have changed at the next sync.
func TestSyncWhileRoomsMove(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	alice, bob := login(t, srv.Addr(), wires[0], "alice"), login(t, srv.Addr(), wires[1], "bob")
	const rooms = 12
	name := func(i int) string { return fmt.Sprintf("group:%02d", i) }
	heads := map[string]uint64{}
	say := func(room string) {
		t.Helper()
		heads[room] = alice.answer(alice.publish(room, "", "x")).GetPublished().GetSeq()
	}
	for i := range rooms {
		alice.create(&v1.Create{Room: name(i)})
		alice.change(name(i), "invite", "bob")
		alice.enter(name(i))
		say(name(i))
	}
	for step := range 5 {
		given := map[string]uint64{}
		n := 0
		states, position := bob.syncAll(&v1.SyncRequest{Limit: 2}, func(page *v1.Synced) {
			for _, s := range page.Rooms {
				given[s.Room] = s.Head
			}
			if n++; n < 8 {
				say(name((n*step + n) % rooms))
			}
		})
		if len(states) != rooms {
			t.Fatalf("step %d: %d rooms came, want %d", step, len(states), rooms)
		}
		for _, s := range bob.sync(&v1.SyncRequest{Position: position}).Rooms {
			if s.Head != heads[s.Room] {
				t.Errorf("step %d: %s has head %d, want %d", step, s.Room, s.Head, heads[s.Room])
			}
			if behind := given[s.Room] < s.Head; behind && !s.Changed {
				t.Errorf("step %d: %s came with head %d, has %d, and is said not to have changed", step, s.Room, given[s.Room], s.Head)
			}
		}
	}
}

// TestSyncAfterARestart: everything is as it was, and the position counts on.
func TestSyncAfterARestart(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	in := func(c *gateway.Config) { c.Data = data }
	srv := gatewaytest.Start(t, in)
	alice, bob := login(t, srv.Addr(), wires[0], "alice"), login(t, srv.Addr(), wires[0], "bob")
	direct := alice.create(&v1.Create{User: "bob"}).Room
	alice.enter(direct)
	for _, text := range []string{"a", "b", "c"} {
		alice.answer(alice.publish(direct, "", text))
	}
	bob.enter(direct)
	bob.answer(bob.mark(direct, 3, 1))
	before := bob.sync(&v1.SyncRequest{Messages: 1})
	srv.Stop()

	srv = gatewaytest.Start(t, in)
	bob = login(t, srv.Addr(), wires[0], "bob")
	after := bob.sync(&v1.SyncRequest{Position: before.Position, Messages: 1})
	if got, want := inWords(after.Rooms), direct+" 1/3 +2 @0 member"; got != want {
		t.Errorf("after a restart sync says %s, want %s", got, want)
	}
	if r := after.Rooms[0]; r.Membership.Peer != "alice" || r.Delivered != 3 {
		t.Errorf("the room is %v", r)
	}
}

// TestSyncByToken: a token that does not let into a room does not tell of it either.
func TestSyncByToken(t *testing.T) {
	t.Parallel()
	secret := gateway.Secret(strings.Repeat("s", 32))
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Auth.HS256Secret = secret })
	alice, bob := login(t, srv.Addr(), wires[0], "alice"), login(t, srv.Addr(), wires[0], "bob")
	for _, room := range []string{"group:a", "group:b"} {
		alice.create(&v1.Create{Room: room})
		alice.change(room, "invite", "bob")
	}
	if n := len(bob.sync(&v1.SyncRequest{}).Rooms); n != 2 {
		t.Fatalf("bob has %d rooms", n)
	}
	key, err := gateway.Config{Auth: gateway.AuthConfig{HS256Secret: secret}}.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	token, err := key.SignToken(gateway.TokenRequest{User: "bob", Lifetime: time.Hour, Rooms: []string{"group:b"}})
	if err != nil {
		t.Fatal(err)
	}
	phone := open(t, srv.Addr(), wires[0])
	phone.answer(phone.request(&v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Token: token}}}))
	var rooms []string
	for _, s := range phone.sync(&v1.SyncRequest{}).Rooms {
		rooms = append(rooms, s.Room)
	}
	for _, r := range phone.myRooms(true).Rooms {
		rooms = append(rooms, r.Room)
	}
	if !slices.Equal(rooms, []string{"group:b", "group:b"}) {
		t.Errorf("the phone is told of %v", rooms)
	}
	// Nor is it told of what becomes of the user there.
	for _, room := range []string{"group:a", "group:b"} {
		alice.change(room, "kick", "bob")
	}
	if f := phone.must(); f.GetRemoved().GetRoom() != "group:b" {
		t.Errorf("the phone is told of %v", f)
	}
}

// BenchmarkSync is what a client waits for that comes back to 1,000 rooms of which 20 have changed: all pages, over a socket. rooms/op
// says that all of them came.
func BenchmarkSync(b *testing.B) {
	const rooms, changed = 1000, 20
	srv := gatewaytest.Start(b, func(c *gateway.Config) {
		c.Log.Sync = gateway.SyncNever
		c.Limits.MessagesPerSecond = 1e6
		c.Limits.MessageBurst = 1e6
	})
	alice, bob := login(b, srv.Addr(), wires[0], "alice"), login(b, srv.Addr(), wires[0], "bob")
	name := func(i int) string { return fmt.Sprintf("group:%04d", i) }
	for i := range rooms {
		alice.create(&v1.Create{Room: name(i)})
		alice.change(name(i), "invite", "bob")
		alice.enter(name(i))
		for range 5 {
			alice.answer(alice.publish(name(i), "", strings.Repeat("x", 128)))
		}
	}
	_, position := bob.syncAll(&v1.SyncRequest{Limit: proto.MaxSyncRooms}, nil)
	for i := range changed {
		alice.answer(alice.publish(name(i*rooms/changed), "", strings.Repeat("y", 128)))
	}
	for _, limit := range []uint32{0, 100} {
		b.Run(fmt.Sprintf("limit=%d", limit), func(b *testing.B) {
			for b.Loop() {
				states, _ := bob.syncAll(&v1.SyncRequest{Position: position, Limit: limit, Messages: 20}, nil)
				n := 0
				for _, s := range states {
					if s.Changed {
						n++
					}
				}
				if len(states) != rooms || n != changed {
					b.Fatalf("%d rooms came, of which %d changed", len(states), n)
				}
			}
			b.ReportMetric(rooms, "rooms/op")
		})
	}
}
