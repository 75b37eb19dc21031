package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/gateway/internal/webhook"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// appCall is a request that the application got.
type appCall struct {
	id   string
	Type string
	Data struct {
		User, Session, Address, Transport, Codec, Room, Key string
		Renewal                                             bool
		Claims                                              map[string]any
		Message                                             struct {
			Text, Kind string
			Mentions   []string
			Change     map[string]any
		}
		Action, Role, By, Reason string
		Until, At                int64
		Sessions                 []struct {
			User, Session string
			Code          int
		}
	}
}

// application is one that a gateway asks and tells. It checks what it gets as its docs say.
type application struct {
	*httptest.Server
	mu     sync.Mutex
	answer func(c *appCall) (status int, body string) // guarded by mu; called without it
	calls  chan appCall
}

const allowed = `{"allow":true}`

func newApplication(t *testing.T, answer func(c *appCall) (int, string)) *application {
	a := &application{answer: answer, calls: make(chan appCall, 10_000)}
	key, err := webhook.ParseSecret(hookSecret)
	if err != nil {
		t.Fatal(err)
	}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		call := appCall{id: r.Header.Get("Webhook-Id")}
		if err = errorsOf(err, json.Unmarshal(body, &call)); err != nil {
			t.Errorf("the application got %s, %v", body, err)
		}
		want := "v1," + webhook.Sign(key, call.id, r.Header.Get("Webhook-Timestamp"), body)
		if r.Header.Get("Webhook-Signature") != want || r.Header.Get("Rookery-Webhook-Version") != "1" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("the application got the headers %v", r.Header)
		}
		a.mu.Lock()
		answer := a.answer
		a.mu.Unlock()
		a.calls <- call
		status, text := answer(&call)
		if status == http.StatusFound {
			w.Header().Set("Location", text)
			text = ""
		}
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *application) answers(answer func(c *appCall) (int, string)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
}

// next waits for a request; how long it takes is not looked at.
func (a *application) next(t *testing.T) appCall {
	t.Helper()
	select {
	case call := <-a.calls:
		return call
	case <-time.After(time.Minute):
		t.Fatal("the application was not asked within a minute")
	}
	return appCall{}
}

// quiet fails if something waits that nobody expected.
func (a *application) quiet(t *testing.T) {
	t.Helper()
	select {
	case call := <-a.calls:
		t.Errorf("the application was asked too: %+v", call)
	default:
	}
}

func (a *application) options(events ...string) func(*gateway.Config) {
	return func(c *gateway.Config) {
		c.Webhooks.URL, c.Webhooks.Secret, c.Webhooks.Events = a.URL, hookSecret, events
		c.Webhooks.Timeout = 10 * time.Second
	}
}

func connectRequest(name string) *v1.ClientFrame {
	return &v1.ClientFrame{Op: &v1.ClientFrame_Connect{Connect: &v1.Connect{Name: name}}}
}

func joinFrame(room string) *v1.ClientFrame {
	return &v1.ClientFrame{Op: &v1.ClientFrame_Join{Join: &v1.Join{Room: room}}}
}

func (p *peer) say(pub *v1.Publish) uint64 {
	p.t.Helper()
	return p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: pub}})
}

func said(room, text string) *v1.Publish {
	return &v1.Publish{Room: room, Content: &v1.Publish_Text{Text: text}}
}

func edited(room string, target uint64, text string) *v1.Publish {
	p := said(room, text)
	p.Change = &v1.Change{Target: target, Op: &v1.Change_Edit{Edit: &v1.Edit{}}}
	return p
}

// TestWebhookConnect: the application lets in, refuses, and says what somebody may.
func TestWebhookConnect(t *testing.T) {
	t.Parallel()
	decide := func(c *appCall) (int, string) {
		switch c.Data.User {
		case "mallory":
			return 200, `{"allow":false,"reason":"You have not paid."}`
		case "guest":
			return 200, `{"allow":true,"claims":{"rooms":["hall"],"publish":[]}}`
		}
		return 200, allowed
	}
	app := newApplication(t, decide)
	srv := gatewaytest.Start(t, app.options("connect", "disconnect"))
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			app.answers(decide)
			p := open(t, srv.Addr(), w)
			p.request(connectRequest("mallory"))
			if e := p.mustFail(proto.ErrRefused); e.Message != "You have not paid." {
				t.Errorf("the reason is %q", e.Message)
			}
			p.mustClose(proto.CloseUnauthorized)
			call := app.next(t)
			transport, codec := "websocket", "binary"
			if w.stream {
				transport = "tcp"
			} else if w.codec == proto.JSON {
				codec = "json"
			}
			if d := call.Data; call.Type != "connect" || d.Session == "" || d.Address != "127.0.0.1" || d.Transport != transport || d.Codec != codec || d.Renewal {
				t.Errorf("the application was asked %+v", call)
			}

			// What comes behind the connect waits for the answer, whether in the same message or in another.
			p = open(t, srv.Addr(), w)
			both := proto.AppendClientFrame(nil, w.codec, withID(connectRequest("guest"), 1))
			both = proto.AppendClientFrame(both, w.codec, withID(joinFrame("hall"), 2))
			if err := p.sendBytes(both); err != nil {
				t.Fatal(err)
			}
			p.nextID = 2
			p.request(joinFrame("hr"))
			p.say(said("hall", "hi"))
			session := p.must().GetConnected().GetSession()
			answers := map[uint64]*v1.ServerFrame{}
			for range 3 {
				f := p.must()
				answers[f.Id] = f
			}
			if answers[2].GetJoined().GetRoom() != "hall" || answers[3].GetError().GetName() != "room_forbidden" ||
				answers[4].GetError().GetName() != "publish_forbidden" || session == "" {
				t.Errorf("what came behind the connect was answered with %v", answers)
			}
			if call := app.next(t); call.Data.Session != session {
				t.Errorf("asked about session %q, which is %q", call.Data.Session, session)
			}
			// A renewal is asked about too: else it would give back what the application took.
			p.request(connectRequest("guest"))
			if p.must().GetConnected() == nil || !app.next(t).Data.Renewal {
				t.Error("the renewal was not asked about")
			}
			p.join("hr", nil, "")
			p.mustFail(proto.ErrRoomForbidden)
			app.answers(func(*appCall) (int, string) { return 200, `{"allow":false}` })
			p.request(connectRequest("guest"))
			p.mustFail(proto.ErrRefused)
			p.mustClose(proto.CloseUnauthorized)
			app.next(t)
			ended := app.next(t)
			if ended.Type != "disconnect" || len(ended.Data.Sessions) != 1 || ended.Data.Sessions[0].Session != session || ended.Data.Sessions[0].Code != 4501 {
				t.Errorf("the application was told %+v", ended)
			}
			app.quiet(t)
		})
	}
}

func withID(f *v1.ClientFrame, id uint64) *v1.ClientFrame {
	f.Id = id
	return f
}

// gate is an answer that waits until it is opened.
type gate struct {
	once sync.Once
	open chan struct{}
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) lift() { g.once.Do(func() { close(g.open) }) }

// TestWebhookConnectEnds: connections that end, users that are banned and servers that stop while the application is asked.
func TestWebhookConnectEnds(t *testing.T) {
	t.Parallel()
	g := newGate()
	defer g.lift() // before the application is closed, which waits for its answers
	app := newApplication(t, func(*appCall) (int, string) {
		<-g.open
		return 200, allowed
	})
	srv := gatewaytest.Start(t, app.options("connect"), func(c *gateway.Config) {
		c.Limits.ConnectionsPerUser = 2
	}, withAPI)
	b := newBackend(t, srv)
	gone := open(t, srv.Addr(), wires[0])
	gone.request(connectRequest("ann"))
	app.next(t)
	gone.conn.Close()
	banned := open(t, srv.Addr(), wires[2])
	banned.request(connectRequest("ben"))
	app.next(t)
	if status, _, answer := b.send("PUT", "/v1/users/ben/ban", `{}`); status >= 300 {
		t.Fatalf("the ban was answered with %d %s", status, answer)
	}
	// The banned one is closed at once or when the answer comes; either way there is no session.
	stays := open(t, srv.Addr(), wires[1])
	stays.request(connectRequest("ann"))
	app.next(t)
	flood := open(t, srv.Addr(), wires[0])
	flood.request(connectRequest("flood"))
	app.next(t)
	for range 6 {
		if flood.send(&v1.ClientFrame{Id: 9, Op: &v1.ClientFrame_Publish{Publish: said("lobby", strings.Repeat("x", 40<<10))}}) != nil {
			break
		}
	}
	flood.mustClose(proto.CloseOverloaded)
	g.lift()
	banned.mustClose(proto.CloseBanned)
	if stays.must().GetConnected() == nil {
		t.Error("the connection that stays was not let in")
	}
	// The place of the connection that has gone is free again.
	second := login(t, srv.Addr(), wires[0], "ann")
	app.next(t)
	second.conn.Close()

	// A server that stops does not wait for an answer.
	closed := newGate()
	defer closed.lift() // before the application is closed, which waits for its answers
	app.answers(func(*appCall) (int, string) {
		<-closed.open
		return 200, allowed
	})
	last := open(t, srv.Addr(), wires[0])
	last.request(connectRequest("cleo"))
	app.next(t)
	go srv.Stop()
	last.mustFail(proto.ErrDraining)
	last.mustClose(proto.CloseDraining)
	closed.lift()
	srv.Stop()
}

// TestWebhookConnectRevoked: a token that is revoked while the application is asked begins no session.
func TestWebhookConnectRevoked(t *testing.T) {
	t.Parallel()
	g := newGate()
	defer g.lift() // before the application is closed, which waits for its answers
	app := newApplication(t, func(*appCall) (int, string) {
		<-g.open
		return 200, allowed
	})
	srv := gatewaytest.Start(t, production, app.options("connect"))
	p := open(t, srv.Addr(), wires[0])
	connect(p, tokenOf(t, "alice", "phone", time.Now().Add(-time.Minute)), "")
	app.next(t)
	if code, answer := askAdmin(t, srv, "POST", "/revocations", `{"token":"phone"}`); code != 200 {
		t.Fatalf("the revocation was answered with %d %s", code, answer)
	}
	p.mustClose(proto.CloseTokenRevoked)
}
