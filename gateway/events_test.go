package gateway_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rookery/gateway"
	"rookery/gateway/gatewaytest"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// TestEventsBeginASession: by what the address and the head say, or by POST.
func TestEventsBeginASession(t *testing.T) {
	dev, keys := gatewaytest.Start(t), gatewaytest.Start(t, production)
	hasty := gatewaytest.Start(t, func(c *gateway.Config) { c.Limits.HandshakeTimeout = 300 * time.Millisecond })
	token := signed(t, jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(time.Hour).Unix(), "rooms": []string{"a"}})

	p := mustOpenStream(t, dev.Addr(), "/events?name=bob", "")
	if f := p.must(); f.GetConnected().GetUser() != "bob" || f.Id != 0 {
		t.Errorf("a name in the address gave %v", f)
	}
	for field, want := range map[string]string{
		"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no", "Content-Length": "",
	} {
		if got := p.stream.header.Get(field); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	if ms, err := strconv.Atoi(p.stream.retry); err != nil || ms < 2000 || ms > 6000 {
		t.Errorf("retry is %q", p.stream.retry)
	}

	p = mustOpenStream(t, keys.Addr(), "/events?room=a&room=b", "Authorization: bearer "+token+"\r\n")
	if f := p.must(); f.GetConnected().GetUser() != "ann" {
		t.Errorf("a token in the head gave %v", f)
	}
	for range 2 { // in any order
		if f := p.must(); f.Id != 0 || f.GetJoined() == nil && f.GetError().GetName() != proto.ErrRoomForbidden.Name ||
			f.GetJoined() != nil && f.GetJoined().Room != "a" {
			t.Errorf("rooms in the address gave %v", f)
		}
	}

	// Who says nothing, or asks a proxy in front for a password, says it by POST, and the rooms are joined then.
	p = mustOpenStream(t, keys.Addr(), "/events?room=a", "Authorization: Basic YTpi\r\n")
	id := connect(p, token, "")
	if f := p.must(); f.GetConnected().GetUser() != "ann" || f.Id != id {
		t.Errorf("a token by POST gave %v", f)
	}
	if f := p.must(); f.GetJoined().GetRoom() != "a" {
		t.Errorf("then came %v", f)
	}

	p = mustOpenStream(t, keys.Addr(), "/events", "Authorization: Bearer nonsense\r\n")
	p.mustFail(proto.ErrUnauthorized)
	p.mustClose(proto.CloseUnauthorized)
	if _, err := p.in.ReadByte(); err != io.EOF {
		t.Errorf("behind the close came %v", err)
	}
	mustOpenStream(t, keys.Addr(), "/events?name=bob", "").mustFail(proto.ErrUnauthorized)
	mustOpenStream(t, hasty.Addr(), "/events", "").mustClose(proto.CloseConnectTimeout)
}

// TestEventsGoOn: whoever comes back with the id of the last event misses nothing and sees nothing twice, wherever it broke off.
func TestEventsGoOn(t *testing.T) {
	t.Parallel()
	const each = 150
	srv := gatewaytest.Start(t)
	rooms := []string{"one", "two", "quiet"}
	target := "/events?name=reader&room=one&room=two&room=quiet"
	reader := mustOpenStream(t, srv.Addr(), target, "")
	for joined := 0; joined < len(rooms); {
		if reader.must().GetJoined() != nil {
			joined++
		}
	}
	writer := login(t, srv.Addr(), wires[0], "writer")
	written := make(chan struct{})
	go func() {
		defer close(written)
		for n := range each {
			for _, room := range rooms[:2] {
				f := &v1.ClientFrame{Id: uint64(1000 + n), Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{Room: room, Content: &v1.Publish_Text{Text: "x"}}}}
				if writer.send(f) != nil {
					return
				}
			}
			if _, err := writer.next(); err != nil {
				return
			}
		}
	}()
	last := map[string]uint64{}
	for got, sinceOpened, most := 0, 0, 1; got < 2*each; {
		f, err := reader.next()
		if err != nil {
			t.Fatalf("after %d: %v", got, err)
		}
		if j := f.GetJoined(); j != nil && !j.GetRecovered() && reader.stream.lastID == "" {
			t.Errorf("came back as %v", j)
		}
		m := f.GetMessage()
		if m == nil {
			continue
		}
		if m.Seq != last[m.Room]+1 {
			t.Fatalf("message %d of %s came after %d, with id %s", m.Seq, m.Room, last[m.Room], reader.stream.lastID)
		}
		last[m.Room] = m.Seq
		got++
		if sinceOpened++; sinceOpened == most {
			id := reader.stream.lastID
			reader.conn.Close()
			reader = mustOpenStream(t, srv.Addr(), target, "Last-Event-ID: "+id+"\r\n")
			sinceOpened, most = 0, most%17+1
		}
	}
	<-written
	if last["one"] != each || last["two"] != each {
		t.Errorf("got up to %v", last)
	}
}

func TestEventsOfAnotherEpoch(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	p := login(t, srv.Addr(), wires[0], "alice")
	p.answer(p.publish("r", "", "x"))
	q := mustOpenStream(t, srv.Addr(), "/events?name=bob&room=r", "")
	q.must()
	q.must()
	parts := strings.Split(q.stream.lastID, ".")
	if len(parts) != 3 || parts[2] != "1" {
		t.Fatalf("the id is %q", q.stream.lastID)
	}
	q = mustOpenStream(t, srv.Addr(), "/events?name=bob&room=r", "Last-Event-ID: beef."+parts[1]+".1\r\n")
	q.must()
	if j := q.must().GetJoined(); j.Recovered == nil || *j.Recovered || j.Head != 1 {
		t.Errorf("joined: %v", j)
	}
}

// TestEventsThatAreRefused: requests that are no streams.
func TestEventsThatAreRefused(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, production)
	manyRooms := "?"
	for n := range 17 {
		manyRooms += fmt.Sprintf("room=%d&", n)
	}
	for _, c := range []struct {
		name, request string
		status        int
	}{
		{"a body", "GET /events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 400},
		{"by another method", "PUT /events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 405},
		{"POST without a name", "POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 405},
		{"a query that is none", "GET /events?room=%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"too many rooms", "GET /events" + manyRooms + " HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"a room twice", "GET /events?room=a&room=a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"a room of the server", "GET /events?room=%01catalog HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"a room without a name", "GET /events?room= HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"an id of something else", "GET /events?room=a HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 42\r\n\r\n", 400},
		{"an id of other rooms", "GET /events?room=a HTTP/1.1\r\nHost: x\r\nLast-Event-ID: beef.00000000.1\r\n\r\n", 400},
		{"another origin", "GET /events HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\n\r\n", 403},
		{"a POST of another origin", "POST /events/x HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\nContent-Length: 2\r\n\r\n{}", 403},
		{"a question of another origin", "OPTIONS /events/x HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\n\r\n", 403},
		{"whether it is there", "HEAD /events HTTP/1.1\r\nHost: x\r\n\r\n", 204},
		{"no host", "GET /events HTTP/1.1\r\n\r\n", 400},
		{"a long head", "GET /events?room=" + strings.Repeat("r", 9000) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431},
		{"a POST to nobody", "POST /events/nobody HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 404},
		{"a POST to a session's name", "POST /events/0-0-1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 404},
		{"a POST to a name that was guessed", "POST /events/" + strings.Repeat("A", 35) + " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 404},
		{"a POST to a loop that there is none of", "POST /events/__8" + strings.Repeat("A", 32) + " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 404},
		{"a POST of unknown length", "POST /events/x HTTP/1.1\r\nHost: x\r\n\r\n", 411},
		{"a POST in chunks", "POST /events/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 411},
		{"a POST in chunks by HTTP/1.0", "POST /events/x HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}", 400},
		{"a page without an origin, and no host", "GET /events HTTP/1.0\r\nOrigin: null\r\n\r\n", 403},
		{"a POST of two lengths", "POST /events/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400},
		{"a POST of a length below nothing", "POST /events/x HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\n{}", 400},
		{"a long POST", "POST /events/x HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n{", 413},
		{"a read of a name", "GET /events/x HTTP/1.1\r\nHost: x\r\n\r\n", 405},
	} {
		t.Run(c.name, func(t *testing.T) {
			if res := exchangeHead(t, srv.Addr(), c.request); res.StatusCode != c.status {
				t.Errorf("answered with %s, want %d", res.Status, c.status)
			}
		})
	}
}

// TestEventsOfOtherOrigins: pages that may open a WebSocket may read events and send, and browsers hear so.
func TestEventsOfOtherOrigins(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Limits.Origins = []string{"https://chat.example"} })
	origin := "Origin: https://chat.example\r\n"
	p := mustOpenStream(t, srv.Addr(), "/events?name=ann", origin)
	allowed := func(h http.Header) {
		t.Helper()
		if h.Get("Access-Control-Allow-Origin") != "https://chat.example" || h.Get("Vary") != "Origin" {
			t.Errorf("header: %v", h)
		}
	}
	allowed(p.stream.header)
	res := exchangeHead(t, srv.Addr(), "OPTIONS /events/"+p.stream.name+" HTTP/1.1\r\nHost: x\r\n"+origin+
		"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n")
	allowed(res.Header)
	if h := res.Header; res.StatusCode != 204 || h.Get("Access-Control-Allow-Methods") != "GET, POST" ||
		h.Get("Access-Control-Allow-Headers") != "Authorization, Content-Type, Last-Event-ID" {
		t.Errorf("%s: %v", res.Status, res.Header)
	}
	for name, request := range map[string]string{
		"taken":   "POST /events/" + p.stream.name + " HTTP/1.1\r\nHost: x\r\n" + origin + "Content-Length: 0\r\n\r\n",
		"refused": "POST /events/nobody HTTP/1.1\r\nHost: x\r\n" + origin + "Content-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) { allowed(exchangeHead(t, srv.Addr(), request).Header) })
	}
}

// TestPostsInPieces: however a request comes, its frames are carried out once.
func TestPostsInPieces(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	p := mustOpenStream(t, srv.Addr(), "/events?name=ann&room=r", "")
	p.must()
	p.must()
	body := func(n int) string {
		return fmt.Sprintf(`{"id":%d,"publish":{"room":"r","text":"number %[1]d"}}`, n)
	}
	request := func(n int, fields string) string {
		return fmt.Sprintf("POST /events/%s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", p.stream.name, fields, len(body(n)), body(n))
	}
	posts := p.stream.open()
	p.stream.conn, p.stream.in = posts, bufio.NewReader(posts)
	n := 0
	taken := func(want int) {
		t.Helper()
		for range want {
			if status, err := p.stream.answer(); status != 204 || err != nil {
				t.Fatalf("answered with %d, %v", status, err)
			}
		}
	}
	for _, size := range []int{1, 3, 40, 1000} {
		whole := request(n+1, "")
		for len(whole) > 0 {
			cut := min(size, len(whole))
			if _, err := io.WriteString(posts, whole[:cut]); err != nil {
				t.Fatal(err)
			}
			whole = whole[cut:]
			time.Sleep(50 * time.Microsecond) // so that it is several reads, most of the time
		}
		taken(1)
		p.answerTo(t, &n)
	}
	// Several requests at once are taken in their order.
	io.WriteString(posts, request(n+1, "")+request(n+2, "X-More: y\r\n")+request(n+3, "")[:50])
	taken(2)
	io.WriteString(posts, request(n+3, "")[50:])
	taken(1)
	for range 3 {
		p.answerTo(t, &n)
	}
	// curl asks first whether it may send.
	asking := request(n+1, "Expect: 100-continue\r\n")
	head, content, _ := strings.Cut(asking, "\r\n\r\n")
	io.WriteString(posts, head+"\r\n\r\n")
	if line, err := p.stream.in.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("read %q, %v", line, err)
	}
	p.stream.in.ReadString('\n')
	io.WriteString(posts, content)
	taken(1)
	p.answerTo(t, &n)
	// Frames of one POST, and one that holds nothing.
	if err := p.stream.post([]byte(body(n+1) + "\n\n" + body(n+2) + "\n")); err != nil {
		t.Fatal(err)
	}
	p.answerTo(t, &n)
	p.answerTo(t, &n)
	if err := p.stream.post(nil); err != nil {
		t.Fatal(err)
	}
	// An old proxy's request, after which its connection ends.
	if status, err := p.stream.exchange(strings.Replace(request(n+1, ""), "HTTP/1.1", "HTTP/1.0", 1)); status != 204 || err != nil || p.stream.conn != nil {
		t.Errorf("answered with %d, %v, and the connection stays: %v", status, err, p.stream.conn != nil)
	}
	p.answerTo(t, &n)
}

// answerTo reads up to the next message, which must be number n+1.
func (p *peer) answerTo(t *testing.T, n *int) {
	t.Helper()
	*n++
	m := p.until(func(f *v1.ServerFrame) bool { return f.GetMessage() != nil }).GetMessage()
	if m.Seq != uint64(*n) || m.GetText() != fmt.Sprint("number ", *n) {
		t.Fatalf("message %d came as %v", *n, m)
	}
}

// TestPostsToAnotherSession: a name of which anything is another's is nobody's.
func TestPostsToAnotherSession(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	a, b := mustOpenStream(t, srv.Addr(), "/events?name=ann", ""), mustOpenStream(t, srv.Addr(), "/events?name=bob", "")
	a.must()
	b.must()
	whole := a.stream.name
	// 10 bytes of the handle are 13 characters and a part of the next.
	for _, name := range []string{b.stream.name[:13] + whole[13:], whole[:34], whole + "A", strings.ToUpper(whole)} {
		a.stream.name = name
		if err := a.stream.post([]byte(`{"id":1,"ping":{}}`)); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("%s: %v", name, err)
		}
	}
	a.stream.name = whole
	a.request(&v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
	if a.must().GetPong() == nil {
		t.Error("the session's own name is not taken any more")
	}
	a.conn.Close()
	eventually(t, "the name ends with the stream", func() bool {
		err := a.stream.post(nil)
		return err != nil && strings.Contains(err.Error(), "404")
	})
}

// TestHalfAPost: its sender is closed, the session stays.
func TestHalfAPost(t *testing.T) {
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Limits.FrameTimeout = 300 * time.Millisecond })
	p := mustOpenStream(t, srv.Addr(), "/events?name=ann", "")
	p.must()
	half := p.stream.open()
	fmt.Fprintf(half, "POST /events/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{", p.stream.name)
	if n, err := half.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if !srv.Logged("access denied", "reason=slow") {
		t.Error("nothing was logged")
	}
	p.request(&v1.ClientFrame{Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
	if p.must().GetPong() == nil {
		t.Error("the session did not go on")
	}
}

// TestFloodOfPosts: whoever sends much without waiting for answers is closed, or slowed down by the rates; the session's rates are those
// of any.
func TestFloodOfPosts(t *testing.T) {
	srv := gatewaytest.Start(t, func(c *gateway.Config) {
		c.Limits.MessagesPerSecond, c.Limits.MessageBurst = 1, 3
	})
	p := mustOpenStream(t, srv.Addr(), "/events?name=ann", "")
	p.must()
	var frames strings.Builder
	for id := range 10 {
		fmt.Fprintf(&frames, `{"id":%d,"publish":{"room":"r","text":"x"}}`+"\n", id+1)
	}
	if err := p.stream.post([]byte(frames.String())); err != nil {
		t.Fatal(err)
	}
	limited := 0
	for range 10 {
		if f := p.must(); f.GetError().GetName() == proto.ErrRateLimited.Name {
			limited++
		}
	}
	if limited < 6 {
		t.Errorf("%d of 10 publishes were refused", limited)
	}
	// It goes on until the connection ends: after 1,000 refusals at the latest.
	var end *endError
	for !errors.As(p.flood(frames.String()), &end) {
	}
	if end.code != proto.CloseOverloaded.Code {
		t.Errorf("closed with %d, want %d", end.code, proto.CloseOverloaded.Code)
	}
	if err := p.stream.post(nil); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("then a POST was answered with %v", err)
	}
}

// flood sends ten frames many times over, and reads the answers up to the end of the connection.
func (p *peer) flood(ten string) (err error) {
	p.t.Helper()
	const times = 20
	refused := p.stream.post([]byte(strings.Repeat(ten, times))) // when the last frame before was the one too many
	for n := 0; err == nil && (n < 10*times || refused != nil); n++ {
		_, err = p.next()
	}
	return err
}

// TestEventsForWhoIsSlow: what does not go out is not queued, and comes from the log, in order.
func TestEventsForWhoIsSlow(t *testing.T) {
	t.Parallel()
	const messages = 150 // of all together no socket's buffers hold a half
	narrow := overEvents
	narrow.buffer = 512 << 10 // much less, and the kernels wait for timers with each window: loopback's segments are 64 KiB
	srv := gatewaytest.Start(t)
	for _, target := range []string{"/events?name=slow", "/events?name=slow&room=named"} {
		p, err := openStream(t, srv.Addr(), narrow, target, "")
		if err != nil {
			t.Fatal(err)
		}
		room := "named"
		if p.must(); strings.Contains(target, "room") {
			p.must()
		} else {
			room = "joined"
			p.enter(room)
		}
		writer := login(t, srv.Addr(), wires[0], "writer")
		text := strings.Repeat("x", 60_000)
		for n := range messages {
			writer.publish(room, "", text)
			if n%50 == 49 {
				for range 50 {
					writer.must()
				}
			}
		}
		for seq := range uint64(messages) {
			if m := p.must().GetMessage(); m.GetSeq() != seq+1 {
				t.Fatalf("%s: message %d came as %d", target, seq+1, m.GetSeq())
			}
		}
		if room == "named" && !strings.HasSuffix(p.stream.lastID, "."+strconv.Itoa(messages)) {
			t.Errorf("the last id is %q", p.stream.lastID)
		}
	}
	if metric(t, srv, "rookery_subscriptions_fell_behind_total") == 0 {
		t.Error("nobody fell behind: the test shows nothing")
	}
}

// TestEventsAreAskedForSignsOfLife: those whose client has said connect by POST. The others get comments.
func TestEventsAreAskedForSignsOfLife(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Heartbeat = 1500 * time.Millisecond })
	quiet := mustOpenStream(t, srv.Addr(), "/events?name=quiet", "")
	quiet.must()
	answers, dead := login(t, srv.Addr(), overEvents, "answers"), login(t, srv.Addr(), overEvents, "dead")
	for range 2 {
		if f := answers.must(); f.GetPing() == nil {
			t.Fatalf("instead of a question came %v", f)
		}
		if err := answers.stream.post(nil); err != nil {
			t.Fatal(err)
		}
	}
	dead.mustClose(proto.CloseHeartbeatTimeout)
	for comments := 0; comments < 2; {
		line, err := quiet.in.ReadString('\n')
		switch {
		case err != nil:
			t.Fatal(err)
		case line == ":\n":
			comments++
		case line != "\n":
			t.Fatalf("a stream without anything has %q", line)
		}
	}
}

// TestEventsDrain: those who are there are told to go, may still speak, and nobody is let in.
func TestEventsDrain(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Drain.Window = 10 * time.Second })
	p := mustOpenStream(t, srv.Addr(), "/events?name=ann", "")
	p.must()
	if err := p.stream.post(nil); err != nil {
		t.Fatal(err)
	}
	p.stream.retry = ""
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		srv.Stop()
	}()
	if f := p.must(); f.GetGoaway() == nil || p.stream.retry == "" {
		t.Errorf("told %v, to come back in %q ms", f, p.stream.retry)
	}
	for _, kept := range []string{"over the connection of before", "over another one"} {
		p.publish("r", "", kept)
		if f := p.must(); f.GetPublished() == nil {
			t.Errorf("a POST %s: the stream says %v", kept, f)
		}
		if p.stream.conn != nil {
			t.Errorf("a POST %s: the connection is kept", kept)
		}
	}
	if _, err := openStream(t, srv.Addr(), overEvents, "/events", ""); err == nil || !strings.Contains(err.Error(), `503 Service Unavailable, Retry-After "5"`) {
		t.Errorf("another stream: %v", err)
	}
	// A page of another origin can see so.
	res := exchangeHead(t, srv.Addr(), "GET /events HTTP/1.1\r\nHost: x\r\nOrigin: https://chat.example\r\n\r\n")
	if h := res.Header; res.StatusCode != 503 || h.Get("Access-Control-Allow-Origin") != "https://chat.example" || h.Get("Access-Control-Expose-Headers") != "Retry-After" {
		t.Errorf("another stream, of a page of another origin, was answered with %s, %v", res.Status, h)
	}
	p.conn.Close() // as it was told
	<-stopped
}

// TestEventsAnswerWhileDraining: a drain that is longer than two heartbeats ends nobody for their silence who answers.
func TestEventsAnswerWhileDraining(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t, func(c *gateway.Config) { c.Heartbeat, c.Drain.Window = 2*time.Second, 20*time.Second })
	p := login(t, srv.Addr(), overEvents, "ann")
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		srv.Stop()
	}()
	if f := p.must(); f.GetGoaway() == nil {
		t.Fatalf("told %v", f)
	}
	for range 3 {
		if f := p.must(); f.GetPing() == nil {
			t.Fatalf("instead of a question came %v", f)
		}
		if err := p.stream.post(nil); err != nil {
			t.Fatal(err)
		}
	}
	p.conn.Close()
	<-stopped
}

// TestEventsDuringATakeover: streams do not go along. They are told so, and go on at the other process without a gap.
func TestEventsDuringATakeover(t *testing.T) {
	t.Parallel()
	srv := gatewaytest.Start(t)
	target := "/events?name=reader&room=r"
	p := mustOpenStream(t, srv.Addr(), target, "")
	p.must()
	p.must()
	writer := login(t, srv.Addr(), wires[0], "writer")
	writer.answer(writer.publish("r", "", "before"))
	if m := p.must().GetMessage(); m.GetSeq() != 1 {
		t.Fatalf("before came %v", m)
	}
	posts := p.stream.open()
	fmt.Fprintf(posts, "POST /events/%s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 50\r\n\r\n", p.stream.name)
	if n, err := posts.Read(make([]byte, 100)); err != nil {
		t.Fatalf("read %d bytes, %v", n, err) // the head has been read
	}
	io.WriteString(posts, "{")
	srv = gatewaytest.TakeOver(srv)
	if f := p.must(); f.GetGoaway() == nil {
		t.Errorf("told %v", f)
	}
	p.mustClose(proto.CloseDraining)
	if n, err := posts.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("half a POST: read %d bytes, %v", n, err)
	}
	writer.answer(writer.publish("r", "", "meanwhile"))
	id := p.stream.lastID
	p = mustOpenStream(t, srv.Addr(), target, "Last-Event-ID: "+id+"\r\n")
	p.must()
	if j := p.must().GetJoined(); !j.GetRecovered() || j.Head != 2 {
		t.Errorf("joined: %v", j)
	}
	if m := p.must().GetMessage(); m.GetSeq() != 2 {
		t.Errorf("after it came %v", m)
	}
}
