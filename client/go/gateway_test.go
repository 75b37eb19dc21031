package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	client "rookery/client/go"
	"rookery/gateway"
	"rookery/gateway/gatewaytest"
)

// The first three that are let pass belong to a pool of gnet, which the gateway in this process
// runs on; it is made when the program starts and never ends. The fourth is buntdb's housekeeper,
// which ends within a second after its database.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
		goleak.IgnoreAnyFunction("github.com/tidwall/buntdb.(*DB).backgroundManager"))
}

// Tests against the real gateway; those of the rules are against a fake one.

func connect(t *testing.T, config client.Config) *client.Client {
	t.Helper()
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestGatewayBothTransports(t *testing.T) {
	g := gatewaytest.Start(t)
	ctx := within(t)
	bob := connect(t, client.Config{URL: "tcp://" + g.Addr(), Name: "bob"})
	room, err := bob.Join(ctx, "lobby", client.JoinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	alice := connect(t, client.Config{URL: g.URL(), Name: "alice"})
	for i, want := range []string{"hello", "héllo 🐦", ""} {
		got, err := alice.Publish(ctx, "lobby", want)
		if err != nil || got.Seq != uint64(i+1) {
			t.Fatalf("publish gave %+v, %v; want seq %d", got, err, i+1)
		}
	}
	if _, err := alice.PublishData(ctx, "lobby", []byte{0, 255}); err != nil {
		t.Fatal(err)
	}
	want := []string{"hello", "héllo 🐦", "", ""}
	i := 0
	for message, err := range room.Messages(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if message.From != "alice" || message.Text != want[i] || message.Seq != uint64(i+1) || (message.Data != nil) != (i == 3) {
			t.Errorf("message %d is %+v; want %q from alice", i+1, message, want[i])
		}
		if i++; i == len(want) {
			break
		}
	}
	page, err := bob.History(ctx, "lobby", client.HistoryQuery{Limit: 2})
	if err != nil || len(page.Messages) != 2 || page.Messages[0].Seq != 3 || !page.More || page.Epoch != room.Position().Epoch {
		t.Errorf("history is %+v, %v; want messages 3 and 4", page, err)
	}
}

func TestGatewayEphemeral(t *testing.T) {
	g := gatewaytest.Start(t, func(c *gateway.Config) { c.Rooms.Ephemeral = []string{"game-*"} })
	ctx := within(t)
	for name, url := range map[string]string{"WebSocket": g.URL(), "raw TCP": "tcp://" + g.Addr()} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, client.Config{URL: url, Name: "alice"})
			room, err := c.Join(ctx, "game-"+name, client.JoinOptions{})
			if err != nil || !room.Ephemeral() {
				t.Fatalf("joined %v, %v", room, err)
			}
			for i := range 60 {
				if err := c.SendEphemeral(client.Publication{Room: room.Room(), Key: "cursor", Text: fmt.Sprint(i)}); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.PublishEphemeral(ctx, client.Publication{Room: room.Room(), Key: "cursor", Text: "last"}); err != nil {
				t.Fatal(err)
			}
			// Newer ones take the place of older ones while they wait for the socket, so not all
			// need come; the last always does.
			last := -1
			for m, err := range room.Messages(ctx) {
				if err != nil || !m.Ephemeral || m.Key != "cursor" || m.Seq != 0 {
					t.Fatalf("got %+v, %v", m, err)
				}
				if m.Text == "last" {
					break
				}
				n, err := strconv.Atoi(m.Text)
				if err != nil || n <= last {
					t.Fatalf("%q came after %d", m.Text, last)
				}
				last = n
			}
			page, err := c.History(ctx, room.Room(), client.HistoryQuery{})
			if err != nil || len(page.Messages) != 0 {
				t.Errorf("history: %+v, %v", page, err)
			}
		})
	}
}

func TestGatewayPresence(t *testing.T) {
	g := gatewaytest.Start(t, func(c *gateway.Config) {
		c.Rooms.Presence = []string{"seen-*"}
		c.Rooms.PresenceGrace = 100 * time.Millisecond
	})
	ctx := within(t)
	for name, url := range map[string]string{"WebSocket": g.URL(), "raw TCP": "tcp://" + g.Addr()} {
		t.Run(name, func(t *testing.T) {
			room := "seen-" + name
			alice, bob := connect(t, client.Config{URL: url, Name: "alice"}), connect(t, client.Config{URL: url, Name: "bob"})
			bob.SetAway(true)
			atAlice, err := alice.Join(ctx, room, client.JoinOptions{})
			if err != nil {
				t.Fatal(err)
			}
			// Each state is reached by what is done when the one before is seen.
			var atBob *client.Subscription
			steps := []struct {
				want client.Presence
				then func()
			}{
				{client.Presence{Count: 1, Users: []client.UserPresence{{User: "alice", State: client.Online}}}, func() {
					if atBob, err = bob.Join(ctx, room, client.JoinOptions{}); err != nil {
						t.Fatal(err)
					}
				}},
				{client.Presence{Count: 2, Users: []client.UserPresence{{User: "alice", State: client.Online}, {User: "bob", State: client.Away}}},
					func() { bob.SetAway(false) }},
				{client.Presence{Count: 2, Users: []client.UserPresence{{User: "alice", State: client.Online}, {User: "bob", State: client.Online}}}, func() {
					atBob.Typing()
					for typists, err := range atAlice.TypingUpdates(ctx) {
						if err != nil || len(typists.Users) != 1 || typists.Users[0] != "bob" {
							t.Errorf("typing are %+v, %v", typists, err)
						}
						break
					}
					if _, err := bob.Publish(ctx, room, "done"); err != nil {
						t.Fatal(err)
					}
					for typists, err := range atAlice.TypingUpdates(ctx) {
						if err != nil || len(typists.Users) != 0 {
							t.Errorf("after the message typing are %+v, %v", typists, err)
						}
						break
					}
					atBob.Leave()
				}},
				{client.Presence{Count: 1, Users: []client.UserPresence{{User: "alice", State: client.Online}}}, func() {}},
			}
			step := 0
			for seen, err := range atAlice.PresenceUpdates(ctx) {
				if err != nil || !reflect.DeepEqual(seen, steps[step].want) {
					t.Fatalf("step %d: seen %+v, %v", step, seen, err)
				}
				steps[step].then()
				if step++; step == len(steps) {
					break
				}
			}
		})
	}
	c := connect(t, client.Config{URL: g.URL(), Name: "alice"})
	room, err := c.Join(ctx, "hidden", client.JoinOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var refused *client.RequestError
	for seen, err := range room.PresenceUpdates(ctx) {
		if !errors.As(err, &refused) || refused.Name != "bad_request" {
			t.Errorf("of a room without presence is told %+v, %v", seen, err)
		}
	}
	if refused == nil {
		t.Error("of a room without presence nothing is told, not even that")
	}
}

func TestGatewayReceipts(t *testing.T) {
	g := gatewaytest.Start(t, func(c *gateway.Config) { c.Rooms.Receipts = []string{"kept-*"} })
	ctx := within(t)
	for name, url := range map[string]string{"WebSocket": g.URL(), "raw TCP": "tcp://" + g.Addr()} {
		t.Run(name, func(t *testing.T) {
			alice := connect(t, client.Config{URL: url, Name: "alice"})
			room, err := alice.Join(ctx, "kept-"+name, client.JoinOptions{})
			if err != nil || !room.KeepsReceipts() {
				t.Fatalf("joined %v, %v", room, err)
			}
			for range 3 {
				if _, err := alice.Publish(ctx, room.Room(), "hello"); err != nil {
					t.Fatal(err)
				}
			}
			bob := connect(t, client.Config{URL: url, Name: "bob"})
			atBob, err := bob.Join(ctx, room.Room(), client.JoinOptions{})
			if err != nil {
				t.Fatal(err)
			}
			atBob.Mark(client.Standing{Delivered: 3, Read: 2})
			atBob.Mark(client.Standing{Read: 3})
			var told client.Receipt
			for changed, err := range room.ReceiptUpdates(ctx) {
				if err != nil {
					t.Fatal(err)
				}
				for _, receipt := range changed.Named {
					if receipt.Delivered < told.Delivered || receipt.Read < told.Read {
						t.Errorf("%+v came after %+v", receipt, told)
					}
					told = receipt
				}
				if told.Read == 3 {
					break
				}
			}
			if want := (client.Receipt{User: "bob", Standing: client.Standing{Delivered: 3, Read: 3}}); told != want {
				t.Errorf("told %+v; want %+v", told, want)
			}
			answer, err := room.Receipts(ctx)
			if err != nil || answer.Head != 3 || answer.Own.User != "alice" || answer.Own.Read != 0 || len(answer.Named) != 1 || answer.Named[0] != told {
				t.Errorf("receipts are %+v, %v", answer, err)
			}
		})
	}
	c := connect(t, client.Config{URL: g.URL(), Name: "alice"})
	room, err := c.Join(ctx, "lobby", client.JoinOptions{})
	if err != nil || room.KeepsReceipts() {
		t.Fatalf("joined %v, %v", room, err)
	}
	var refused *client.RequestError
	if _, err := room.Receipts(ctx); !errors.As(err, &refused) || refused.Name != "bad_request" {
		t.Errorf("asked where none are kept: %v", err)
	}
}

// cuts is a dialer whose connections die after some bytes.
type cuts struct {
	mu    sync.Mutex
	bytes int
	count int
}

func (d *cuts) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	d.bytes += 397 // so that cuts fall on other places of the stream each time
	return &shortLived{Conn: conn, left: d.bytes}, nil
}

type shortLived struct {
	net.Conn
	left int // to be read; touched by the reader only
}

func (c *shortLived) Read(p []byte) (int, error) {
	if c.left <= 0 {
		c.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

func TestGatewayLosesAndDoublesNothingOverLostConnections(t *testing.T) {
	for _, scheme := range []string{"ws", "tcp"} {
		t.Run(scheme, func(t *testing.T) {
			g := gatewaytest.Start(t)
			ctx := within(t)
			url := scheme + "://" + g.Addr()
			read, write := &cuts{}, &cuts{}
			quick := client.Config{URL: url, BackoffBase: time.Millisecond, BackoffCap: 5 * time.Millisecond}
			quick.Name, quick.Dial = "bob", read.dial
			room, err := connect(t, quick).Join(ctx, "lobby", client.JoinOptions{After: &client.Position{}})
			if err != nil {
				t.Fatal(err)
			}
			quick.Name, quick.Dial, quick.PublishWindow = "alice", write.dial, 1
			alice := connect(t, quick)
			const count = 500
			published := make(chan error, 1)
			go func() {
				for i := 1; i <= count; i++ {
					got, err := alice.Publish(ctx, "lobby", fmt.Sprint("m", i))
					if err == nil && got.Seq != uint64(i) {
						err = fmt.Errorf("publish %d was acknowledged as %d", i, got.Seq)
					}
					if err != nil {
						published <- err
						return
					}
				}
				published <- nil
			}()
			seq := uint64(0)
			for message, err := range room.Messages(ctx) {
				if err != nil {
					t.Fatal(err)
				}
				if seq++; message.Seq != seq || message.Text != fmt.Sprint("m", seq) {
					t.Fatalf("got %+v; want message %d", message, seq)
				}
				if seq == count {
					break
				}
			}
			if err := <-published; err != nil {
				t.Fatal(err)
			}
			if read.count < 3 || write.count < 3 {
				t.Errorf("%d and %d connections; want lost ones on both sides", read.count, write.count)
			}
		})
	}
}

func TestGatewaySlowApplicationLosesNothing(t *testing.T) {
	g := gatewaytest.Start(t)
	ctx := within(t)
	c := connect(t, client.Config{URL: g.URL(), Name: "alice", PublishWindow: 100})
	room, err := c.Join(ctx, "lobby", client.JoinOptions{Buffer: 8})
	if err != nil {
		t.Fatal(err)
	}
	const count = 400
	var last *client.Pending
	for i := range count {
		if last, err = c.Enqueue(ctx, client.Publication{Room: "lobby", Text: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := last.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	// Only now does the application begin to read, and it asks the server in between.
	seq := uint64(0)
	for message, err := range room.Messages(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if seq++; message.Seq != seq || message.Text != fmt.Sprint(seq-1) {
			t.Fatalf("got %+v; want message %d", message, seq)
		}
		if seq%100 == 0 {
			if _, err := c.History(ctx, "lobby", client.HistoryQuery{Limit: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if seq == count {
			break
		}
	}
}

func TestGatewayDrains(t *testing.T) {
	g := gatewaytest.Start(t)
	states := make(chan client.StateChange, 100)
	c := connect(t, client.Config{URL: g.URL(), Name: "alice", OnState: func(change client.StateChange) { states <- change }})
	if _, err := c.Publish(within(t), "lobby", "x"); err != nil {
		t.Fatal(err)
	}
	g.Stop()
	c.Close()
	for change := range states {
		if change.State == client.Closed {
			if change.Err != nil {
				t.Errorf("closed because of %v; want the application's own Close", change.Err)
			}
			break
		}
	}
	if !errors.Is(c.Err(), client.ErrClosed) {
		t.Errorf("Err() = %v; want ErrClosed", c.Err())
	}
}
