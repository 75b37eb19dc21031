package gateway_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// moderate is an application that refuses "bad", and changes "damn".
func moderate(c *appCall) (int, string) {
	switch m := c.Data.Message; {
	case m.Text == "bad" || strings.Contains(fmt.Sprint(m.Change), "bad"):
		return 200, `{"allow":false,"reason":"Mind your words."}`
	case m.Text == "damn":
		return 200, `{"allow":true,"message":{"text":"d***","kind":"softened","mentions":["mod"]}}`
	case strings.HasPrefix(m.Text, "fix "):
		return 200, `{"allow":true,"message":{"text":"fixed"}}`
	}
	return 200, allowed
}

// TestWebhookPublish: what the application says of messages, edits and reactions holds, on every wire.
func TestWebhookPublish(t *testing.T) {
	t.Parallel()
	app := newApplication(t, moderate)
	srv := gatewaytest.Start(t, app.options("publish"), withAPI, func(c *gateway.Config) {
		c.Webhooks.Rooms = []string{"asked-*"}
	})
	for i, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			room := fmt.Sprint("asked-", i)
			p, reader := login(t, srv.Addr(), w, "ann"), login(t, srv.Addr(), w, "ben")
			reader.enter(room)
			p.enter("free")
			if p.answer(p.say(said("free", "bad"))).GetPublished() == nil {
				t.Error("in a room without a match nothing was published")
			}
			app.quiet(t)
			reply := func(pub *v1.Publish) *v1.ServerFrame { return p.answer(p.say(pub)) }
			refused := func(pub *v1.Publish) {
				t.Helper()
				if e := reply(pub).GetError(); e.GetName() != "refused" || e.Code != 403 || e.Retry || e.Message != "Mind your words." {
					t.Errorf("%v was answered with %v", pub, e)
				}
			}
			refused(said(room, "bad"))
			if call := app.next(t); call.Data.Room != room || call.Data.User != "ann" || call.Data.Session == "" || call.Data.Message.Text != "bad" {
				t.Errorf("the application was asked %+v", call)
			}
			damn := said(room, "damn")
			damn.Mentions, damn.ReplyTo = []string{"ben"}, 0
			reply(damn)
			got := reader.must().GetMessage()
			if got.GetText() != "d***" || got.Kind != "softened" || !slices.Equal(got.Mentions, []string{"mod"}) || got.Seq != 1 {
				t.Errorf("published %v", got)
			}
			refused(edited(room, 1, "bad"))
			reply(edited(room, 1, "fix it"))
			if got := reader.must().GetMessage(); got.GetText() != "fixed" || got.GetChange().GetTarget() != 1 {
				t.Errorf("the edit was published as %v", got)
			}
			react := func(reaction string, remove bool) *v1.Publish {
				return &v1.Publish{Room: room, Change: &v1.Change{Target: 1, Op: &v1.Change_React{React: &v1.React{Reaction: reaction, Remove: remove}}}}
			}
			refused(react("bad", false))
			if reply(react("+1", false)).GetPublished() == nil || reader.must().GetMessage() == nil {
				t.Error("the reaction was not made")
			}
			for range 5 {
				app.next(t)
			}
			// What brings no content is not asked about, and neither is what the server itself publishes.
			reply(react("+1", true))
			newBackend(t, srv).do("POST", "/v1/rooms/"+room+"/messages", `{"user":"bot","text":"bad"}`)
			app.quiet(t)
			// Ephemeral messages would be a way around.
			bad := said(room, "bad")
			bad.Ephemeral = true
			refused(bad)
			bad.Content = &v1.Publish_Text{Text: "damn"}
			reply(bad)
			got = reader.until(func(f *v1.ServerFrame) bool { return f.GetMessage().GetEphemeral() }).GetMessage()
			if got.GetText() != "d***" {
				t.Errorf("passed on %v", got)
			}
			app.next(t)
			app.next(t)
		})
	}
}

// TestWebhookOrder: publishers have many messages under way and the application answers when it likes: each one's order stays.
func TestWebhookOrder(t *testing.T) {
	t.Parallel()
	const publishers, messages = 4, 40
	app := newApplication(t, func(*appCall) (int, string) {
		for range rand.IntN(1000) { // others overtake
			runtime.Gosched()
		}
		return 200, allowed
	})
	srv := gatewaytest.Start(t, app.options("publish"))
	reader := login(t, srv.Addr(), wires[0], "reader")
	reader.enter("lobby")
	for i := range publishers {
		p := login(t, srv.Addr(), wires[i%len(wires)], fmt.Sprint("user", i))
		for n := range messages {
			p.publish("lobby", fmt.Sprint(n), fmt.Sprint(n))
		}
	}
	next := map[string]int{}
	for range publishers * messages {
		m := reader.must().GetMessage()
		if m.GetText() != fmt.Sprint(next[m.From]) {
			t.Fatalf("%s said %q, want %d", m.From, m.GetText(), next[m.From])
		}
		next[m.From]++
	}
}

// TestWebhookRepeated: a publish with a retry key is asked about once, whenever it is repeated, and has one outcome.
func TestWebhookRepeated(t *testing.T) {
	t.Parallel()
	g := newGate()
	defer g.lift() // before the application is closed, which waits for its answers
	app := newApplication(t, func(*appCall) (int, string) {
		<-g.open
		return 200, `{"allow":true,"message":{"text":"changed"}}`
	})
	srv := gatewaytest.Start(t, app.options("publish"))
	p := login(t, srv.Addr(), wires[0], "ann")
	first := p.publish("lobby", "k", "hi")
	app.next(t)
	second := p.publish("lobby", "k", "hi")
	other := login(t, srv.Addr(), wires[2], "ann") // after a reconnect
	third := other.publish("lobby", "k", "hi")
	p.answer(p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}}))
	g.lift()
	seqs := []uint64{p.answer(first).GetPublished().GetSeq(), p.answer(second).GetPublished().GetSeq(), other.answer(third).GetPublished().GetSeq()}
	// The application has changed its mind; what was published was published.
	app.answers(func(*appCall) (int, string) { return 200, `{"allow":false}` })
	seqs = append(seqs, p.answer(p.publish("lobby", "k", "hi")).GetPublished().GetSeq())
	if !slices.Equal(seqs, []uint64{1, 1, 1, 1}) {
		t.Errorf("the publish and its repetitions got the numbers %v", seqs)
	}
	app.quiet(t)
	// Edits go another way.
	edit := edited("lobby", 1, "better")
	edit.Key = "e"
	if e := p.answer(p.say(edit)).GetError(); e.GetName() != "refused" {
		t.Errorf("the edit was answered with %v", e)
	}
	app.answers(func(*appCall) (int, string) { return 200, allowed })
	if got := p.answer(p.say(edit)).GetPublished().GetSeq(); got != 2 {
		t.Errorf("the edit got the number %d", got)
	}
	app.answers(func(*appCall) (int, string) { return 200, `{"allow":false}` })
	if got := p.answer(p.say(edit)).GetPublished().GetSeq(); got != 2 {
		t.Errorf("the repeated edit got the number %d", got)
	}
	app.next(t)
	app.next(t)
	app.quiet(t)
}

// TestWebhookRemovedMeanwhile: whoever is removed, muted or banned while the application is asked does not publish.
func TestWebhookRemovedMeanwhile(t *testing.T) {
	t.Parallel()
	for action, want := range map[string]proto.ErrorCode{"kick": proto.ErrNotMember, "mute": proto.ErrMuted, "ban": proto.ErrNotMember} {
		t.Run(action, func(t *testing.T) {
			g := newGate()
			defer g.lift() // before the application is closed, which waits for its answers
			app := newApplication(t, func(*appCall) (int, string) {
				<-g.open
				return 200, allowed
			})
			srv := gatewaytest.Start(t, app.options("publish"))
			ann, ben := login(t, srv.Addr(), wires[0], "ann"), login(t, srv.Addr(), wires[1], "ben")
			ann.create(&v1.Create{Room: "group:a"})
			ann.change("group:a", "invite", "ben")
			ben.answer(ben.join("group:a", nil, ""))
			id := ben.publish("group:a", "", "hi")
			app.next(t)
			ann.change("group:a", action, "ben")
			g.lift()
			if e := ben.answer(id).GetError(); e.GetName() != want.Name {
				t.Errorf("after a %s the publish was answered with %v", action, e)
			}
		})
	}
}

// TestWebhookUnanswered: broken applications, and what becomes of publishes and connects.
func TestWebhookUnanswered(t *testing.T) {
	t.Parallel()
	var strayed atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		strayed.Add(1)
		fmt.Fprint(w, allowed)
	}))
	defer elsewhere.Close()
	broken := map[string]func(*appCall) (int, string){
		"status":      func(*appCall) (int, string) { return 500, allowed },
		"redirection": func(*appCall) (int, string) { return http.StatusFound, elsewhere.URL },
		"no JSON":     func(*appCall) (int, string) { return 200, "secret words" },
		"nothing":     func(*appCall) (int, string) { return 200, "" },
		"no word":     func(*appCall) (int, string) { return 200, "{}" },
		"long": func(*appCall) (int, string) {
			return 200, `{"allow":true,"reason":"` + strings.Repeat("x", 1<<20) + `"}`
		},
		"bad message": func(*appCall) (int, string) { return 200, `{"allow":true,"message":{"kind":"two words"}}` },
		"long message": func(*appCall) (int, string) {
			return 200, `{"allow":true,"message":{"text":"` + strings.Repeat("x", 70<<10) + `"}}`
		},
	}
	for name, answer := range broken {
		t.Run(name, func(t *testing.T) {
			app := newApplication(t, answer)
			srv := gatewaytest.Start(t, app.options("publish"))
			p := login(t, srv.Addr(), wires[0], "ann")
			id := p.publish("lobby", "k", "secret words")
			if e := p.answer(id).GetError(); e.GetName() != "overloaded" || !e.Retry || e.GetRetryAfterMs() == 0 {
				t.Errorf("answered with %v", e)
			}
			said := "a webhook was not answered"
			if name == "long" || strings.HasSuffix(name, " message") {
				said = "the application has answered a webhook with what can't be used"
			}
			if !srv.Logged(said) || srv.Logged("secret words") {
				t.Error("the log does not say why, or what was said")
			}
			app.answers(func(*appCall) (int, string) { return 200, allowed })
			if p.answer(p.publish("lobby", "k", "secret words")).GetPublished() == nil {
				t.Error("the repetition was not published")
			}
		})
	}
	if strayed.Load() != 0 {
		t.Error("a redirection was followed")
	}

	t.Run("down", func(t *testing.T) {
		app := newApplication(t, broken["status"])
		srv := gatewaytest.Start(t, app.options("publish"))
		p := login(t, srv.Addr(), wires[0], "ann")
		for range 20 {
			if e := p.answer(p.publish("lobby", "", "hi")).GetError(); e.GetName() != "overloaded" {
				t.Fatalf("answered with %v", e)
			}
		}
		if n := len(app.calls); n >= 20 || !srv.Logged("the application does not answer its webhook") {
			t.Errorf("the application was asked %d times", n)
		}
		app.answers(func(*appCall) (int, string) { return 200, allowed })
		for p.answer(p.publish("lobby", "", "hi")).GetPublished() == nil {
		}
		if !srv.Logged("the application answers its webhook again") {
			t.Error("the log does not say that the application answers again")
		}
	})

	t.Run("allowed", func(t *testing.T) {
		g := newGate()
		defer g.lift() // before the application is closed, which waits for its answers
		app := newApplication(t, func(*appCall) (int, string) {
			<-g.open
			return 200, `{"allow":false}`
		})
		srv := gatewaytest.Start(t, app.options("publish", "connect"), func(c *gateway.Config) {
			c.Webhooks.OnFailure, c.Webhooks.Timeout = gateway.FailureAllows, 100*time.Millisecond
		})
		p := login(t, srv.Addr(), wires[1], "ann")
		if p.answer(p.publish("lobby", "", "hi")).GetPublished() == nil {
			t.Error("what was not answered was not published")
		}
		g.lift()
		srv.Stop()
	})
	t.Run("connect", func(t *testing.T) {
		app := newApplication(t, broken["status"])
		srv := gatewaytest.Start(t, app.options("connect"))
		for _, w := range wires {
			p := open(t, srv.Addr(), w)
			p.request(connectRequest("ann"))
			if e := p.mustFail(proto.ErrOverloaded); e.GetRetryAfterMs() == 0 {
				t.Errorf("answered with %v", e)
			}
			p.mustClose(proto.CloseOverloaded)
		}
	})
}
