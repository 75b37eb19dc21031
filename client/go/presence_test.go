package client

import (
	"context"
	"errors"
	"iter"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// expectPresence takes a question, or the word that nobody watches any more.
func (p *peer) expectPresence(watch bool) *v1.ClientFrame {
	p.t.Helper()
	synctest.Wait()
	f := p.next()
	if q := f.GetPresence(); f.Id == 0 || q.GetRoom() != "lobby" || q.GetWatch() != watch {
		p.t.Fatalf("got %v; want presence of lobby, watch %v", f, watch)
	}
	return f
}

func people(users ...string) (list []*v1.UserPresence) {
	for i := 0; i < len(users); i += 2 {
		list = append(list, &v1.UserPresence{User: users[i], State: users[i+1]})
	}
	return list
}

func presenceAnswer(f *v1.ClientFrame, version uint64, count uint32, users ...string) *v1.ServerFrame {
	return &v1.ServerFrame{Id: f.Id, Op: &v1.ServerFrame_Presence{Presence: &v1.Presence{
		Room: "lobby", Version: version, Count: count, Users: people(users...)}}}
}

func presenceChange(version uint64, count uint32, users ...string) *v1.ServerFrame {
	return &v1.ServerFrame{Op: &v1.ServerFrame_PresenceChange{PresenceChange: &v1.PresenceChange{
		Room: "lobby", Version: version, Count: count, Users: people(users...)}}}
}

// puller takes from a range step by step.
type puller[T any] struct {
	t    *testing.T
	next chan result[T]
	more chan bool
}

type result[T any] struct {
	value T
	err   error
	ended bool
}

// pull ranges in the background, and goes on when what it gave is taken.
func pull[T any](t *testing.T, updates iter.Seq2[T, error]) *puller[T] {
	p := &puller[T]{t, make(chan result[T], 1), make(chan bool)}
	go func() {
		for value, err := range updates {
			p.next <- result[T]{value: value, err: err}
			if !<-p.more {
				break
			}
		}
		p.next <- result[T]{ended: true}
	}()
	return p
}

// expect takes what has come, and has the range go on.
func (p *puller[T]) expect(want T) {
	p.t.Helper()
	synctest.Wait()
	select {
	case r := <-p.next:
		if r.err != nil || r.ended || !reflect.DeepEqual(r.value, want) {
			p.t.Fatalf("got %+v; want %+v", r, want)
		}
		p.more <- true
	default:
		p.t.Fatalf("nothing has come; want %+v", want)
	}
}

func (p *puller[T]) nothing() {
	p.t.Helper()
	synctest.Wait()
	select {
	case r := <-p.next:
		p.t.Fatalf("got %+v; want nothing", r)
	default:
	}
}

// end takes the error, if it is one, and the end.
func (p *puller[T]) end() (err error) {
	p.t.Helper()
	synctest.Wait()
	for {
		select {
		case r := <-p.next:
			if r.ended {
				return err
			}
			if r.err == nil {
				p.t.Fatalf("got %+v; want the end", r)
			}
			err = r.err
			p.more <- true
			synctest.Wait()
		default:
			p.t.Fatal("it has not ended")
		}
	}
}

func there(count int, users ...string) Presence {
	seen := Presence{Count: count}
	for i := 0; i < len(users); i += 2 {
		seen.Users = append(seen.Users, UserPresence{users[i], users[i+1]})
	}
	return seen
}

func TestPresenceFollowsItsVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		room := join(c, p, "lobby", JoinOptions{}, live("e1", 0))
		p.quiet() // nobody watches
		seen := pull(t, room.PresenceUpdates(t.Context()))
		asked := p.expectPresence(true)
		p.send(presenceChange(8, 9, "early", Online)) // it is in the answer, or comes again
		p.send(presenceAnswer(asked, 3, 2, "bob", Away, "alice", Online))
		seen.expect(there(2, "alice", Online, "bob", Away))
		p.send(presenceChange(4, 2, "bob", "offline", "carol", Online))
		seen.expect(there(2, "alice", Online, "carol", Online))

		// Who is slow gets the newest; a large room has its count.
		p.send(presenceChange(5, 0))
		synctest.Wait() // it is being looked at
		for version := range uint64(100) {
			p.send(presenceChange(6+version, uint32(version)))
		}
		seen.expect(there(0, "alice", Online, "carol", Online))
		seen.expect(there(99, "alice", Online, "carol", Online))

		// One is missing: all of it is asked for.
		p.send(presenceChange(107, 7, "dan", Online))
		asked = p.expectPresence(true)
		p.send(presenceChange(108, 8, "eve", Online))
		seen.nothing()
		p.send(presenceAnswer(asked, 108, 1, "eve", Online))
		seen.expect(there(1, "eve", Online))

		// Another connection has versions of its own.
		p.drop()
		p = s.welcome()
		p.rejoin("lobby", "e1", 0, 0, &yes)
		p.send(presenceAnswer(p.expectPresence(true), 1, 1, "fay", Online))
		seen.expect(there(1, "fay", Online))
		p.send(presenceChange(2, 0, "fay", "offline"))
		synctest.Wait()
		r := <-seen.next
		if r.value.Count != 0 || r.value.Users != nil {
			t.Errorf("got %+v", r)
		}
		p.send(presenceChange(3, 1, "gus", Online)) // waits to be taken
		synctest.Wait()
		seen.more <- false // it is ranged over no more
		p.expectPresence(false)

		// The next range begins anew, and an answer to the one before is none to it.
		ctx, cancel := context.WithCancel(t.Context())
		seen = pull(t, room.PresenceUpdates(ctx))
		late := p.expectPresence(true)
		seen.nothing()
		cancel()
		if err := seen.end(); !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
		p.expectPresence(false)
		seen = pull(t, room.PresenceUpdates(t.Context()))
		asked = p.expectPresence(true)
		p.send(presenceAnswer(late, 3, 1, "gus", Online))
		seen.nothing()
		p.send(presenceAnswer(asked, 4, 1, "hal", Online))
		seen.expect(there(1, "hal", Online))
		room.Leave()
		p.expectLeave("lobby")
		if err := seen.end(); err != nil {
			t.Errorf("after leave: %v", err)
		}
		p.quiet()
	})
}

func TestPresenceIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, almostOne, nil)
		p := s.welcome()
		room := join(c, p, "lobby", JoinOptions{}, live("e1", 0))
		ctx, cancel := context.WithCancel(t.Context())
		seen := pull(t, room.PresenceUpdates(ctx))
		p.send(retryFrame(p.expectPresence(true), proto.ErrOverloaded, time.Second))
		time.Sleep(1499 * time.Millisecond)
		p.quiet()
		time.Sleep(2 * time.Millisecond)
		p.send(retryFrame(p.expectPresence(true), proto.ErrOverloaded, time.Second))
		time.Sleep(1999 * time.Millisecond) // it grows
		p.quiet()
		time.Sleep(2 * time.Millisecond)
		p.send(presenceAnswer(p.expectPresence(true), 1, 1, "alice", Online))
		seen.expect(there(1, "alice", Online))
		cancel()
		if err := seen.end(); !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
		p.expectPresence(false)

		seen = pull(t, room.PresenceUpdates(t.Context()))
		p.send(proto.ErrBadRequest.Frame(p.expectPresence(true).Id, "No."))
		var refused *RequestError
		if err := seen.end(); !errors.As(err, &refused) || refused.Name != "bad_request" {
			t.Errorf("refused: %v", err)
		}
	})
}

func TestAwayIsSaidOnEachConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		expect := func(state string) {
			t.Helper()
			synctest.Wait()
			if f := p.next(); f.Id == 0 || f.GetState().GetState() != state {
				t.Fatalf("got %v; want state %s", f, state)
			}
			p.quiet()
		}
		p.quiet()
		c.SetAway(true)
		expect("away")
		c.SetAway(true)
		p.quiet()
		p.drop()
		p = s.welcome()
		expect("away")
		c.SetAway(false)
		expect("online")
		p.drop()
		c.SetAway(true) // without a connection
		p = s.welcome()
		expect("away")
	})
}

func TestTypingIsSaidNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		room := join(c, p, "lobby", JoinOptions{}, live("e1", 0))
		expect := func(stopped bool) {
			t.Helper()
			synctest.Wait()
			if f := p.next(); f.Id != 0 || f.GetTyping().GetRoom() != "lobby" || f.GetTyping().GetStopped() != stopped {
				t.Fatalf("got %v; want typing, stopped %v", f, stopped)
			}
			p.quiet()
		}
		room.StopTyping()
		p.quiet()
		for range 9 {
			room.Typing()
		}
		expect(false)
		time.Sleep(typingAgain)
		synctest.Wait() // the alarm rings at this moment too
		room.Typing()
		expect(false)
		room.StopTyping()
		room.StopTyping()
		expect(true)
		room.Typing()
		expect(false)

		// What is published ends it, and the next key begins again.
		pending, err := c.Enqueue(t.Context(), Publication{Room: "lobby", Text: "x"})
		if err != nil {
			t.Fatal(err)
		}
		p.send(publishedFrame(p.next(), 1))
		if _, err := pending.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		room.StopTyping()
		p.quiet()
		room.Typing()
		expect(false)

		// A connection has what was said on it.
		p.drop()
		room.Typing()
		p = s.welcome()
		p.rejoin("lobby", "e1", 0, 0, &yes)
		p.quiet()
		room.Typing()
		expect(false)
	})
}

func TestWhoIsTyping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		room := join(c, p, "lobby", JoinOptions{}, live("e1", 7))
		tell := func(more uint32, users ...string) {
			p.send(&v1.ServerFrame{Op: &v1.ServerFrame_Typing{Typing: &v1.Typing{Room: "lobby", Users: users, More: more, LifetimeMs: 4000}}})
		}
		say := func(frame *v1.ServerFrame, from string, ephemeral bool) {
			m := frame.GetMessage()
			if m.From = from; ephemeral {
				m.Seq, m.Ephemeral = 0, true
			}
			p.send(frame)
		}
		told := pull(t, room.TypingUpdates(t.Context()))
		tell(2, "bob", "alice", "carol") // alice is this user
		told.expect(Typists{[]string{"bob", "carol"}, 2})
		tell(2, "bob", "carol")
		told.nothing() // as before
		say(messageFrame("lobby", 8), "dan", false)
		say(messageFrame("lobby", 9), "carol", true) // a cursor, perhaps
		liked := messageFrame("lobby", 9)
		liked.GetMessage().Change = &v1.Change{Target: 8, Op: &v1.Change_React{React: &v1.React{Reaction: "👍"}}}
		say(liked, "bob", false)
		told.nothing()
		say(messageFrame("lobby", 10), "bob", false)
		told.expect(Typists{[]string{"carol"}, 2})
		time.Sleep(3 * time.Second)
		tell(0, "carol")
		told.expect(Typists{[]string{"carol"}, 0})
		time.Sleep(3999 * time.Millisecond)
		told.nothing()
		time.Sleep(time.Millisecond)
		told.expect(Typists{})
		tell(0, "carol")
		told.expect(Typists{[]string{"carol"}, 0})
		p.drop() // who knows
		told.expect(Typists{})
		c.Close()
		if err := told.end(); !errors.Is(err, ErrClosed) {
			t.Errorf("ended with %v", err)
		}
	})
}
