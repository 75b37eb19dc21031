package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// enqueue publishes without waiting, with the text as its key.
func enqueue(t *testing.T, c *Client, room, text string) *Pending {
	t.Helper()
	p, err := c.Enqueue(t.Context(), Publication{Room: room, Key: text, Text: text})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func outcome(p *Pending) (Published, error) {
	ctx, cancel := context.WithCancel(context.Background())
	synctest.Wait()
	cancel()
	return p.Wait(ctx)
}

func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		go func() {
			f := p.next()
			if string(f.GetPublish().GetData()) != "\x00\xff" || f.GetPublish().Key == "" {
				t.Errorf("request is %v; want two bytes and a key", f)
			}
			p.send(publishedFrame(f, 7))
		}()
		got, err := c.PublishData(t.Context(), "lobby", []byte{0, 255})
		if err != nil || got.Seq != 7 || got.Room != "lobby" || got.Key == "" || got.At.UnixMilli() != 1763839392456 {
			t.Errorf("got %+v, %v; want seq 7 in lobby", got, err)
		}
		go func() { p.send(proto.ErrPublishForbidden.Frame(p.next().Id, "No.")) }()
		_, err = c.Publish(t.Context(), "lobby", "x")
		var refused *RequestError
		var failed *PublishError
		if !errors.As(err, &refused) || refused.Name != "publish_forbidden" || !errors.As(err, &failed) || failed.Key == "" {
			t.Errorf("got %v; want publish_forbidden with the key", err)
		}
	})
}

func TestPublishOfflineIsSentInOrderLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		s.set(func(s *fakeServer) { s.down = true })
		c := start(t, s, almostOne, nil)
		var all []*Pending
		for _, room := range []string{"b", "a"} {
			for i := range 3 {
				all = append(all, enqueue(t, c, room, fmt.Sprint(room, i)))
			}
		}
		time.Sleep(time.Hour) // what was never sent may wait for ever
		s.set(func(s *fakeServer) { s.down = false })
		c.Wake()
		p := s.welcome()
		// One of each room at a time, the older room first.
		for i := range 3 {
			b := p.expectPublish(fmt.Sprint("b", i), fmt.Sprint("b", i))
			a := p.expectPublish(fmt.Sprint("a", i), fmt.Sprint("a", i))
			p.quiet()
			p.send(publishedFrame(b, uint64(i+1)), publishedFrame(a, uint64(i+1)))
		}
		for i, pending := range all {
			if got, err := outcome(pending); err != nil || got.Seq != uint64(i%3+1) {
				t.Errorf("publish %s gave %v, %v", pending.Key(), got, err)
			}
		}
	})
}

func TestPublishInFlightIsSentAgainWithItsKey(t *testing.T) {
	for window, want := range map[int][]string{1: {"k0"}, 3: {"k0", "k1", "k2"}} {
		t.Run(fmt.Sprint("window ", window), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeServer(t)
				c := start(t, s, zero, func(c *Config) { c.PublishWindow = window })
				p := s.welcome()
				var all []*Pending
				for i := range 5 {
					all = append(all, enqueue(t, c, "lobby", fmt.Sprint("k", i)))
				}
				for range 3 { // three connections, none answers
					for _, key := range want {
						p.expectPublish(key, key)
					}
					p.quiet()
					p.drop()
					p = s.welcome()
				}
				for i := range 5 {
					p.send(publishedFrame(p.expectPublish(fmt.Sprint("k", i), fmt.Sprint("k", i)), uint64(i+1)))
				}
				for i, pending := range all {
					if got, err := outcome(pending); err != nil || got.Seq != uint64(i+1) {
						t.Errorf("publish %d gave %v, %v", i, got, err)
					}
				}
			})
		})
	}
}

func TestRefusedPublishIsSentAgainAndHoldsUpItsRoom(t *testing.T) {
	for _, code := range []proto.ErrorCode{proto.ErrRateLimited, proto.ErrOverloaded, proto.ErrLogUnavailable, proto.ErrDraining, proto.ErrInternal} {
		t.Run(code.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeServer(t)
				c := start(t, s, almostOne, nil)
				p := s.welcome()
				enqueue(t, c, "lobby", "first")
				enqueue(t, c, "lobby", "second")
				for _, want := range []time.Duration{800 * time.Millisecond, 1300 * time.Millisecond, 2300 * time.Millisecond} {
					p.send(retryFrame(p.expectPublish("first", "first"), code, 300*time.Millisecond))
					synctest.Wait()
					p.quiet()
					began := time.Now()
					again := p.next()
					if got := time.Since(began).Round(time.Millisecond); got != want {
						t.Errorf("sent again after %v; want %v", got, want)
					}
					p.requests <- again
				}
				enqueue(t, c, "other", "third") // another room does not wait
				f := p.expectPublish("first", "first")
				p.send(publishedFrame(p.expectPublish("third", "third"), 1))
				p.quiet()
				p.send(publishedFrame(f, 1))
				p.send(publishedFrame(p.expectPublish("second", "second"), 2))
			})
		})
	}
}

func TestOutcomeUnknownAfterNineMinutes(t *testing.T) {
	for name, c := range map[string]struct {
		first        func(*peer, *v1.ClientFrame) // what happens to the first try
		refusedLater bool                         // the second try is not taken
		unknown      bool
	}{
		"never answered": {func(p *peer, f *v1.ClientFrame) {}, false, true},
		"answered that the log is unavailable": {func(p *peer, f *v1.ClientFrame) {
			p.send(retryFrame(f, proto.ErrLogUnavailable, time.Hour))
		}, false, true},
		"answered that it was not taken": {func(p *peer, f *v1.ClientFrame) {
			p.send(retryFrame(f, proto.ErrRateLimited, 10*time.Minute))
		}, false, false},
		"never answered, then not taken": {func(p *peer, f *v1.ClientFrame) {}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeServer(t)
				client := start(t, s, almostOne, nil)
				p := s.welcome()
				first := enqueue(t, client, "lobby", "first")
				second := enqueue(t, client, "lobby", "second")
				c.first(p, p.expectPublish("first", "first"))
				synctest.Wait()
				if c.refusedLater {
					p.drop()
					p = s.welcome()
					p.send(retryFrame(p.expectPublish("first", "first"), proto.ErrRateLimited, 10*time.Minute))
					synctest.Wait()
				}
				s.set(func(s *fakeServer) { s.down = true })
				p.drop()
				time.Sleep(keyLife + time.Second)
				s.set(func(s *fakeServer) { s.down = false })
				client.Wake()
				p = s.welcome()
				if !c.unknown {
					p.expectPublish("first", "first")
					return
				}
				p.send(publishedFrame(p.expectPublish("second", "second"), 1))
				if _, err := outcome(first); !errors.Is(err, ErrOutcomeUnknown) {
					t.Errorf("first publish gave %v; want ErrOutcomeUnknown", err)
				}
				if _, err := outcome(second); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestOutboxIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		s.set(func(s *fakeServer) { s.down = true })
		c := start(t, s, almostOne, func(c *Config) { c.MaxQueued, c.MaxQueuedBytes = 3, 100 })
		enqueue(t, c, "lobby", strings.Repeat("x", 60))
		_, err := c.Enqueue(t.Context(), Publication{Room: "lobby", Text: strings.Repeat("y", 41)})
		if !errors.Is(err, ErrQueueFull) {
			t.Errorf("too many bytes: %v; want ErrQueueFull", err)
		}
		enqueue(t, c, "lobby", "a")
		enqueue(t, c, "lobby", "b")
		if _, err := c.Publish(t.Context(), "lobby", "c"); !errors.Is(err, ErrQueueFull) {
			t.Errorf("too many: %v; want ErrQueueFull", err)
		}
		s.set(func(s *fakeServer) { s.down = false })
		p := s.welcome()
		p.send(publishedFrame(p.next(), 1))
		p.send(publishedFrame(p.next(), 2))
		enqueue(t, c, "lobby", "c") // there is room again
	})
}

func TestTooLargeIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		s.set(func(s *fakeServer) { s.down = true })
		c := start(t, s, almostOne, nil)
		unsuspected := enqueue(t, c, "lobby", strings.Repeat("x", 70000)[:100])
		large, err := c.Enqueue(t.Context(), Publication{Room: "lobby", Text: strings.Repeat("x", 65536)})
		if err != nil {
			t.Fatal(err) // the server's limit is not known yet
		}
		after := enqueue(t, c, "lobby", "after")
		s.set(func(s *fakeServer) { s.down = false })
		p := s.welcome()
		p.send(publishedFrame(p.next(), 1))
		p.send(publishedFrame(p.expectPublish("after", "after"), 2))
		for _, fine := range []*Pending{unsuspected, after} {
			if _, err := outcome(fine); err != nil {
				t.Error(err)
			}
		}
		if _, err := outcome(large); !errors.Is(err, ErrTooLarge) {
			t.Errorf("got %v; want ErrTooLarge", err)
		}
		if _, err := c.Publish(t.Context(), "lobby", strings.Repeat("x", 65536)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("got %v; want ErrTooLarge", err)
		}
		// The largest that is let through fits into what the server takes.
		for size := 65536; ; size-- {
			pending, err := c.Enqueue(t.Context(), Publication{Room: "lobby", Key: "k", Text: strings.Repeat("x", size)})
			if err != nil {
				continue
			}
			p.send(publishedFrame(p.next(), 3))
			p.mu.Lock()
			if p.lastFrame > 65536 || p.lastFrame < 65536-20 {
				t.Errorf("the largest message has %d bytes; want a little under 65,536", p.lastFrame)
			}
			p.mu.Unlock()
			outcome(pending)
			break
		}
	})
}

func TestManyFramesLeaveInMessagesThatTheServerTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		s.set(func(s *fakeServer) { s.down = true })
		c := start(t, s, almostOne, nil)
		text := strings.Repeat("x", 30000)
		for i := range 5 {
			if _, err := c.Enqueue(t.Context(), Publication{Room: fmt.Sprint("room", i), Text: text}); err != nil {
				t.Fatal(err)
			}
		}
		s.set(func(s *fakeServer) { s.down = false })
		p := s.welcome()
		for range 5 {
			p.next()
			p.mu.Lock()
			if p.lastFrame > 65536 {
				t.Errorf("a message of %d bytes was sent; the server takes 65,536", p.lastFrame)
			}
			p.mu.Unlock()
		}
	})
}

func TestPublishGivenUpIsNotSentLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		enqueue(t, c, "lobby", "first")
		_, err := c.PublishMessage(ctx, Publication{Room: "lobby", Key: "second", Text: "second"})
		var failed *PublishError
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &failed) || failed.Key != "second" {
			t.Errorf("got %v; want the deadline and the key", err)
		}
		p.send(publishedFrame(p.expectPublish("first", "first"), 1))
		p.quiet()
		p.drop()
		s.welcome().quiet()
	})
}

func TestFaultyPublicationsAreNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		for name, publication := range map[string]Publication{
			"no room":            {Text: "x"},
			"control in room":    {Room: "a\nb", Text: "x"},
			"text is not UTF-8":  {Room: "lobby", Text: "\xff"},
			"key is too long":    {Room: "lobby", Key: strings.Repeat("k", 129), Text: "x"},
			"key has no meaning": {Room: "lobby", Key: "\xff", Text: "x"},
		} {
			if _, err := c.PublishMessage(t.Context(), publication); err == nil {
				t.Errorf("%s: want an error", name)
			}
		}
		p.quiet()
	})
}

func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		after := uint64(40)
		go func() {
			// A lost connection and a busy server delay it; the third try is answered.
			p.next()
			p.drop()
			p = s.welcome()
			p.send(retryFrame(p.next(), proto.ErrOverloaded, time.Second))
			f := p.next()
			if h := f.GetHistory(); h.Room != "lobby" || h.GetAfter() != 40 || h.Before != nil || h.Limit != 2 {
				t.Errorf("request is %v; want two messages after 40", f)
			}
			p.send(&v1.ServerFrame{Id: f.Id, Op: &v1.ServerFrame_History{History: &v1.History{
				Room: "lobby", Epoch: "e", More: true,
				Messages: []*v1.Message{messageFrame("lobby", 41).GetMessage(), messageFrame("lobby", 42).GetMessage()},
			}}})
		}()
		page, err := c.History(t.Context(), "lobby", HistoryQuery{After: &after, Limit: 2})
		if err != nil || page.Epoch != "e" || !page.More || len(page.Messages) != 2 || page.Messages[1].Text != "m42" {
			t.Errorf("got %+v, %v; want messages 41 and 42", page, err)
		}
		go func() { p.send(proto.ErrHistoryDamaged.Frame(p.next().Id, "A part is lost.")) }()
		var refused *RequestError
		if _, err := c.History(t.Context(), "lobby", HistoryQuery{Before: 9}); !errors.As(err, &refused) || refused.Name != "history_damaged" {
			t.Errorf("got %v; want history_damaged", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.History(ctx, "lobby", HistoryQuery{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v; want the deadline", err)
		}
		p.next()
		p.drop()
		s.welcome().quiet() // nobody waits for it any more
		if _, err := c.History(t.Context(), "lobby", HistoryQuery{Before: 1, After: &after}); err == nil {
			t.Error("before and after together: want an error")
		}
	})
}
