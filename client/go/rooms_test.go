package client

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

func live(epoch string, head uint64) func(*v1.ClientFrame) *v1.ServerFrame {
	return func(f *v1.ClientFrame) *v1.ServerFrame { return joinedFrame(f, epoch, head, nil) }
}

func TestResumeWithoutLossOrRepetition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		subscription := join(c, p, "lobby", JoinOptions{}, live("e1", 41))
		if got := subscription.Position(); got != (Position{"e1", 41}) {
			t.Errorf("position after a live join is %v; want the head", got)
		}
		messages := follow(t, subscription)
		p.send(messageFrames("lobby", 42, 44)...)
		messages.expect(42, 44)
		p.drop()

		p = s.welcome()
		f := p.expectJoin("lobby", "e1", 44)
		p.send(messageFrame("lobby", 45)) // before the reply: not of this subscription
		p.send(joinedFrame(f, "e1", 46, &yes))
		p.send(messageFrames("lobby", 43, 46)...) // two of them were seen
		messages.expect(45, 46)
		if got := subscription.Position(); got != (Position{"e1", 46}) {
			t.Errorf("position is %v; want 46 in e1", got)
		}
	})
}

func TestJoinFromAPosition(t *testing.T) {
	for name, c := range map[string]struct {
		after *Position
		epoch string
		seq   int
	}{
		"everything":           {&Position{}, "", 0},
		"a place in a history": {&Position{"e1", 7}, "e1", 7},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeServer(t)
				client := start(t, s, zero, nil)
				p := s.welcome()
				subscription := join(client, p, "lobby", JoinOptions{After: c.after}, func(f *v1.ClientFrame) *v1.ServerFrame {
					if f.GetJoin().Epoch != c.epoch || int(f.GetJoin().GetAfter()) != c.seq || f.GetJoin().After == nil {
						t.Errorf("request is %v; want a join after %v", f, c.after)
					}
					return joinedFrame(f, "e1", 9, &yes)
				})
				p.send(messageFrames("lobby", uint64(c.seq)+1, 9)...)
				follow(t, subscription).expect(uint64(c.seq)+1, 9)
				if got := subscription.Position(); got != (Position{"e1", 9}) {
					t.Errorf("position is %v; want 9 in e1", got)
				}
				if c.after.Seq != uint64(c.seq) {
					t.Error("the application's own position was changed")
				}
			})
		})
	}
}

func TestResetIsToldInItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		subscription := join(c, p, "lobby", JoinOptions{}, live("e1", 100))
		p.send(messageFrames("lobby", 101, 102)...)
		synctest.Wait()
		p.drop()
		p = s.welcome()
		p.send(joinedFrame(p.expectJoin("lobby", "e1", 102), "e2", 50, &no))
		p.send(messageFrame("lobby", 51))

		var got []any
		for message, err := range subscription.Messages(t.Context()) {
			var reset *ResetError
			switch {
			case errors.As(err, &reset):
				if reset.Old != (Position{"e1", 102}) || reset.New != (Position{"e2", 50}) {
					t.Errorf("reset from %v to %v; want from 102 in e1 to 50 in e2", reset.Old, reset.New)
				}
				got = append(got, "reset")
			case err != nil:
				t.Fatal(err)
			default:
				got = append(got, message.Seq)
			}
			if len(got) == 4 {
				break
			}
		}
		want := []any{uint64(101), uint64(102), "reset", uint64(51)}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("the application got %v; want %v", got, want)
			}
		}
		p.drop()
		p = s.welcome()
		p.expectJoin("lobby", "e2", 51)
	})
}

// TestGapIsTold: what will not come is said in its place, and once.
func TestGapIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		subscription := join(c, p, "lobby", JoinOptions{}, live("e", 1))
		messages := follow(t, subscription)
		gap := func(first, last uint64, reason string) *v1.ServerFrame {
			return &v1.ServerFrame{Op: &v1.ServerFrame_Gap{Gap: &v1.Gap{Room: "lobby", First: first, Last: last, Reason: reason}}}
		}
		p.send(gap(1, 5, "expired"), gap(2, 5, "expired"), messageFrame("lobby", 6))
		var told *GapError
		if err := messages.expectError(); !errors.As(err, &told) || *told != (GapError{"lobby", 2, 5, "expired"}) {
			t.Errorf("got %v; want a gap from 2 to 5", err)
		}
		messages.expect(6, 6)
		p.send(gap(7, 7, "damaged"))
		if err := messages.expectError(); !errors.As(err, &told) || *told != (GapError{"lobby", 7, 7, "damaged"}) {
			t.Errorf("got %v; want a gap at 7", err)
		}
		if got := subscription.Position(); got != (Position{"e", 7}) {
			t.Errorf("position is %v; want 7", got)
		}
		p.send(gap(9, 9, "damaged")) // 8 is missing: a hole, as for a message
		p.expectLeave("lobby")
		p.expectJoin("lobby", "e", 7)
		messages.nothing()
	})
}

func TestHoleIsNeverDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		messages := follow(t, join(c, p, "lobby", JoinOptions{}, live("e", 0)))
		p.send(messageFrame("lobby", 1), messageFrame("lobby", 3), messageFrame("lobby", 4))
		p.expectLeave("lobby")
		f := p.expectJoin("lobby", "e", 1)
		messages.expect(1, 1)
		p.send(messageFrame("lobby", 5)) // still of the old subscription
		p.send(joinedFrame(f, "e", 5, &yes))
		p.send(messageFrames("lobby", 2, 5)...)
		messages.expect(2, 5)

		// The second hole is a new one, so it gets its own second chance; a hole right after
		// that means that something is wrong with this server.
		p.send(messageFrame("lobby", 7))
		p.expectLeave("lobby")
		p.send(joinedFrame(p.expectJoin("lobby", "e", 5), "e", 8, &yes))
		p.send(messageFrame("lobby", 8))
		if got := p.ended(); got != proto.CloseBadFrame.Code {
			t.Errorf("closed with %d; want 4500", got)
		}
		messages.nothing()
		p = s.welcome()
		p.send(joinedFrame(p.expectJoin("lobby", "e", 5), "e", 8, &yes))
		p.send(messageFrame("lobby", 8)) // a new connection gets a second chance again
		p.expectLeave("lobby")
		p.send(joinedFrame(p.expectJoin("lobby", "e", 5), "e", 8, &yes))
		p.send(messageFrames("lobby", 6, 8)...)
		messages.expect(6, 8)
	})
}

func TestAlreadyJoinedLeavesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		done := make(chan error, 1)
		go func() { _, err := c.Join(t.Context(), "lobby", JoinOptions{}); done <- err }()
		p.send(proto.ErrAlreadyJoined.Frame(p.next().Id, "You are in it."))
		p.expectLeave("lobby")
		p.send(joinedFrame(p.next(), "e", 0, nil))
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestRefusedJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, almostOne, nil)
		p := s.welcome()
		done := make(chan error, 2)
		go func() { _, err := c.Join(t.Context(), "lobby", JoinOptions{}); done <- err }()
		// Retryable ones are tried again, ever more slowly, never earlier than asked.
		for _, want := range []time.Duration{2500 * time.Millisecond, 3 * time.Second, 4 * time.Second} {
			p.send(retryFrame(p.expectJoin("lobby", "", -1), proto.ErrRateLimited, 2*time.Second))
			synctest.Wait()
			began := time.Now()
			next := p.next()
			if got := time.Since(began).Round(time.Millisecond); got != want {
				t.Errorf("joined again after %v; want %v", got, want)
			}
			p.requests <- next
		}
		p.send(proto.ErrRoomForbidden.Frame(p.next().Id, "No."))
		var refused *RequestError
		if err := <-done; !errors.As(err, &refused) || refused.Name != "room_forbidden" {
			t.Errorf("Join gave %v; want room_forbidden", err)
		}
		// Refused for good; another try of the application is a new join.
		p.drop()
		p = s.welcome()
		p.quiet()
	})
}

func TestRefusedWhenComingBackEndsTheSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		messages := follow(t, join(c, p, "lobby", JoinOptions{}, live("e", 0)))
		p.drop()
		p = s.welcome()
		p.send(proto.ErrRoomForbidden.Frame(p.expectJoin("lobby", "e", 0).Id, "No longer."))
		var refused *RequestError
		if err := messages.expectError(); !errors.As(err, &refused) || refused.Name != "room_forbidden" {
			t.Errorf("the subscription ended with %v; want room_forbidden", err)
		}
		if _, more := <-messages.events; more {
			t.Error("the subscription went on after its end")
		}
	})
}

func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		subscription := join(c, p, "lobby", JoinOptions{}, live("e", 0))
		p.send(messageFrame("lobby", 1))
		synctest.Wait()
		subscription.Leave()
		for message, err := range subscription.Messages(t.Context()) {
			t.Fatalf("got %v, %v after Leave", message, err)
		}
		p.expectLeave("lobby")
		// A room joined again in the same breath is a new one.
		again := join(c, p, "lobby", JoinOptions{}, live("e", 5))
		p.send(messageFrame("lobby", 6))
		follow(t, again).expect(6, 6)
		subscription.Leave() // of the old one: nothing
		p.quiet()
	})
}

func TestJoinWaitsUntilTheRoomIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, almostOne, nil)
		p := s.welcome()
		join(c, p, "lobby", JoinOptions{}, live("e", 0)).Leave()
		done := make(chan error, 1)
		go func() { _, err := c.Join(t.Context(), "lobby", JoinOptions{}); done <- err }()
		f := p.next()
		p.quiet()
		p.send(retryFrame(f, proto.ErrOverloaded, 3*time.Second))
		began := time.Now()
		p.expectLeave("lobby")
		if got := time.Since(began).Round(time.Millisecond); got != 3500*time.Millisecond {
			t.Errorf("left again after %v; want 3.5 s", got)
		}
		p.send(joinedFrame(p.expectJoin("lobby", "", -1), "e", 0, nil))
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestJoinTwiceIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		messages := follow(t, join(c, p, "lobby", JoinOptions{}, live("e", 0)))
		if _, err := c.Join(t.Context(), "lobby", JoinOptions{}); !errors.Is(err, ErrJoined) {
			t.Errorf("got %v; want ErrJoined", err)
		}
		p.send(messageFrame("lobby", 1))
		messages.expect(1, 1)
	})
}

func TestJoinGivenUpLeavesTheRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Join(ctx, "lobby", JoinOptions{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v; want the deadline", err)
		}
		p.expectJoin("lobby", "", -1)
		p.expectLeave("lobby")
		p.drop()
		p = s.welcome()
		p.quiet()
	})
}

func TestSlowApplicationIsServedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		slow := join(c, p, "slow", JoinOptions{Buffer: 10}, live("e", 0))
		quick := follow(t, join(c, p, "quick", JoinOptions{}, live("e", 0)))

		p.send(messageFrames("slow", 1, 50)...)
		p.expectLeave("slow")
		p.send(messageFrames("quick", 1, 3)...)
		quick.expect(1, 3) // the others go on
		p.quiet()

		next := uint64(1)
		for message, err := range slow.Messages(t.Context()) {
			if err != nil || message.Seq != next {
				t.Fatalf("got message %d, %v; want %d", message.Seq, err, next)
			}
			if next == 10 || next == 20 {
				p.send(joinedFrame(p.expectJoin("slow", "e", int(next)), "e", 50, &yes))
				p.send(messageFrames("slow", next+1, 50)...)
				p.expectLeave("slow")
			}
			if next++; next == 28 {
				break
			}
		}
		if got := slow.Position(); got.Seq != 27 {
			t.Errorf("position is %d; want 27, the last that the application has taken", got.Seq)
		}
		// A loss while the room is set aside changes nothing: it is joined when it is empty.
		p.drop()
		p = s.welcome()
		p.send(joinedFrame(p.expectJoin("quick", "e", 3), "e", 3, &yes))
		p.quiet()
		rest := follow(t, slow)
		p.send(joinedFrame(p.expectJoin("slow", "e", 30), "e", 30, &yes))
		rest.expect(28, 30)
	})
}

func TestLoopThatAnswersMessagesDoesNotWaitForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		subscription := join(c, p, "lobby", JoinOptions{Buffer: 1}, live("e", 0))
		answered := make(chan uint64, 100)
		go func() {
			for message := range subscription.Messages(context.Background()) {
				if _, err := c.Publish(context.Background(), "answers", message.Text); err != nil {
					return
				}
				answered <- message.Seq
			}
		}()
		// Twenty messages stand before the reply to the first answer.
		p.send(messageFrames("lobby", 1, 20)...)
		got := 0
		for got < 20 {
			f := p.next()
			switch {
			case f.GetPublish() != nil:
				got++
				p.send(publishedFrame(f, uint64(got)))
			case f.GetLeave() != nil:
				p.send(&v1.ServerFrame{Id: f.Id, Op: &v1.ServerFrame_Left{Left: &v1.Left{Room: "lobby"}}})
			case f.GetJoin() != nil:
				p.send(joinedFrame(f, "e", 20, &yes))
				p.send(messageFrames("lobby", f.GetJoin().GetAfter()+1, 20)...)
			}
		}
		for want := uint64(1); want <= 20; want++ {
			if got := <-answered; got != want {
				t.Fatalf("answered message %d; want %d", got, want)
			}
		}
	})
}

func TestMessagesOfBytesAndLargeOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		subscription := join(c, p, "lobby", JoinOptions{}, live("e", 0))
		large := string(make([]byte, maxBufferBytes+1))
		p.send(
			&v1.ServerFrame{Op: &v1.ServerFrame_Message{Message: &v1.Message{
				Room: "lobby", Seq: 1, At: 1500, From: "bob", Content: &v1.Message_Text{Text: large}}}})
		p.send(
			&v1.ServerFrame{Op: &v1.ServerFrame_Message{Message: &v1.Message{
				Room: "lobby", Seq: 2, Content: &v1.Message_Data{Data: []byte{}}}}})
		p.expectLeave("lobby") // both at once are more than the buffer takes
		next := 0
		for message, err := range subscription.Messages(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			switch next++; next {
			case 1:
				if message.Text != large || message.Data != nil || message.From != "bob" || !message.At.Equal(time.UnixMilli(1500)) {
					t.Errorf("the large message was not kept as it was")
				}
				p.send(joinedFrame(p.expectJoin("lobby", "e", 1), "e", 2, &yes))
				p.send(&v1.ServerFrame{Op: &v1.ServerFrame_Message{Message: &v1.Message{
					Room: "lobby", Seq: 2, Content: &v1.Message_Data{Data: []byte{}}}}})
			case 2:
				if message.Data == nil || message.Text != "" {
					t.Errorf("a message of no bytes is %+v; want Data not nil", message)
				}
				return
			}
		}
	})
}

func TestMessagesEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		subscription := join(c, p, "lobby", JoinOptions{}, live("e", 0))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, err := range subscription.Messages(ctx) {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v; want the deadline", err)
			}
		}
		p.send(messageFrame("lobby", 1))
		follow(t, subscription).expect(1, 1) // the room is still joined
	})
}
