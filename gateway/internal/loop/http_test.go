package loop

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// TestKeptConnectionsAreRefusedDuringTheDrain: a proxy keeps connections, and must not bring
// new sessions over those that it has from before.
func TestKeptConnectionsAreRefusedDuringTheDrain(t *testing.T) {
	const upgrade = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	for _, request := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", upgrade} {
		r := newRig(t, nil)
		s := &fakeSocket{room: 1 << 20, loop: r.events}
		if r.loop.accept(s) != gnet.None {
			t.Fatal("the connection was not accepted")
		}
		exchange := func(request string) string {
			s.in, s.out = []byte(request), nil
			r.loop.traffic(s.context.(*conn))
			return string(s.out)
		}
		if got := exchange("GET / HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 404 ") {
			t.Fatalf("before the drain: %q", got)
		}
		r.loop.engine.draining.Store(true)
		if got := exchange(request); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, "Retry-After: ") {
			t.Errorf("during the drain %.20q was answered with %q", request, got)
		}
	}
}

// site keeps what it is asked, or takes nothing if it is full.
type site struct {
	asked []*http.Request
	to    handoff.Handle
	full  bool
}

func (s *site) Serves(path string) bool { return path == "/ask" }

func (s *site) Ask(to handoff.Handle, r *http.Request) bool {
	if !s.full {
		s.to, s.asked = to, append(s.asked, r)
	}
	return !s.full
}

// TestSomebodyElseAnswers: a request is passed on whole, the loop goes on meanwhile, and the answer is the last on its connection.
func TestSomebodyElseAnswers(t *testing.T) {
	const request = "POST /ask?q=1 HTTP/1.1\r\nHost: chat.example\r\nCookie: a=b\r\nContent-Length: 0\r\n\r\n"
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
	begin := func() (*rig, *site, *fakeSocket) {
		t.Helper()
		others := &site{}
		r := newRig(t, func(c *Config) { c.Site = others })
		s := &fakeSocket{room: 1 << 20, loop: r.events}
		if r.loop.accept(s) != gnet.None {
			t.Fatal("the connection was not accepted")
		}
		return r, others, s
	}
	ask := func(r *rig, s *fakeSocket, text string) {
		s.in = append(s.in, text...)
		r.loop.traffic(s.context.(*conn))
	}

	r, others, s := begin()
	ask(r, s, request+"GET /ask HTTP/1.1\r\nHost: x\r\n\r\n")
	if len(others.asked) != 1 || len(s.out) != 0 || len(s.in) != 0 {
		t.Fatalf("%d requests were passed on, %q was answered", len(others.asked), s.out)
	}
	if got := others.asked[0]; got.Method != "POST" || got.Host != "chat.example" || got.URL.RawQuery != "q=1" || got.Header.Get("Cookie") != "a=b" {
		t.Errorf("passed on: %+v", got)
	}
	ask(r, s, "more that nobody reads")
	r.put(handoff.Event{Kind: handoff.Responded, To: others.to, Frames: []byte(answer), Size: len(answer)})
	r.put(handoff.Event{Kind: handoff.Responded, To: others.to, Frames: []byte(answer), Size: len(answer)})
	r.work()
	if string(s.out) != answer {
		t.Errorf("answered %q", s.out)
	}
	if r.loop.inbox.Held() != 0 {
		t.Error("the answer still counts as waiting")
	}
	if c := s.context.(*conn); c.phase != closing {
		t.Error("the connection goes on")
	}

	r, others, s = begin()
	others.full = true
	if ask(r, s, request); !strings.HasPrefix(string(s.out), "HTTP/1.1 503 ") {
		t.Errorf("as many wait as may: answered %q", s.out)
	}

	r, others, s = begin()
	ask(r, s, request)
	_ = r.events.Close(s)
	r.put(handoff.Event{Kind: handoff.Responded, To: others.to, Frames: []byte(answer)})
	if r.work(); len(s.out) != 0 {
		t.Errorf("who has left was answered %q", s.out)
	}

	r, _, s = begin()
	ask(r, s, request)
	r.loop.shut()
	if !s.closed {
		t.Error("the end of the server waits for an answer")
	}

	r, _, s = begin()
	ask(r, s, request)
	r.wait(answerTimeout + tick)
	if !s.closed {
		t.Error("who waits for an answer waits for ever")
	}
}

// TestASlowReaderOfTheLastAnswer gets all of it, however long it takes, and no connection is held for one that takes nothing.
func TestASlowReaderOfTheLastAnswer(t *testing.T) {
	page := strings.Repeat("page ", 20_000)
	begin := func(room int) (*rig, *fakeSocket, func(time.Duration)) {
		r := newRig(t, func(c *Config) {
			c.StallTimeout = 10 * time.Second
			c.Page = func(string) (File, bool) { return File{Body: []byte(page), Type: "text/plain"}, true }
		})
		socket, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0) // to end
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(socket[0]), "socket")
		t.Cleanup(func() {
			file.Close()
			unix.Close(socket[1])
		})
		s := &fakeSocket{room: room, loop: r.events, file: file}
		if r.loop.accept(s) != gnet.None {
			t.Fatal("the connection was not accepted")
		}
		r.say(s, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		return r, s, func(d time.Duration) {
			for range d / time.Second {
				r.loop.engine.started = r.loop.engine.started.Add(-time.Second)
				r.loop.tick()
				r.loop.flush()
			}
		}
	}

	r, s, pass := begin(10_000)
	for range 9 {
		pass(5 * time.Second)
		if s.closed {
			t.Fatalf("it was closed with %d of %d bytes", len(s.out), len(page))
		}
		s.room = 10_000
		r.loop.writable(s.context.(*conn))
	}
	if pass(closeTimeout); s.closed {
		t.Error("it was closed before the last bytes had left")
	}
	s.room = 10_000
	r.loop.writable(s.context.(*conn))
	if !strings.HasSuffix(string(s.out), "\r\n\r\n"+page) {
		t.Errorf("it was sent %d bytes and not the page, of %d", len(s.out), len(page))
	}
	if s.closed {
		t.Error("its end is not waited for")
	}
	if pass(2 * closeTimeout); !s.closed {
		t.Error("its end is waited for without a limit")
	}

	_, s, pass = begin(10_000)
	if pass(12 * time.Second); !s.closed || s.context.(*conn).closed != proto.CloseStalled.Code {
		t.Errorf("one that takes nothing: closed %v with code %d", s.closed, s.context.(*conn).closed)
	}
}
