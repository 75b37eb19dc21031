package loop

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/rate"
	"rookery/proto"
)

// dial makes a connection and sends first.
func (r *rig) dial(first string) *fakeSocket {
	s := &fakeSocket{room: 1 << 30, loop: r.events}
	if r.loop.accept(s) != gnet.None {
		r.t.Fatal("the connection was not accepted")
	}
	r.say(s, first)
	return s
}

func (r *rig) say(s *fakeSocket, text string) {
	s.in = append(s.in, text...)
	r.loop.traffic(s.context.(*conn))
}

// heard takes what a peer has received.
func heard(s *fakeSocket) string {
	text := string(s.out)
	s.out = nil
	return text
}

// stream opens a stream of events for ann, and gives the request that posts a body to it.
func (r *rig) stream() (s *fakeSocket, post func(body string) string) {
	r.t.Helper()
	r.loop.inbox.Listen(func() { r.rung = true })
	s = r.dial("GET /events?name=ann HTTP/1.1\r\nHost: x\r\n\r\n")
	_, name, found := strings.Cut(heard(s), "event: session\ndata: ")
	if !found {
		r.t.Fatal("no session was named")
	}
	name, _, _ = strings.Cut(name, "\n")
	return s, func(body string) string {
		return fmt.Sprintf("POST /events/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", name, len(body), body)
	}
}

func statuses(t *testing.T, s *fakeSocket) (list []string) {
	t.Helper()
	for rest := heard(s); rest != ""; {
		var head string
		head, rest, _ = strings.Cut(rest, "\r\n\r\n")
		list = append(list, strings.TrimPrefix(strings.Split(head, "\r\n")[0], "HTTP/1.1 "))
		if !strings.HasPrefix(rest, "HTTP/1.1") {
			_, rest, _ = strings.Cut(rest, "\n") // the body is a sentence
		}
	}
	return list
}

func mustBe(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

const ping = `{"id":7,"ping":{}}`

// TestPostsAreAnsweredWhenTaken: and until then the next on the same connection waits.
func TestPostsAreAnsweredWhenTaken(t *testing.T) {
	r := newRig(t, nil)
	stream, post := r.stream()
	poster := r.dial(post(ping) + post(strings.Replace(ping, "7", "8", 1)))
	mustBe(t, "before the stream's loop has it", statuses(t, poster), "[]")
	mustBe(t, "on the stream", heard(stream), "")
	r.work()
	mustBe(t, "then", statuses(t, poster), "[204 No Content 204 No Content]")
	mustBe(t, "on the stream", heard(stream), "data: {\"id\":7,\"pong\":{}}\n\ndata: {\"id\":8,\"pong\":{}}\n\n")
	if held := r.loop.inbox.Held(); held != 0 || len(r.loop.posts) != 0 {
		t.Errorf("%d bytes and %d POSTs are held", held, len(r.loop.posts))
	}
	r.say(poster, post("\xff"))
	r.work()
	if text := heard(stream); !strings.HasPrefix(text, `data: {"close":{"code":1007`) {
		t.Errorf("bytes that are no text: %q", text)
	}
	r.say(poster, post(ping))
	r.work()
	mustBe(t, "when the session has ended", statuses(t, poster), "[204 No Content 404 Not Found]")
	r.loop.abort(stream.context.(*conn))
	if len(r.loop.streams) != 0 {
		t.Errorf("%d streams are left", len(r.loop.streams))
	}
}

// TestPostsThatThereIsNoRoomFor: a full mailbox takes none, and a connection holds one more than is on its way.
func TestPostsThatThereIsNoRoomFor(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Inboxes = []*handoff.Mailbox[handoff.Event]{handoff.NewMailbox[handoff.Event](1000)}
	})
	stream, post := r.stream()
	r.put(handoff.Event{Kind: handoff.Ignore, Size: 1000})
	poster := r.dial(post(ping))
	if text := heard(poster); !strings.HasPrefix(text, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n") {
		t.Errorf("a full mailbox: %q", text)
	}
	r.work()
	r.say(poster, post(ping))
	r.say(poster, post(strings.Repeat(" ", 64<<10))) // waits
	if poster.closed {
		t.Fatal("closed for one request behind another")
	}
	r.say(poster, post(strings.Repeat(" ", 10<<10)))
	if !poster.closed {
		t.Error("what comes behind a POST has no bound")
	}
	r.work() // its answer finds nobody
	mustBe(t, "on the stream", heard(stream), "data: {\"id\":7,\"pong\":{}}\n\n")
	if len(r.loop.posts) != 0 {
		t.Errorf("%d POSTs are held", len(r.loop.posts))
	}
}

// asksAlways is an application that has not answered yet.
type asksAlways struct{}

func (asksAlways) Connect(handoff.Connect) *handoff.Refusal { return nil }
func (asksAlways) Ended(handoff.Ended)                      {}

// TestPostsBehindAConnectThatIsAskedAbout: they wait, up to a bound, and are carried out in their order.
func TestPostsBehindAConnectThatIsAskedAbout(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Application = asksAlways{} })
	stream, post := r.stream()
	poster := r.dial(post(ping))
	r.work()
	long := strings.Replace(ping, "7", "8", 1) + strings.Repeat(" ", 60<<10)
	for range 3 {
		r.say(poster, post(long))
		r.work()
	}
	mustBe(t, "POSTs", statuses(t, poster), "[204 No Content 204 No Content 204 No Content 429 Too Many Requests]")
	mustBe(t, "on the stream", heard(stream), "")
	r.put(handoff.Event{Kind: handoff.Granted, To: stream.context.(*conn).handle, ID: ofServer})
	r.work()
	_, rest, _ := strings.Cut(heard(stream), "\n\n")
	mustBe(t, "behind connected", rest, "data: {\"id\":7,\"pong\":{}}\n\ndata: {\"id\":8,\"pong\":{}}\n\ndata: {\"id\":8,\"pong\":{}}\n\n")
}

// TestAStreamThatEndsWritesNothingOfOthers: a tick goes through the connections that have a time limit, and a write may give another one.
func TestAStreamThatEndsWritesNothingOfOthers(t *testing.T) {
	r := newRig(t, func(c *Config) { c.HandshakeTimeout = 500 * time.Millisecond })
	full := r.open(true, proto.Binary)
	full.room = 0
	stream := r.dial("GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
	heard(stream)
	r.loop.write(full.context.(*conn), []byte("what the same turn has for another"))
	r.loop.engine.started = r.loop.engine.started.Add(-time.Second)
	r.loop.tick()
	r.loop.flush()
	if text := heard(stream); !strings.HasPrefix(text, `data: {"close":{"code":4004`) {
		t.Fatalf("a stream that says nothing was told %q", text)
	}
	if c := full.context.(*conn); !c.backed || !slices.Contains(r.loop.urgent, c.handle) {
		t.Errorf("whose socket is full: %v, and its time is looked at: %v", c.backed, slices.Contains(r.loop.urgent, c.handle))
	}
}

func TestBytesOfPostsAreCountedOnce(t *testing.T) {
	r := newRig(t, nil)
	_, post := r.stream()
	before := r.loop.counted.BytesIn.Load()
	r.dial(post(ping))
	r.work()
	mustBe(t, "bytes", r.loop.counted.BytesIn.Load()-before, len(post(ping)))
}

// TestPostsWhileDraining: a session that is there goes on over connections that come meanwhile, within the caps; nothing else does.
func TestPostsWhileDraining(t *testing.T) {
	r := newRig(t, nil)
	stream, post := r.stream()
	r.loop.engine.SetRules(Rules{Auth: anyone{}, ConnectionsPerIP: 1}) // the stream was there before
	r.loop.engine.draining.Store(true)
	poster := r.dial(post(ping))
	r.work()
	if text := heard(poster); !strings.HasPrefix(text, "HTTP/1.1 204 No Content\r\nConnection: close\r\n") {
		t.Errorf("a POST: %q", text)
	}
	mustBe(t, "on the stream", heard(stream), "data: {\"id\":7,\"pong\":{}}\n\n")
	mustBe(t, "over a second connection of the address", statuses(t, r.dial(post(ping))), "[503 Service Unavailable]")
	r.loop.abort(poster.context.(*conn))
	r.loop.engine.SetCapacity(1)
	full := r.dial(post(ping))
	mustBe(t, "over a connection more than there may be", statuses(t, full), "[503 Service Unavailable]")
	r.loop.engine.SetCapacity(10)
	mustBe(t, "to a stream of another process", statuses(t, r.dial("POST /events/x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")), "[404 Not Found]")
	for _, target := range []string{"/events?name=bob", "/events", "/ws", "/"} {
		mustBe(t, target, statuses(t, r.dial("GET "+target+" HTTP/1.1\r\nHost: x\r\n\r\n")), "[503 Service Unavailable]")
	}
	for i := range r.loop.slots {
		if c := r.loop.slots[i].conn; c != nil {
			r.loop.abort(c)
		}
	}
	engine := r.loop.engine
	mustBe(t, "connections that are counted", fmt.Sprint(engine.admitted.Load(), engine.refused.Load(), len(engine.admission.addresses)), "0 0 0")
	refused := &r.loop.counted.Refused
	mustBe(t, "refused", fmt.Sprint(refused[refusedAddress].Load(), refused[refusedFull].Load(), refused[refusedDraining].Load()), "1 1 4")
}

// TestAWaveOfPostsWhileDraining: many connections at once that have not said yet what they bring are no flood while there is room for them, and
// each is answered, those too that are over the rate of their address.
func TestAWaveOfPostsWhileDraining(t *testing.T) {
	const wave, within = 3 * RefusalReserve, 2*RefusalReserve + 5
	// The clock of the test stands still: no token comes meanwhile.
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		_, post := r.stream()
		engine := r.loop.engine
		rules := Rules{Auth: anyone{}}
		rules.Rates.Of[rate.Address][rate.Open] = rate.PerSecond(1, within)
		engine.SetRules(rules)
		engine.draining.Store(true)
		var posters []*fakeSocket
		for range wave {
			posters = append(posters, r.dial(""))
		}
		answers := map[string]int{}
		for _, s := range posters {
			r.say(s, post(ping))
			r.work()
			text := heard(s)
			answers[strings.SplitN(text, "\r\n", 2)[0]]++
			if s.closed {
				t.Fatalf("a connection was closed with the answer %q, before its peer had it", text)
			}
			if strings.HasPrefix(text, "HTTP/1.1 503") && !strings.Contains(text, "Retry-After: 1\r\n") {
				t.Fatalf("over the rate: %q", text)
			}
		}
		mustBe(t, "answers", answers, fmt.Sprintf("map[HTTP/1.1 204 No Content:%d HTTP/1.1 503 Service Unavailable:%d]", within, wave-within))
		mustBe(t, "places", fmt.Sprint(engine.admitted.Load(), engine.refused.Load()), fmt.Sprint(wave+1, 0))
		for _, s := range posters {
			r.loop.abort(s.context.(*conn))
		}
		mustBe(t, "places afterwards", fmt.Sprint(engine.admitted.Load(), engine.refused.Load()), "1 0")

		// Where there is no room, those that are refused have their places and no more.
		engine.SetCapacity(1)
		for range RefusalReserve {
			r.dial("")
		}
		if s := (&fakeSocket{room: 1 << 30, loop: r.events}); r.loop.accept(s) != gnet.Close {
			t.Error("a flood has no bound")
		}
	})
}

// TestAFaultWithAPost ends its connection, and not the process.
func TestAFaultWithAPost(t *testing.T) {
	r := newRig(t, nil)
	stream, _ := r.stream()
	poster := r.dial("")
	c := poster.context.(*conn)
	c.phase = delivering // and there is no POST: a fault of ours
	r.put(handoff.Event{Kind: handoff.Taken, To: c.handle, Seq: 204})
	r.work()
	if !poster.closed || stream.closed || r.loop.counted.Panics.Load() != 1 {
		t.Errorf("closed: %v, another: %v, faults: %d", poster.closed, stream.closed, r.loop.counted.Panics.Load())
	}
}

// TestAStreamKeepsNoAddress: the names of rooms are what a stream needs of the head that opened it.
func TestAStreamKeepsNoAddress(t *testing.T) {
	const streams, filling = 300, 7000
	r := newRig(t, nil)
	head := "GET /events?room=lobby&x=" + strings.Repeat("x", filling) + " HTTP/1.1\r\nHost: x\r\n\r\n"
	held := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := held()
	sockets := make([]*fakeSocket, streams)
	for i := range sockets {
		sockets[i] = r.dial(head)
		sockets[i].in, sockets[i].out = nil, nil
	}
	if each := (held() - before) / streams; len(r.loop.streams) != streams || each > filling/2 {
		t.Errorf("%d streams hold %d bytes each", len(r.loop.streams), each)
	}
	runtime.KeepAlive(sockets)
}

// TestAnAnswerFindsABadRecord: what comes to light when a POST is answered, outside of gnet's callbacks, leaves the connection its last word.
func TestAnAnswerFindsABadRecord(t *testing.T) {
	here, there := socketPair(t)
	r := newRig(t, nil)
	_, post := r.stream()
	poster := r.dial(post(ping))
	c := poster.context.(*conn)
	c.kernel = true
	poster.file, poster.fault = here, os.NewSyscallError("write", unix.EBADMSG)
	r.work() // the stream's loop takes it, and the answer's write fails
	if !c.aloft() || c.phase != closing || !poster.closed {
		t.Fatalf("it is kept: %v, in the phase %v; gnet has closed it: %v", c.aloft(), c.phase, poster.closed)
	}
	if b, err := io.ReadAll(there); err != nil || len(b) != 2 {
		t.Errorf("the peer reads %x, %v; want an alert and the end", b, err)
	}
	r.loop.abort(c)
}
