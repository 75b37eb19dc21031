package members

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// TestDirect: two users, one room whoever starts it, and nobody else ever.
func TestDirect(t *testing.T) {
	r := newRig(t, newMemory(), nil)
	name := DirectName("direct:", "ben", "ann")
	if name != DirectName("direct:", "ann", "ben") || name == DirectName("direct:", "ann", "be") || name == DirectName("direct:", "an", "nben") {
		t.Fatal("the name of a direct room is not that of its two users")
	}
	start := func(user, other string) handoff.MemberRequest {
		m := create(DirectName("direct:", user, other), user)
		m.Target = other
		return m
	}
	// Both at once: the answers are of one room.
	first, second := r.ask(start("ann", "ben")), r.ask(start("ben", "ann"))
	r.answer(first)
	r.answer(second)
	if got := len(r.told(handoff.Personal)); got != 2 {
		t.Errorf("%d users were told of the room, want both, once", got)
	}
	f := r.must(start("ben", "ann"), "")
	if room := f.GetRoom(); room.GetRoom() != name || room.GetPeer() != "ann" || room.GetKind() != "direct" || room.GetRole() != "member" {
		t.Errorf("the room is %v", room)
	}
	r.must(enter(name, "ann"), "")
	r.must(enter(name, "ben"), "")
	staff := enter(name, "cleo")
	staff.Moderator = true
	r.must(staff, "not_member")
	r.must(change(name, "ann", "invite", "cleo"), "bad_request")
	r.must(change(name, "ann", "leave", ""), "bad_request")
	r.must(start("ann", "ann"), "bad_request")
	r.must(start("ann", "a\nb"), "bad_request")
	wrong := start("ann", "ben")
	wrong.Room = "direct:mine"
	r.must(wrong, "bad_request")
	wrong = start("ann", "dan")
	wrong.Title = "us"
	r.must(wrong, "bad_request")
	r.must(handoff.MemberRequest{Kind: handoff.ConfigureRoom, Room: name, User: "ann", SetTitle: true}, "role_forbidden")
	_, err := r.keeper.Call(t.Context(), change(name, "", "invite", "cleo"))
	if refusal, ok := errors.AsType[*Refusal](err); !ok || refusal.Code != proto.ErrBadRequest {
		t.Errorf("the server put a third into a direct room: %v", err)
	}
}

// TestSettings: who may change them, what they may be, and who is told.
func TestSettings(t *testing.T) {
	r := newRig(t, newMemory(), nil)
	room := "group:a"
	c := create(room, "ann")
	c.SetTitle, c.Title, c.SetSlow, c.SlowMS, c.Speak = true, "Birds", true, 5000, "guest"
	f := r.must(c, "").GetRoom()
	if f.GetTitle() != "Birds" || f.GetSlowModeMs() != 5000 || f.GetSpeak() != "guest" || f.GetRole() != "owner" || f.GetKind() != "group" {
		t.Fatalf("the room is %v", f)
	}
	if again := r.must(c, "").GetRoom(); again.GetRole() != "owner" {
		t.Errorf("the repetition was answered with %v", again)
	}
	configure := func(user string) handoff.MemberRequest {
		return handoff.MemberRequest{Kind: handoff.ConfigureRoom, Room: room, User: user}
	}
	r.must(change(room, "ann", "invite", "ben"), "")
	r.must(configure("ben"), "role_forbidden")
	r.must(giveRole(room, "ann", "ben", "moderator"), "")
	m := configure("ben")
	m.Speak = "owner"
	r.must(m, "role_forbidden")
	m.Speak, m.SetSlow = "moderator", true
	r.told(handoff.RoomChanged)
	f = r.must(m, "").GetRoom()
	if f.GetTitle() != "Birds" || f.GetSlowModeMs() != 0 || f.GetSpeak() != "moderator" {
		t.Errorf("the room is %v", f)
	}
	told := r.told(handoff.RoomChanged)
	if len(told) != 1 || told[0].Member.Speak != handoff.RoleModerator || told[0].Member.SlowMS != 0 || told[0].Member.Title != "Birds" {
		t.Errorf("the loops were told %v", told)
	}
	for name, wrong := range map[string]func(*handoff.MemberRequest){
		"title":   func(m *handoff.MemberRequest) { m.SetTitle, m.Title = true, strings.Repeat("x", proto.MaxTitle+1) },
		"control": func(m *handoff.MemberRequest) { m.SetTitle, m.Title = true, "a\x00" },
		"speak":   func(m *handoff.MemberRequest) { m.Speak = "king" },
		"slow":    func(m *handoff.MemberRequest) { m.SetSlow, m.SlowMS = true, proto.MaxSlowMode+1 },
	} {
		m := configure("ann")
		wrong(&m)
		if _, refused := r.do(m); refused != "bad_request" {
			t.Errorf("%s: %q", name, refused)
		}
	}
	r.must(create("lobby", "ann"), "bad_request")
	r.must(create(room, "ben"), "room_exists")
}

// TestPages: members and rooms by name, bans, and who may see them.
func TestPages(t *testing.T) {
	r := newRig(t, newMemory(), nil)
	room := "group:a"
	r.must(create(room, "u000"), "")
	for i := range 130 {
		r.must(change(room, "u000", "invite", fmt.Sprintf("u%03d", i+1)), "")
	}
	mute := change(room, "u000", "mute", "u002")
	mute.ForMS, mute.Reason = 5000, "loud"
	r.must(mute, "")
	list := handoff.MemberRequest{Kind: handoff.ListMembers, Room: room, User: "u007"}
	page := r.must(list, "").GetMembers()
	if len(page.GetMembers()) != proto.DefaultPage || !page.GetMore() || page.GetTotal() != 131 {
		t.Fatalf("a page of %d, more %v, of %d", len(page.GetMembers()), page.GetMore(), page.GetTotal())
	}
	owner, muted := page.Members[0], page.Members[2]
	if owner.User != "u000" || owner.Role != "owner" || owner.GetSince() != 1_000_000 || muted.GetMutedUntil() != 1_005_000 || muted.Reason != "loud" {
		t.Errorf("members are %v and %v", owner, muted)
	}
	list.Limit, list.PageAfter = 200, "u049"
	page = r.must(list, "").GetMembers()
	if len(page.GetMembers()) != 81 || page.GetMore() || page.Members[0].User != "u050" {
		t.Errorf("the rest is %d, more %v", len(page.GetMembers()), page.GetMore())
	}
	list.Limit = 201
	r.must(list, "bad_request")
	list.Limit, list.User = 0, "stranger"
	r.must(list, "not_member")

	ban := change(room, "u000", "ban", "u005")
	ban.Reason = "spam"
	r.must(ban, "")
	short := change(room, "u000", "ban", "u006")
	short.ForMS = 1000
	r.must(short, "")
	banned := handoff.MemberRequest{Kind: handoff.ListMembers, Room: room, User: "u007", Banned: true}
	r.must(banned, "role_forbidden")
	banned.User = "u000"
	if got := r.must(banned, "").GetMembers(); len(got.Members) != 2 || got.Members[0].GetBannedUntil() != handoff.ForEver || got.Members[0].Reason != "spam" || got.Total != 129 {
		t.Errorf("banned are %v", got)
	}
	r.now = r.now.Add(time.Second)
	if got := r.must(banned, "").GetMembers(); len(got.Members) != 1 {
		t.Errorf("after a second banned are %v", got)
	}

	for i := range 3 {
		r.must(create(fmt.Sprint("group:r", i), "u009"), "")
	}
	rooms := handoff.MemberRequest{Kind: handoff.ListRooms, User: "u009", Limit: 2}
	first := r.must(rooms, "").GetRooms()
	rooms.PageAfter = first.GetRooms()[1].GetRoom()
	second := r.must(rooms, "").GetRooms()
	if len(first.Rooms) != 2 || !first.More || first.Rooms[0].Room != room || first.Rooms[0].Role != "member" || len(second.Rooms) != 2 || second.More || second.Rooms[0].Role != "owner" {
		t.Errorf("rooms are %v, then %v", first, second)
	}
}

// TestBatches: what waits while the disk does is stored together, answered in order, and a list sees what was asked before it.
func TestBatches(t *testing.T) {
	store := newMemory()
	store.waits = make(chan struct{}, 100)
	r := newRig(t, store, nil)
	ids := []uint64{r.ask(create("group:a", "ann"))}
	for i := range 200 {
		ids = append(ids, r.ask(change("group:a", "ann", "invite", fmt.Sprint("u", i))))
	}
	list := r.ask(handoff.MemberRequest{Kind: handoff.ListMembers, Room: "group:a", User: "u199", Limit: 200})
	for range cap(store.waits) {
		store.waits <- struct{}{}
	}
	e := r.answer(list)
	if e.Code.Code != 0 {
		t.Fatalf("the list was refused: %s", e.Text)
	}
	last := uint64(0)
	answered := 0
	for _, e := range r.told(handoff.Told) {
		if e.ID < last || e.Code.Code != 0 {
			t.Fatalf("answer %d, %s, came after %d", e.ID, e.Text, last)
		}
		last = e.ID
		answered++
	}
	if answered != len(ids) {
		t.Errorf("%d of %d were answered before the list", answered, len(ids))
	}
	if store.updates > 4 {
		t.Errorf("%d updates for %d requests", store.updates, len(ids))
	}
}

// TestFailures: a store that fails keeps nobody out who needs no change, and leaves the counts right.
func TestFailures(t *testing.T) {
	store := newMemory()
	r := newRig(t, store, func(c *Config) { c.MembersPerRoom = 2 })
	r.must(enter("open:a", "ann"), "")
	store.set(func() { store.fails = true })
	new1, old, new2 := r.ask(enter("open:a", "ben")), r.ask(enter("open:a", "ann")), r.ask(enter("open:a", "cleo"))
	for id, want := range map[uint64]string{new1: "log_unavailable", old: ""} {
		if e := r.answer(id); e.Code.Name != want {
			t.Errorf("%q, want %q", e.Code.Name, want)
		}
	}
	// Behind ben there is no place for cleo, but without him there is: either way she may try again or not, but is not in.
	if e := r.answer(new2); e.Kind != handoff.Denied {
		t.Error("somebody became a member of a store that failed")
	}
	store.set(func() { store.fails = false })
	r.must(enter("open:a", "dan"), "")
	r.must(enter("open:a", "eve"), "room_full")
	store.set(func() { store.blind = true })
	r.must(enter("open:a", "ann"), "internal")
	store.set(func() { store.blind = false })
	r.must(enter("open:a", "ann"), "")
	if s := r.keeper.Stats(); s.Refused == 0 || s.Stored != 2 {
		t.Errorf("stats are %+v", s)
	}
}

// TestCall: the server may do everything, without being a member.
func TestCall(t *testing.T) {
	r := newRig(t, newMemory(), nil)
	call := func(m handoff.MemberRequest) error {
		_, err := r.keeper.Call(t.Context(), m)
		return err
	}
	made := create("group:a", "")
	made.Target = "ann"
	for _, m := range []handoff.MemberRequest{
		made, change("group:a", "", "invite", "ben"), giveRole("group:a", "", "ben", "owner"), change("group:a", "", "kick", "ann"),
		change("", "", "ban", "cleo"), {Kind: handoff.ListMembers, Room: "group:a", Banned: true}, {Kind: handoff.ListRooms, User: "ben"},
		create("group:nobodys", ""),
	} {
		if err := call(m); err != nil {
			t.Errorf("%+v: %v", m, err)
		}
	}
	if r.keeper.Banned("cleo") != handoff.ForEver {
		t.Error("cleo is not banned")
	}
	if err := call(change("group:a", "", "kick", "ann")); !strings.Contains(fmt.Sprint(err), "no_such_member") {
		t.Errorf("ann was kicked twice: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.store.waits = make(chan struct{}, 1)
	if _, err := r.keeper.Call(ctx, change("group:a", "", "invite", "ann")); !errors.Is(err, context.Canceled) {
		t.Errorf("after the caller gave up: %v", err)
	}
	r.store.waits <- struct{}{}
}

// TestLargeRooms: a hundred thousand members and ten thousand rooms, and not one more. Nobody is told of each who comes.
func TestLargeRooms(t *testing.T) {
	r := newRig(t, newMemory(), func(c *Config) { c.MailboxBytes, c.MembersPerRoom, c.RoomsPerUser = 1<<30, 20_000, 2_000 })
	admitted, told := 0, 0
	count := func() {
		admitted += len(r.told(handoff.Admitted))
		told += len(r.told(handoff.Ephemeral))
		r.events = nil
	}
	for i := range 20_000 {
		id := r.ask(enter("open:a", fmt.Sprint("u", i)))
		if i%5000 == 4999 {
			if r.answer(id).Kind == handoff.Admitted {
				admitted++
			}
			count()
		}
	}
	r.must(enter("open:a", "one more"), "room_full")
	if admitted != 20_000 || told != 100 {
		t.Errorf("%d were admitted, and the members told %d times", admitted, told)
	}
	for i := range 1_999 {
		r.ask(enter(fmt.Sprint("open:r", i), "u1"))
	}
	r.must(enter("open:z", "u1"), "member_of_too_many")
	r.must(enter("open:a", "u1"), "")
	mute := change("open:a", "staff", "mute", "u7")
	mute.Moderator = true
	r.events = nil
	r.must(mute, "")
	if n := len(r.told(handoff.Ephemeral)); n != 1 {
		t.Errorf("of a mute the members were told %d times", n)
	}
}

// TestFullMailbox: who can't be served is told so at once.
func TestFullMailbox(t *testing.T) {
	store := newMemory()
	store.waits = make(chan struct{})
	r := newRig(t, store, func(c *Config) { c.MailboxBytes = 1000 })
	n := 0
	for ; r.keeper.Ask(enter("open:a", fmt.Sprint("u", n))); n++ {
		if n > 100 {
			t.Fatal("the mailbox takes everything")
		}
	}
	if _, err := r.keeper.Call(t.Context(), enter("open:a", "x")); !strings.Contains(fmt.Sprint(err), "overloaded") {
		t.Errorf("a call was taken too: %v", err)
	}
	if s := r.keeper.Stats(); s.Refused != 2 {
		t.Errorf("%d were refused", s.Refused)
	}
	close(store.waits)
}

// TestNews: what loops are told, before the answer and in the order in which they have to act on it.
func TestNews(t *testing.T) {
	r := newRig(t, newMemory(), nil)
	room := "group:a"
	r.must(create(room, "ann"), "")
	r.must(change(room, "ann", "invite", "ben"), "")
	r.events = nil
	want := func(what string, kinds ...handoff.EventKind) []handoff.Event {
		t.Helper()
		events := r.events
		r.events = nil
		var got []handoff.EventKind
		for _, e := range events {
			got = append(got, e.Kind)
			if e.Room != room {
				t.Errorf("%s: an event is of %q", what, e.Room)
			}
		}
		if !slices.Equal(got, kinds) {
			t.Fatalf("%s: the loops are told %v, want %v", what, got, kinds)
		}
		return events
	}
	r.must(giveRole(room, "ann", "ben", "guest"), "")
	events := want("role", handoff.MemberChanged, handoff.Personal, handoff.Ephemeral)
	if f := r.frameOf(events[1]).GetRoom(); events[1].Member.User != "ben" || f.GetRole() != "guest" {
		t.Errorf("ben is told %v", f)
	}
	if f := r.frameOf(events[2]).GetMember(); f.GetUser() != "ben" || f.GetAction() != "role" || f.GetRole() != "guest" || f.GetBy() != "ann" {
		t.Errorf("the members are told %v", f)
	}
	r.must(giveRole(room, "ann", "ben", "guest"), "")
	want("what is so already")
	r.must(enter(room, "ben"), "")
	want("a member enters")
	kick := change(room, "ann", "kick", "ben")
	kick.Reason = "loud"
	r.must(kick, "")
	events = want("kick", handoff.MemberRemoved, handoff.Ephemeral)
	if f := r.frameOf(events[0]).GetRemoved(); events[0].Member.User != "ben" || f.GetAction() != "kick" || f.GetReason() != "loud" || f.GetBy() != "ann" {
		t.Errorf("ben is told %v", f)
	}
	if f := r.frameOf(events[1]).GetMember(); f.GetRole() != "" || f.GetReason() != "loud" {
		t.Errorf("the members are told %v", f)
	}
	r.must(change(room, "ann", "unban", "ben"), "")
	want("unban")
}

// TestNewsComesBeforeTheAnswer: when somebody is answered, every loop has been given what they have changed, whichever loop they are on.
func TestNewsComesBeforeTheAnswer(t *testing.T) {
	const room = "group:a"
	other := handoff.NewMailbox[handoff.Event](1 << 20)
	r := newRig(t, newMemory(), func(c *Config) { c.Loops = append(c.Loops, other) })
	r.must(create(room, "ann"), "")
	r.must(change(room, "ann", "invite", "ben"), "")
	r.must(change(room, "ann", "invite", "cleo"), "")
	other.Take(nil)

	// The bell rings on the keeper's goroutine, so what is seen there is how it was at that moment.
	answer, answered, removed := make(chan result, 1), make(chan struct{}), make(chan struct{})
	r.inbox.Take(nil)
	r.inbox.Listen(func() {
		if len(answer) > 0 {
			t.Error("the server was answered before the loops were told")
		}
		for _, e := range r.inbox.Take(nil) {
			switch e.Kind {
			case handoff.Told:
				if len(other.Take(nil)) == 0 {
					t.Error("who asked was answered before the other loop was told")
				}
				close(answered)
			case handoff.MemberRemoved:
				close(removed)
			}
		}
	})
	r.ask(giveRole(room, "ann", "ben", "moderator"))
	<-answered
	kick := change(room, "", "kick", "cleo")
	kick.Server = true
	r.keeper.mailbox.PutAlways(letter{request: kick, answer: answer}, 0)
	<-removed
	if a := <-answer; a.err != nil {
		t.Error(a.err)
	}
}
