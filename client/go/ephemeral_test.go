package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

func ephemeralFrame(room, key, text string) *v1.ServerFrame {
	return &v1.ServerFrame{Op: &v1.ServerFrame_Message{Message: &v1.Message{
		Room: room, At: 1763839392123, From: "bob", Ephemeral: true, Key: key, Content: &v1.Message_Text{Text: text},
	}}}
}

func (r *reader) expectEphemeral(key, text string) {
	r.t.Helper()
	synctest.Wait()
	select {
	case e := <-r.events:
		if m := e.message; e.err != nil || !m.Ephemeral || m.Key != key || m.Text != text || m.Seq != 0 || m.From != "bob" {
			r.t.Fatalf("got %+v; want the ephemeral message %q of %q", e, text, key)
		}
	default:
		r.t.Fatalf("%q has not come", text)
	}
}

func TestEphemeralMessagesLeaveThePositionAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		subscription := join(c, p, "lobby", JoinOptions{}, live("e1", 7))
		messages := follow(t, subscription)
		// The same twice is twice: they are not taken for repetitions.
		p.send(ephemeralFrame("lobby", "cursor", "a"), ephemeralFrame("lobby", "cursor", "a"), ephemeralFrame("attic", "", "b"))
		messages.expectEphemeral("cursor", "a")
		messages.expectEphemeral("cursor", "a")
		p.send(messageFrame("lobby", 8))
		messages.expect(8, 8)
		p.send(ephemeralFrame("lobby", "", "c"))
		messages.expectEphemeral("", "c")
		if got := subscription.Position(); got != (Position{"e1", 8}) || subscription.Ephemeral() {
			t.Errorf("position is %v; want 8 in e1", got)
		}
		// What a client of before sees: number 0, and no mark.
		old := ephemeralFrame("lobby", "", "d")
		old.GetMessage().Ephemeral = false
		p.send(old)
		messages.nothing()
		p.quiet()
		p.drop()
		p = s.welcome()
		f := p.expectJoin("lobby", "e1", 8)
		p.send(ephemeralFrame("lobby", "", "before joined"))
		p.send(joinedFrame(f, "e1", 8, &yes))
		messages.nothing()
		subscription.Leave()
		p.expectLeave("lobby")
		p.send(ephemeralFrame("lobby", "", "after leave"))
		messages.nothing()
	})
}

// TestSlowApplicationGetsTheNewest: ephemeral messages that nobody takes neither grow without bound nor have
// the room set aside, and take no place of stored ones.
func TestSlowApplicationGetsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		subscription := join(c, p, "lobby", JoinOptions{Buffer: 3}, live("e1", 0))
		p.send(messageFrame("lobby", 1), ephemeralFrame("lobby", "rare", "rare"))
		for i := range 1000 {
			p.send(ephemeralFrame("lobby", fmt.Sprint("key", i%2), fmt.Sprint(i)))
		}
		p.send(messageFrames("lobby", 2, 3)...)
		p.quiet()
		messages := follow(t, subscription)
		synctest.Wait()
		var got []string
		for len(messages.events) > 0 {
			e := <-messages.events
			got = append(got, fmt.Sprint(e.message.Seq, e.message.Key, " ", e.message.Text))
		}
		if len(got) != maxEphemeral+3 || got[0] != "1 m1" || got[1] != "0rare rare" || got[len(got)-1] != "3 m3" || got[len(got)-3] != "0key1 999" {
			t.Errorf("got %d: %v", len(got), got)
		}
		if got := subscription.Position(); got.Seq != 3 {
			t.Errorf("position is %v", got)
		}
	})
}

func TestSendEphemeral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		if err := c.SendEphemeral(Publication{Room: "lobby", Text: "x"}); !errors.Is(err, ErrNotConnected) {
			t.Errorf("without a connection: %v", err)
		}
		p := s.welcome()
		p.quiet() // and it was not kept
		if err := c.SendEphemeral(Publication{Room: "lobby", Key: "cursor", Data: []byte{1}}); err != nil {
			t.Fatal(err)
		}
		if f := p.next(); f.Id != 0 || !f.GetPublish().Ephemeral || f.GetPublish().Key != "cursor" || string(f.GetPublish().GetData()) != "\x01" {
			t.Errorf("sent %v", f)
		}
		// Nobody makes a key for it, and a refusal without an id ends nothing.
		if err := c.SendEphemeral(Publication{Room: "lobby", Text: "x"}); err != nil {
			t.Fatal(err)
		}
		if f := p.next(); f.GetPublish().Key != "" {
			t.Errorf("sent %v", f)
		}
		p.send(proto.ErrRateLimited.Frame(0, "Slower."))
		for name, bad := range map[string]Publication{
			"room": {Room: ""}, "key": {Room: "r", Key: strings.Repeat("k", 129)}, "text": {Room: "r", Text: "\xff"}, "size": {Room: "r", Text: strings.Repeat("x", 70_000)},
		} {
			if err := c.SendEphemeral(bad); err == nil {
				t.Errorf("bad %s was sent", name)
			}
		}
		p.send(&v1.ServerFrame{Op: &v1.ServerFrame_Goaway{Goaway: &v1.GoAway{AfterMs: 1000, WindowMs: 1000}}})
		synctest.Wait()
		if err := c.SendEphemeral(Publication{Room: "lobby", Text: "x"}); !errors.Is(err, ErrNotConnected) {
			t.Errorf("while the server goes away: %v", err)
		}
		p.quiet()
	})
}

func TestPublishEphemeral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		publish := func(ctx context.Context) chan error {
			done := make(chan error, 1)
			go func() { done <- c.PublishEphemeral(ctx, Publication{Room: "lobby", Key: "k", Text: "x"}) }()
			return done
		}
		done := publish(t.Context())
		p.send(publishedFrame(p.next(), 0))
		if err := <-done; err != nil {
			t.Errorf("published: %v", err)
		}
		done = publish(t.Context())
		p.send(proto.ErrPublishForbidden.Frame(p.next().Id, "No."))
		var refused *RequestError
		if err := <-done; !errors.As(err, &refused) || refused.Name != "publish_forbidden" {
			t.Errorf("refused: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done = publish(ctx)
		late := p.next()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
		p.send(publishedFrame(late, 0))
		done = publish(t.Context())
		p.next()
		p.drop()
		if err := <-done; !errors.Is(err, ErrNotConnected) {
			t.Errorf("lost: %v", err)
		}
		p = s.welcome()
		p.quiet() // it is not sent again
		done = publish(t.Context())
		p.next()
		c.Close()
		if err := <-done; !errors.Is(err, ErrNotConnected) {
			t.Errorf("closed: %v", err)
		}
		if err := <-publish(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	})
}

// TestASlowSocketKeepsTheNewest: and never what somebody waits for less than that.
func TestASlowSocketKeepsTheNewest(t *testing.T) {
	frame := func(n int) []byte { return []byte{byte(n), byte(n >> 8)} }
	var p passing
	for i := range 100 {
		p.add(passingFrame{"r", fmt.Sprint(i % 3), frame(i), false})
	}
	p.add(passingFrame{"r", "0", frame(100), true})
	p.add(passingFrame{"s", "0", frame(101), false})
	p.add(passingFrame{"r", "0", frame(102), false})
	if got := p.take(); !slices.EqualFunc(got, []int{97, 98, 100, 101, 102}, func(b []byte, n int) bool { return string(b) == string(frame(n)) }) {
		t.Errorf("kept %v", got)
	}
	for i := range 2 * maxPassing {
		p.add(passingFrame{"r", fmt.Sprint(i), frame(i), i < 10})
	}
	got := p.take()
	if len(got) != maxPassing || string(got[9]) != string(frame(9)) || string(got[10]) != string(frame(maxPassing+10)) {
		t.Errorf("kept %d, then %v", len(got), got[9:11])
	}
	for i := range 3 {
		p.add(passingFrame{"r", fmt.Sprint(i), make([]byte, maxPassingBytes/2), false})
	}
	if len(p.waiting) != 2 || p.bytes != maxPassingBytes {
		t.Errorf("kept %d with %d bytes", len(p.waiting), p.bytes)
	}
}
