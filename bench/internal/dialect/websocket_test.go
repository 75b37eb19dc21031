package dialect

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/gobwas/ws"
)

// echo is a dialect for tests of what is below: each message is an event as it is.
func echo() Config { return config("websocket") }

const echoTarget = "ws://127.0.0.1:1/path?x=1"

// TestSessionIsSmall: there is one for each connection.
func TestSessionIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Session{}); size > 48 {
		t.Errorf("a session has %d bytes, 48 are allowed", size)
	}
}

func TestHandshakeRequest(t *testing.T) {
	d, s := open(t, echo(), echoTarget)
	got := string(d.AppendOpen([]byte("before "), s))
	want := "before GET /path?x=1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cm9va2VyeWJlbmNoAAAABw==\r\n\r\n"
	if got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	d, s = open(t, config("rookery"), "ws://127.0.0.1:1")
	if got := string(d.AppendOpen(nil, s)); !strings.HasPrefix(got, "GET /ws HTTP/1.1\r\n") ||
		!strings.Contains(got, "\r\nSec-WebSocket-Protocol: rookery.v1.proto\r\n\r\n") {
		t.Errorf("got %q, want the usual path and the subprotocol", got)
	}
}

func TestHandshakeAnswer(t *testing.T) {
	good := string(accepted(""))
	for _, c := range []struct{ name, answer, failure string }{
		{"accepted", good, ""},
		{"accepted without a reason", strings.Replace(good, " Switching Protocols", "", 1), ""},
		{"refused", "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n\r\n", `answered with "HTTP/1.1 503 Service Unavailable"`},
		{"another status", strings.Replace(good, "101", "1010", 1), "1010"},
		{"HTTP/1.0", strings.Replace(good, "HTTP/1.1", "HTTP/1.0", 1), "HTTP/1.0"},
		{"no accept", strings.Replace(good, "Accept", "Except", 1), "no Sec-WebSocket-Accept"},
		{"another accept", strings.Replace(good, "Accept: ", "Accept: x", 1), "no Sec-WebSocket-Accept"},
		{"a subprotocol", string(accepted("chat")), `took the subprotocol "chat", "" was asked for`},
		{"endless", strings.Repeat("a", longestHead+1), "more than 8192 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			stream := []byte(c.answer)
			if len(stream) > longestHead {
				d, s := open(t, echo(), echoTarget)
				if _, failure := feed(d, s, stream); !strings.Contains(failure, c.failure) {
					t.Errorf("got %q, want %q", failure, c.failure)
				}
				return
			}
			all, failure := feedCut(t, echo(), echoTarget, stream)
			if c.failure == "" {
				wantHeard(t, all, []heard{{Kind: Ready, Room: -1}})
			}
			if !strings.Contains(failure, c.failure) || c.failure == "" && failure != "" {
				t.Errorf("got %q, want %q", failure, c.failure)
			}
		})
	}
	for _, answer := range []string{ // nginx's, that of Go's net/http
		"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n<center>The plain HTTP request was sent to HTTPS port</center>",
		"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
	} {
		d, s := open(t, echo(), echoTarget)
		if _, failure := feed(d, s, []byte(answer)); !strings.Contains(failure, "that port speaks TLS, use a wss:// target") {
			t.Errorf("%q is told as %q", answer, failure)
		}
	}
	_, failure := feedCut(t, config("rookery"), "ws://127.0.0.1:1", accepted(""))
	if want := `took the subprotocol "", "rookery.v1.proto" was asked for`; !strings.Contains(failure, want) {
		t.Errorf("a server without the subprotocol gives %q, want %q", failure, want)
	}
}

// message is a body of some length.
func message(size int) string { return Stamp + strings.Repeat("m", size-len(Stamp)) }

// TestFrames: messages of each form of length, whole and in fragments, with control frames between.
func TestFrames(t *testing.T) {
	var want []heard
	stream := accepted("")
	want = append(want, heard{Kind: Ready, Room: -1})
	for _, size := range []int{10, 125, 126, 300} {
		stream = append(stream, serverText(message(size))...)
		stream = append(stream, serverFrame(ws.OpBinary, true, []byte(message(size)))...)
		stream = append(stream, fragments(ws.OpText, []byte(message(size)), 50)...)
		stream = append(stream, serverText("")...)
		for range 3 {
			want = append(want, heard{Kind: Message, Room: -1, Body: message(size)})
		}
	}
	all, failure := feedCut(t, echo(), echoTarget, stream)
	if failure != "" {
		t.Fatal(failure)
	}
	wantHeard(t, withoutOut(all), want)
	pongs := 0
	for _, h := range all {
		pongs += len(sent(t, []byte(h.Out)))
	}
	if want := 1 + 3 + 3 + 6; pongs != want {
		t.Errorf("%d pings were answered, want %d", pongs, want)
	}
}

func TestLongFrames(t *testing.T) {
	for _, size := range []int{0xffff, 0x10000, 200_000} {
		d, s := ready(t, echo(), echoTarget, accepted(""))
		stream := serverText(message(size))
		all, failure := feed(d, s, stream[:5], stream[5:11], stream[11:70_000-5*5000], stream[70_000-5*5000:])
		if failure != "" || len(all) != 1 || all[0].Body != message(size) {
			t.Errorf("a message of %d bytes gives %d events, %q", size, len(all), failure)
		}
	}
}

func TestFrameFaults(t *testing.T) {
	head := func(b ...byte) []byte { return b }
	for _, c := range []struct {
		name    string
		stream  []byte
		failure string
	}{
		{"masked", head(0x81, 0x80), "masked"},
		{"reserved bit", head(0xc1, 0), "reserved bits"},
		{"reserved opcode", head(0x83, 0), "reserved opcode 3"},
		{"reserved control opcode", head(0x8b, 0), "reserved opcode 11"},
		{"fragmented ping", head(0x09, 0), "fragmented or too long"},
		{"long ping", head(0x89, 126), "fragmented or too long"},
		{"continuation of nothing", head(0x80, 1, 'a'), "continuation of nothing"},
		{"message within a message", append(serverFrame(ws.OpText, false, []byte("a")), 0x81, 0), "continuation of nothing, or a new"},
		{"huge", append(head(0x82, 127), bigEndian(longestMessage+1, 8)...), "67108865 bytes, 67108864 are taken"},
		{"a length with its highest bit", append(head(0x82, 127), bigEndian(1<<63, 8)...), "are taken"},
		{"close", serverFrame(ws.OpClose, true, append(bigEndian(4001, 2), "why"...)), "closed the connection with 4001 why"},
		{"close without a code", serverFrame(ws.OpClose, true, nil), "closed the connection with 1005"},
		{"close with half a code", serverFrame(ws.OpClose, true, []byte{3}), "closed the connection with 1005"},
	} {
		t.Run(c.name, func(t *testing.T) {
			stream := append(accepted(""), serverText(message(20))...)
			all, failure := feedCut(t, echo(), echoTarget, append(stream, c.stream...))
			if !strings.Contains(failure, c.failure) {
				t.Errorf("got %q, want %q", failure, c.failure)
			}
			wantHeard(t, all, []heard{{Kind: Ready, Room: -1}, {Kind: Message, Room: -1, Body: message(20)}})
		})
	}
}

// TestEndlessMessage: what comes in fragments is bounded too.
func TestEndlessMessage(t *testing.T) {
	d, s := ready(t, echo(), echoTarget, accepted(""))
	part := make([]byte, longestMessage/4)
	frame := serverFrame(ws.OpBinary, false, part)
	for i := range 6 {
		for in := frame; len(in) > 0; {
			n, err := d.Read(s, in, &Event{})
			if err != nil {
				if !strings.Contains(err.Error(), "more than 67108864 bytes") || i < 4 {
					t.Errorf("quarter %d: %v", i+1, err)
				}
				return
			}
			in = in[n:]
		}
		frame[0] = byte(ws.OpContinuation)
	}
	t.Error("six quarters were taken")
}

func TestAppendFrame(t *testing.T) {
	s := &Session{User: 7}
	masks := map[string]bool{}
	for _, size := range []int{0, 1, 125, 126, 0xffff, 0x10000, 100_000} {
		payload := bytes.Repeat([]byte("x"), size)
		out := appendFrame([]byte("before"), s, ws.OpBinary, payload)
		out, found := bytes.CutPrefix(out, []byte("before"))
		if got := sent(t, out); !found || len(got) != 1 || got[0] != "binary "+string(payload) {
			t.Fatalf("a frame of %d bytes is not read as it was written", size)
		}
		at := len(out) - size - 4
		masks[string(out[at:at+4])] = true
	}
	if len(masks) != 7 {
		t.Errorf("7 frames have %d masks", len(masks))
	}
	if got := sent(t, appendClose(nil, s)); got[0] != "close \x03\xe8" {
		t.Errorf("got %q", got)
	}
}

// TestReadPart: things over frames, several in a frame, and the end of a message within one.
func TestReadPart(t *testing.T) {
	for _, c := range []struct {
		payload string
		size    int // of fragments; 0: one frame
		want    string
	}{
		{"a\nbb\nccc\n", 0, "a|bb|ccc"},
		{"a\nbb\nccc", 0, "a|bb|ccc"},
		{"a\nbb\nccc\n", 1, "a|bb|ccc"},
		{"a\nbb\nccc", 2, "a|bb|ccc"},
		{"a\nbb\nccc", 4, "a|bb|ccc"},
		{"\n\n", 0, "|"},
		{"", 0, ""},
	} {
		stream := serverText(c.payload)
		if c.size > 0 {
			stream = fragments(ws.OpText, []byte(c.payload), c.size)
		}
		var parts []string
		s, e := &Session{}, &Event{}
		for in := []byte{}; len(stream) > 0 || len(in) > 0; {
			if len(stream) > 0 {
				in, stream = append(in, stream[0]), stream[1:]
			}
			part, ok, n, err := readPart(s, in, e, cutLine)
			if err != nil || n == 0 && len(stream) == 0 {
				t.Fatalf("%q in pieces of %d: read %d bytes, %v", c.payload, c.size, n, err)
			}
			if ok {
				parts = append(parts, string(part))
			}
			in = in[n:]
		}
		if got := strings.Join(parts, "|"); got != c.want {
			t.Errorf("%q in pieces of %d: got %q, want %q", c.payload, c.size, got, c.want)
		}
		if s.parts != nil || s.inside != 0 || s.more {
			t.Errorf("%q in pieces of %d: the session is left as %+v", c.payload, c.size, s)
		}
	}
}

func TestTargets(t *testing.T) {
	for text, want := range map[string]string{
		"ws://host:8080/path?q=1": "{ws false host:8080 /path?q=1}",
		"ws://host":               "{ws false host:80 /}",
		"ws://[::1]":              "{ws false [::1]:80 /}",
		"ws://[::1]:9/":           "{ws false [::1]:9 /}",
		"tcp://host:1883":         "{tcp false host:1883 }",
		"wss://host":              "{ws true host:443 /}",
		"wss://[::1]:9/p":         "{ws true [::1]:9 /p}",
		"tls://host:1":            "{tcp true host:1 }",
		"tls://host":              "has no port",
		"https://host":            `the scheme is "https"`,
		"host:80":                 "use ws://",
		"127.0.0.1:80":            "is no address",
		"tcp://host":              "has no port",
		"ws://:80":                "has no host",
	} {
		got, err := ParseTarget(text)
		if err != nil {
			if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v, want %s", text, err, want)
			}
		} else if fmt.Sprint(got) != want {
			t.Errorf("%s: got %v, want %s", text, got, want)
		}
	}
}

func TestNew(t *testing.T) {
	web, tcp := Target{Scheme: "ws", Host: "h:1", Path: "/"}, Target{Scheme: "tcp", Host: "h:1"}
	for _, c := range []struct {
		config  Config
		target  Target
		failure string
	}{
		{config("smoke-signals"), web, "use one of centrifugo, mqtt, rookery, socket.io, websocket"},
		{config("websocket"), tcp, "use a ws:// target"},
		{config("socket.io"), tcp, "use a ws:// target"},
		{config("centrifugo"), tcp, "use a ws:// target"},
		{Config{Server: config("mqtt").Server, Prefix: "a+b"}, tcp, `the character '+'`},
		{Config{Server: config("socket.io").Server, Prefix: `a"b`}, web, `the character '"'`},
	} {
		if d, err := New(c.config, c.target); err == nil || d != nil || !strings.Contains(err.Error(), c.failure) {
			t.Errorf("%+v: got %v, %v, want %s", c.config, d, err, c.failure)
		}
	}
}

func TestNames(t *testing.T) {
	n := names{prefix: "p-"}
	for _, number := range []int{0, 7, 10, 999_999_999} {
		if got := n.number(n.append(nil, number)); got != number || string(n.append(nil, number)) != n.room(number) {
			t.Errorf("%s is read as %d", n.room(number), got)
		}
	}
	for _, other := range []string{"", "p-", "p-x", "p-1x", "p-01", "q-1", "p-1000000000", "p-99999999999999999999"} {
		if got := n.number([]byte(other)); got != -1 {
			t.Errorf("%q is read as %d", other, got)
		}
	}
}
