package presence

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// rig is a keeper with two loops, inside a synctest bubble.
type rig struct {
	t      *testing.T
	keeper *Keeper
	loops  []*fakeLoop
	told   map[handoff.Handle][]*v1.ServerFrame
	typing []*v1.Typing // as the loops were told
}

// fakeLoop does what a loop does, when work is called.
type fakeLoop struct {
	index    uint16
	inbox    *handoff.Mailbox[handoff.Event]
	waiting  []handoff.Event // taken and not worked off
	members  map[string][]handoff.Member
	observed map[string]bool
}

func begin(t *testing.T, change func(*Config)) *rig {
	r := &rig{t: t, told: map[handoff.Handle][]*v1.ServerFrame{}}
	cfg := Config{Grace: 20 * time.Second}
	for i := range uint16(2) {
		l := &fakeLoop{
			index: i, inbox: handoff.NewMailbox[handoff.Event](1 << 20), members: map[string][]handoff.Member{}, observed: map[string]bool{},
		}
		l.inbox.Listen(func() {})
		r.loops, cfg.Loops = append(r.loops, l), append(cfg.Loops, l.inbox)
	}
	if change != nil {
		change(&cfg)
	}
	r.keeper = Start(cfg)
	return r
}

// work has a loop work off its events, at most so many.
func (r *rig) work(l *fakeLoop, most int) {
	l.waiting = append(l.waiting, l.inbox.Take(nil)...)
	for ; len(l.waiting) > 0 && most > 0; most-- {
		e := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.inbox.Release(e.Size)
		switch e.Kind {
		case handoff.Observe:
			l.observed[e.Room] = true
			r.keeper.Tell(handoff.Presence{
				Kind: handoff.Here, From: handoff.Handle{Loop: l.index}, Room: e.Room, Members: slices.Clone(l.members[e.Room]),
			})
		case handoff.Ignore:
			delete(l.observed, e.Room)
		case handoff.Ephemeral:
			r.typing = append(r.typing, decode(r.t, e.Message.Frame(proto.Binary)).GetTyping())
		case handoff.Told, handoff.Changed:
			f := &v1.ServerFrame{Id: e.ID, Op: &v1.ServerFrame_Error{Error: &v1.Error{Name: "refused"}}}
			if e.Frames != nil {
				f = decode(r.t, e.Frames[handoff.Headroom:])
				if p := f.GetPresence(); p != nil && e.Room != p.Room {
					r.t.Errorf("the answer of %q is said to be of %q: it is not to reach who was removed from the room", p.Room, e.Room)
				}
			}
			r.told[e.To] = append(r.told[e.To], f)
		default:
			r.t.Fatalf("a loop is told %+v", e)
		}
	}
}

func decode(t *testing.T, stream []byte) *v1.ServerFrame {
	frame, rest, err := proto.Next(proto.Binary, stream)
	f := &v1.ServerFrame{}
	if err == nil {
		err = proto.DecodeServerFrame(f, proto.Binary, frame)
	}
	if err != nil || len(rest) > 0 {
		t.Fatalf("told what is no frame: %v", err)
	}
	return f
}

// settle has everybody work until nothing is left to do.
func (r *rig) settle(wait time.Duration) {
	for range 3 {
		synctest.Wait()
		for _, l := range r.loops {
			r.work(l, math.MaxInt)
		}
	}
	time.Sleep(wait)
	synctest.Wait()
	for _, l := range r.loops {
		r.work(l, math.MaxInt)
	}
}

func (r *rig) join(room string, m handoff.Member) {
	l := r.loops[m.Handle.Loop]
	l.members[room] = append(l.members[room], m)
	if l.observed[room] {
		r.keeper.Tell(handoff.Presence{Kind: handoff.Came, From: m.Handle, Room: room, User: m.User, Away: m.Away})
	}
}

func (r *rig) leave(room string, h handoff.Handle) {
	l := r.loops[h.Loop]
	i := slices.IndexFunc(l.members[room], func(m handoff.Member) bool { return m.Handle == h })
	m := l.members[room][i]
	l.members[room] = slices.Delete(l.members[room], i, i+1)
	r.keeper.Tell(handoff.Presence{Kind: handoff.Unwatch, From: h, Room: room})
	if l.observed[room] {
		r.keeper.Tell(handoff.Presence{Kind: handoff.Went, From: h, Room: room, User: m.User})
	}
}

func (r *rig) turn(room string, h handoff.Handle, away bool) {
	l := r.loops[h.Loop]
	i := slices.IndexFunc(l.members[room], func(m handoff.Member) bool { return m.Handle == h })
	l.members[room][i].Away = away
	if l.observed[room] {
		r.keeper.Tell(handoff.Presence{Kind: handoff.Turned, From: h, Room: room, User: l.members[room][i].User, Away: away})
	}
}

func (r *rig) ask(room string, h handoff.Handle, watch bool) {
	r.t.Helper()
	if !r.keeper.Ask(handoff.Presence{Kind: handoff.AskPresence, From: h, ID: 7, Room: room, Watch: watch}) {
		r.t.Fatal("the question was not taken")
	}
}

// truth is how everybody in a room stands who has connections there.
func (r *rig) truth(room string) map[string]string {
	states := map[string]string{}
	for _, l := range r.loops {
		for _, m := range l.members[room] {
			if !m.Away {
				states[m.User] = "online"
			} else if states[m.User] == "" {
				states[m.User] = "away"
			}
		}
	}
	return states
}

// view is what a client makes of what it was told, which is taken.
type view struct {
	version uint64
	count   uint32
	states  map[string]string
}

func (r *rig) look(v *view, h handoff.Handle) {
	r.t.Helper()
	for _, f := range r.told[h] {
		switch op := f.Op.(type) {
		case *v1.ServerFrame_Presence:
			*v = view{op.Presence.Version, op.Presence.Count, map[string]string{}}
			for _, u := range op.Presence.Users {
				v.states[u.User] = u.State
			}
		case *v1.ServerFrame_PresenceChange:
			c := op.PresenceChange
			if c.Version != v.version+1 {
				r.t.Fatalf("after version %d comes %v", v.version, c)
			}
			v.version, v.count = c.Version, c.Count
			for _, u := range c.Users {
				if v.states[u.User] = u.State; u.State == "offline" {
					delete(v.states, u.User)
				}
			}
		default:
			r.t.Fatalf("told %v", f)
		}
	}
	delete(r.told, h)
}

func handle(loop uint16, n int) handoff.Handle {
	return handoff.Handle{Loop: loop, Slot: uint32(n), Generation: uint32(n + 1)}
}

// TestAgainstModel: whatever comes and goes in whatever order, who watches sees in the end who is there.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			r := begin(t, func(c *Config) { c.Grace = time.Duration(random.IntN(3)) * 5 * time.Second })
			defer r.keeper.Close()
			views := map[handoff.Handle]*view{}
			var live []handoff.Handle
			next := 0
			for range 300 {
				switch random.IntN(10) {
				case 0, 1, 2:
					h := handle(uint16(random.IntN(2)), next)
					next++
					live = append(live, h)
					r.join("r", handoff.Member{Handle: h, User: fmt.Sprint("user-", random.IntN(8)), Away: random.IntN(4) == 0})
				case 3, 4:
					if len(live) > 0 {
						i := random.IntN(len(live))
						r.leave("r", live[i])
						delete(views, live[i])
						live = slices.Delete(live, i, i+1)
					}
				case 5:
					if len(live) > 0 {
						r.turn("r", live[random.IntN(len(live))], random.IntN(2) == 0)
					}
				case 6:
					if len(live) > 0 {
						h := live[random.IntN(len(live))]
						if views[h] == nil {
							r.ask("r", h, true)
							views[h] = &view{}
						}
					}
				case 7:
					synctest.Wait()
					r.work(r.loops[random.IntN(2)], 1+random.IntN(3))
				case 8:
					time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
				case 9:
					if len(live) > 0 {
						h := live[random.IntN(len(live))]
						r.ask("r", h, false) // watches no more
						delete(views, h)
					}
				}
			}
			r.settle(30 * time.Second) // longer than the grace
			want := r.truth("r")
			for h, v := range views {
				r.look(v, h)
				if !maps.Equal(v.states, want) || int(v.count) != len(want) {
					t.Fatalf("seed %d: %v sees %v of %d, there are %v", seed, h, v.states, v.count, want)
				}
			}
			if len(views) == 0 && r.keeper.Stats().Observed != 0 {
				t.Fatalf("seed %d: a room is observed that nobody watches", seed)
			}
		})
	}
}

// TestGrace: who comes back within it was never away, who does not is told with the moment of going.
func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, nil)
		defer r.keeper.Close()
		watcher, phone := handle(0, 1), handle(1, 2)
		r.join("r", handoff.Member{Handle: watcher, User: "alice"})
		r.join("r", handoff.Member{Handle: phone, User: "bob", Away: true})
		r.ask("r", watcher, true)
		r.settle(time.Second)
		v := &view{}
		if r.look(v, watcher); v.states["bob"] != "away" || v.states["alice"] != "online" || v.count != 2 || v.version != 1 {
			t.Fatalf("the first view is %+v", v)
		}
		r.leave("r", phone)
		r.settle(19 * time.Second)
		r.join("r", handoff.Member{Handle: handle(0, 3), User: "bob", Away: true})
		r.settle(40 * time.Second)
		if told := r.told[watcher]; len(told) != 0 {
			t.Fatalf("a reconnect was told: %v", told)
		}
		gone := time.Now()
		r.leave("r", handle(0, 3))
		r.settle(22 * time.Second)
		told := r.told[watcher]
		if len(told) != 1 || told[0].GetPresenceChange().GetUsers()[0].GetState() != "offline" {
			t.Fatalf("of who is gone was told %v", told)
		}
		if u := told[0].GetPresenceChange().Users[0]; u.User != "bob" || u.Since != uint64(gone.UnixMilli()) {
			t.Errorf("told %v, bob went at %d", u, gone.UnixMilli())
		}
	})
}

// TestExpelled: for who is removed from the room nobody waits, unless they are back by then.
func TestExpelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, nil)
		defer r.keeper.Close()
		watcher, phone, laptop := handle(0, 1), handle(1, 2), handle(0, 3)
		r.join("r", handoff.Member{Handle: watcher, User: "alice"})
		r.join("r", handoff.Member{Handle: phone, User: "bob"})
		r.join("r", handoff.Member{Handle: laptop, User: "bob"})
		r.ask("r", watcher, true)
		r.settle(time.Second)
		v := &view{}
		r.look(v, watcher)
		expel := func(h handoff.Handle) {
			r.keeper.Tell(handoff.Presence{Kind: handoff.Expelled, From: h, Room: "r", User: "bob"})
		}
		expel(phone)
		r.settle(time.Second)
		if r.look(v, watcher); v.states["bob"] != "online" {
			t.Fatalf("while the other loop has not come to it, seen is %+v", v)
		}
		expel(laptop)
		r.settle(time.Second)
		if r.look(v, watcher); len(v.states) != 1 || v.count != 1 {
			t.Fatalf("after it, seen is %+v", v)
		}
		r.join("r", handoff.Member{Handle: handle(0, 4), User: "bob"})
		r.settle(time.Second)
		r.leave("r", handle(0, 4))
		r.settle(2 * time.Second)
		if r.look(v, watcher); v.states["bob"] != "online" {
			t.Fatalf("who was let in again and then lost the connection is not waited for: %+v", v)
		}
	})
}

// TestLargeRooms have counts, and some names in the answer.
func TestLargeRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, func(c *Config) { c.Named = 3 })
		defer r.keeper.Close()
		for i := range 5 {
			r.join("r", handoff.Member{Handle: handle(uint16(i%2), i), User: fmt.Sprint("user-", i)})
		}
		r.ask("r", handle(0, 0), true)
		r.settle(time.Second)
		if p := r.told[handle(0, 0)][0].GetPresence(); p.Count != 5 || len(p.Users) != 3 {
			t.Fatalf("the answer is %v", p)
		}
		r.join("r", handoff.Member{Handle: handle(0, 9), User: "user-9"})
		r.settle(2 * time.Second)
		if c := r.told[handle(0, 0)][1].GetPresenceChange(); c.Count != 6 || len(c.Users) != 0 || c.Version != 2 {
			t.Fatalf("the change is %v", c)
		}
	})
}

// TestTyping is told gathered, by name for a few, and lasts as long as it is said.
func TestTyping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, nil)
		defer r.keeper.Close()
		types := func(user string, stopped bool) {
			r.keeper.Ask(handoff.Presence{Kind: handoff.Typing, Room: "r", User: user, Stopped: stopped})
		}
		told := func(wait time.Duration) []*v1.Typing {
			r.settle(wait)
			list := r.typing
			r.typing = nil
			return list
		}
		for i := range 7 {
			types(fmt.Sprint("user-", i), false)
			types(fmt.Sprint("user-", i), false)
		}
		list := told(300 * time.Millisecond)
		if len(list) != 2 || !slices.Equal(list[0].Users, []string{"user-0", "user-1", "user-2", "user-3", "user-4"}) || list[0].More != 2 || list[0].LifetimeMs != 4000 {
			t.Fatalf("each loop once is told %v", list)
		}
		types("user-0", true)
		if list = told(300 * time.Millisecond); len(list) != 2 || list[0].Users[0] != "user-1" || list[0].More != 1 {
			t.Fatalf("when one stops the loops are told %v", list)
		}
		types("user-9", true) // was not typing
		if list = told(4 * time.Second); len(list) != 0 {
			t.Fatalf("without news the loops are told %v", list)
		}
		types("user-3", false)
		if list = told(2 * time.Second); len(list) != 2 || !slices.Equal(list[0].Users, []string{"user-3"}) {
			t.Fatalf("after the others' time is over the loops are told %v", list)
		}
		if list = told(10 * time.Second); len(list) != 0 || len(r.keeper.typing) != 0 {
			t.Fatalf("at the end the loops are told %v, and %d rooms are held", list, len(r.keeper.typing))
		}
	})
}

// TestPressure: questions and typing are refused, a loop that is full is not told who types, and what became of connections is taken.
func TestPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, func(c *Config) { c.MailboxBytes = 1 })
		defer r.keeper.Close()
		r.loops[1].inbox.PutAlways(handoff.Event{Kind: handoff.Ignore}, 2<<20)
		r.keeper.Ask(handoff.Presence{Kind: handoff.Typing, Room: "r", User: "alice"})
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if s := r.keeper.Stats(); s.Told != 1 || s.Untold != 1 {
			t.Errorf("counted %+v", s)
		}
		r.keeper.mailbox.PutAlways(letter{said: handoff.Presence{Kind: handoff.Went, Room: "r"}}, 0)
		r.keeper.mailbox.Bound(0)
		if r.keeper.Ask(handoff.Presence{Kind: handoff.AskPresence, Room: "r"}) || r.keeper.Stats().Refused != 1 {
			t.Error("a full mailbox took a question")
		}
		r.keeper.Tell(handoff.Presence{Kind: handoff.Went, Room: "r"})
	})
}

// TestTooManyRooms: a question that would be of one too many is refused, and the next is answered when there is room.
func TestTooManyRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, nil)
		defer r.keeper.Close()
		for i := range maxRooms + 1 {
			r.ask(fmt.Sprint("room-", i), handle(0, i), false)
		}
		r.settle(0)
		if f := r.told[handle(0, maxRooms)]; len(f) != 1 || f[0].GetError() == nil {
			t.Fatalf("one too many was told %v", f)
		}
		if f := r.told[handle(0, 5)]; len(f) != 1 || f[0].GetPresence() == nil {
			t.Fatalf("another was told %v", f)
		}
		// Those that nobody waits for any more keep nobody from watching.
		r.ask("later", handle(0, maxRooms+1), true)
		r.settle(0)
		if f := r.told[handle(0, maxRooms+1)]; len(f) != 1 || f[0].GetPresence() == nil {
			t.Fatalf("who watched after the questions was told %v", f)
		}
		if n := r.keeper.Stats().Observed; n != maxRooms {
			t.Errorf("%d rooms are observed, want %d", n, maxRooms)
		}
		r.keeper.Tell(handoff.Presence{Kind: handoff.Unwatch, From: handle(0, maxRooms+1), Room: "later"})
		r.settle(time.Minute)
		if n := r.keeper.Stats().Observed; n != 0 {
			t.Errorf("%d rooms are observed though nobody watches them", n)
		}
		if len(r.loops[0].observed) != 0 {
			t.Error("a loop goes on observing")
		}
	})
}

// TestLoopsThatBeginLate: a loop that nobody has connected to yet holds up no answer, and its first member is told.
func TestLoopsThatBeginLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := handoff.NewMailbox[handoff.Event](1 << 20)
		r := begin(t, func(c *Config) { c.Loops[1] = late })
		defer r.keeper.Close()
		r.loops[1].inbox = late
		r.join("r", handoff.Member{Handle: handle(0, 1), User: "alice"})
		r.ask("r", handle(0, 1), true)
		synctest.Wait()
		r.work(r.loops[0], math.MaxInt)
		synctest.Wait()
		r.work(r.loops[0], math.MaxInt)
		v := &view{}
		if r.look(v, handle(0, 1)); v.count != 1 {
			t.Fatalf("the answer is %+v", v)
		}
		late.Listen(func() {})
		r.join("r", handoff.Member{Handle: handle(1, 2), User: "bob"})
		r.settle(time.Second)
		if r.look(v, handle(0, 1)); v.states["bob"] != "online" || v.count != 2 {
			t.Fatalf("then told %+v", v)
		}
	})
}
