package dialect

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

func mqttConfig(qos int) Config {
	c := config("mqtt")
	c.Server.QoS = qos
	return c
}

// connack is the answer to a login that is taken.
const connack = "\x20\x02\x00\x00"

// mqttAnswers is what a server sends to a client that has joined room 3 (id 4), published (5) and left (6).
var mqttAnswers = strings.Join([]string{
	"\x90\x03\x00\x01\x01", "\x40\x02\x00\x02", "\xb0\x02\x00\x03",
	"\xd0\x00",
	"\x30\x09\x00\x02p3rb1.x",
	"\x32\x0b\x00\x02p3\x12\x34rb1.y",
	"\x3b\x0d\x00\x06others\x00\x01rb1", // a repetition, and retained
	"\x30\xaa\x01\x00\x02p3" + strings.Repeat("b", 166),
}, "")

func TestMQTTRead(t *testing.T) {
	want := []heard{
		{Kind: Joined, ID: 4, Room: -1},
		{Kind: Acknowledged, ID: 5, Room: -1},
		{Kind: Left, ID: 6, Room: -1},
		{Kind: Message, Room: 3, Body: "rb1.x"},
		{Kind: Message, Room: 3, Body: "rb1.y"},
		{Kind: Message, Room: -1, Body: "rb1"},
		{Kind: Message, Room: 3, Body: strings.Repeat("b", 166)},
	}
	request := func(d Dialect, s *Session) {
		d.AppendJoin(nil, s, Join{ID: 4, Room: 3})
		d.AppendPublish(nil, s, Publish{ID: 5, Room: 3})
		d.AppendLeave(nil, s, 6, 3)
	}
	for name, stream := range map[string][]byte{
		"tcp":                 []byte(mqttAnswers),
		"a message":           serverFrame(ws.OpBinary, true, []byte(mqttAnswers)),
		"fragments":           fragments(ws.OpBinary, []byte(mqttAnswers), 7),
		"messages of 3 bytes": nil,
	} {
		target, login := "ws://h:1", append(accepted("mqtt"), serverFrame(ws.OpBinary, true, []byte(connack))...)
		if name == "tcp" {
			target, login = "tcp://h:1", []byte(connack)
		}
		if stream == nil {
			for part := range slices.Chunk([]byte(mqttAnswers), 3) {
				stream = append(stream, serverFrame(ws.OpBinary, true, part)...)
			}
		}
		for cut := range len(stream) {
			d, s := ready(t, mqttConfig(1), target, login)
			request(d, s)
			all, failure := feed(d, s, stream[:cut], stream[cut:])
			if failure != "" {
				t.Fatalf("%s cut at %d: %s", name, cut, failure)
			}
			wantHeard(t, withoutOut(all), want)
			var out string
			for _, h := range all {
				if target == "tcp://h:1" {
					out += h.Out
					continue
				}
				for _, message := range sent(t, []byte(h.Out)) {
					if packet, ok := strings.CutPrefix(message, "binary "); ok {
						out += packet
					}
				}
			}
			if acknowledged := "\x40\x02\x12\x34\x40\x02\x00\x01"; out != acknowledged {
				t.Fatalf("%s cut at %d: the client answered %q, want %q", name, cut, out, acknowledged)
			}
			if t.Failed() {
				t.Fatalf("%s cut at %d", name, cut)
			}
		}
	}
	// The login itself, cut.
	all, failure := feedCut(t, mqttConfig(0), "ws://h:1", append(accepted("mqtt"), fragments(ws.OpBinary, []byte(connack), 1)...))
	if got := withoutOut(all); failure != "" || len(got) != 1 || got[0].Kind != Ready {
		t.Errorf("got %+v, %s", got, failure)
	}
}

func TestMQTTRequests(t *testing.T) {
	c := mqttConfig(0)
	d, s := open(t, c, "tcp://h:1")
	if got, want := string(d.AppendOpen(nil, s)), "\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02p7"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	out := d.AppendJoin(nil, s, Join{ID: 4, Room: 10})
	out = d.AppendPublish(out, s, Publish{ID: 5, Room: 10, Body: []byte("rb1.x")})
	out = d.AppendLeave(out, s, 6, 10)
	out = d.AppendClose(out, s)
	want := "\x82\x08\x00\x01\x00\x03p10\x00" + "\x30\x0a\x00\x03p10rb1.x" + "\xa2\x07\x00\x02\x00\x03p10" + "\xe0\x00"
	if got := string(out); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if d.Traits().Acknowledges {
		t.Error("publishes of quality 0 have no answer")
	}

	c = mqttConfig(1)
	c.Server.Token = "secret"
	d, s = open(t, c, "ws://h:1")
	if got := string(d.AppendOpen(nil, s)); !strings.HasPrefix(got, "GET /mqtt HTTP/1.1\r\n") || !strings.Contains(got, "\r\nSec-WebSocket-Protocol: mqtt\r\n") {
		t.Errorf("got %q", got)
	}
	all, _ := feed(d, s, accepted("mqtt"))
	out = []byte(all[0].Out)
	out = d.AppendJoin(out, s, Join{ID: 4, Room: 3})
	out = d.AppendPublish(out, s, Publish{ID: 5, Room: 3, Body: []byte(strings.Repeat("b", 200))})
	out = d.AppendClose(out, s)
	wantSent := []string{"binary \x10\x1a\x00\x04MQTT\x04\xc2\x00\x00\x00\x02p7\x00\x02p7\x00\x06secret", "binary \x82\x07\x00\x01\x00\x02p3\x01",
		"binary \x32\xce\x01\x00\x02p3\x00\x02" + strings.Repeat("b", 200), "binary \xe0\x00", "close \x03\xe8"}
	if got := sent(t, out); !slices.Equal(got, wantSent) {
		t.Errorf("got %q\nwant %q", got, wantSent)
	}
	if !d.Traits().Acknowledges {
		t.Error("publishes of quality 1 have an answer")
	}
	for _, qos := range []int{-1, 2} {
		if _, err := New(mqttConfig(qos), Target{Scheme: "tcp", Host: "h:1"}); err == nil || !strings.Contains(err.Error(), "use 0 or 1") {
			t.Errorf("quality %d gives %v", qos, err)
		}
	}
}

func TestMQTTFaults(t *testing.T) {
	for stream, want := range map[string]string{
		"\x20\x02\x00\x05":                     "login was refused: not authorized",
		"\x20\x02\x00\x63":                     "login was refused: code 99",
		"\x20\x01\x00":                         "too short",
		connack + connack:                      "was not asked for",
		connack + "\x40\x02\x00\x01":           "not waiting for an answer",
		connack + "\x40\x02\x00\x00":           "not waiting for an answer",
		connack + "\x40\x01\x00":               "too short",
		connack + "\x30\x01\x00":               "too short",
		connack + "\x30\x03\x00\x02p":          "too short",
		connack + "\x32\x05\x00\x02p3\x00":     "too short",
		connack + "\x34\x06\x00\x02p3\x00\x01": "quality of service 2",
		connack + "\x10\x00":                   "a packet of type 1",
		connack + "\x30\xff\xff\xff\xff":       "more than 4 bytes",
		connack + "\x30\xff\xff\xff\x7f":       "268435455 bytes",
	} {
		if _, failure := feedCut(t, mqttConfig(1), "tcp://h:1", []byte(stream)); !strings.Contains(failure, want) {
			t.Errorf("%q gives %q, want %q", stream, failure, want)
		}
	}
	if _, failure := feedCut(t, mqttConfig(1), "ws://h:1", append(accepted("mqtt"), serverText(connack)...)); !strings.Contains(failure, "MQTT is binary") {
		t.Errorf("text gives %q", failure)
	}
	for code := byte(1); code < 6; code++ {
		if reason := connackReason(code); strings.HasPrefix(reason, "code ") {
			t.Errorf("code %d has no text", code)
		}
	}
	// A refused subscription is the room's, not the connection's.
	d, s := ready(t, mqttConfig(0), "tcp://h:1", []byte(connack))
	d.AppendJoin(nil, s, Join{ID: 4, Room: 3})
	all, failure := feed(d, s, []byte("\x90\x03\x00\x01\x80"))
	if failure != "" {
		t.Error(failure)
	}
	wantHeard(t, all, []heard{{Kind: Refused, ID: 4, Room: -1, Reason: "the subscription failed"}})
}

// TestFlight compares the queue of requests with a table, with answers in any order.
func TestFlight(t *testing.T) {
	random := newRandom(t)
	f, table := &flight{}, map[uint16]uint32{}
	var order []uint16
	longest := 0
	for id := uint32(1); id < 300_000; id++ {
		packet, ok := f.add(id)
		if !ok || packet == 0 || table[packet] != 0 {
			t.Fatalf("request %d gets the identifier %d, %v, which is that of %d", id, packet, ok, table[packet])
		}
		table[packet] = id
		order = append(order, packet)
		for len(order) > 0 && random.IntN(50) > 50-len(order) {
			at := random.IntN(min(len(order), 10))
			packet := order[at]
			order = slices.Delete(order, at, at+1)
			if got, ok := f.take(packet); !ok || got != table[packet] {
				t.Fatalf("identifier %d is that of %d, %v, want %d", packet, got, ok, table[packet])
			}
			if got, ok := f.take(packet); ok {
				t.Fatalf("identifier %d is taken twice, the second time for %d", packet, got)
			}
			delete(table, packet)
		}
		longest = max(longest, len(f.ids))
	}
	if longest > 2000 {
		t.Errorf("%d slots for at most 50 requests", longest)
	}
}

// TestFlightIsFull: 65,535 are in flight at most, each gets its own identifier, and a publish too many is not sent.
func TestFlightIsFull(t *testing.T) {
	d, s := ready(t, mqttConfig(1), "tcp://h:1", []byte(connack))
	publish := Publish{Room: 3, Body: []byte("rb1.")}
	for id := uint32(1); id <= identifiers; id++ {
		publish.ID = id
		if len(d.AppendPublish(nil, s, publish)) == 0 {
			t.Fatalf("publish %d is not sent", id)
		}
	}
	publish.ID++
	if out := d.AppendPublish(nil, s, publish); len(out) != 0 {
		t.Errorf("publish %d is sent as %q", publish.ID, out)
	}
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(identifiers) {
		if id, ok := s.flight.take(uint16(i + 1)); !ok || id != uint32(i+1) {
			t.Fatalf("identifier %d is that of %d, %v", i+1, id, ok)
		}
	}
	if got := fmt.Sprint(len(s.flight.ids), cap(s.flight.ids), s.flight.head); got != "0 0 0" {
		t.Errorf("when all are answered this is kept: %s", got)
	}
	if len(d.AppendPublish(nil, s, publish)) == 0 {
		t.Error("identifiers are not given again")
	}
}

func TestMQTTAllocatesNothing(t *testing.T) {
	for qos, message := range []string{"\x30\x09\x00\x02p3rb1.x", "\x32\x0b\x00\x02p3\x12\x34rb1.x"} {
		d, s := ready(t, mqttConfig(qos), "tcp://h:1", []byte(connack))
		wantNoAllocation(t, d, s, []byte(message), Message)
		// To publish, and to take the answer, one after the other.
		buffer, e := make([]byte, 0, 1000), &Event{}
		body := []byte("rb1.x")
		if got := testing.AllocsPerRun(100, func() {
			buffer = d.AppendPublish(buffer[:0], s, Publish{ID: 1, Room: 3, Body: body})
			if qos == 0 {
				return
			}
			packet := buffer[len(buffer)-len(body)-2:]
			buffer = append(buffer[:0], packetPuback<<4, 2, packet[0], packet[1])
			if n, err := d.Read(s, buffer, e); n != 4 || err != nil || e.Kind != Acknowledged {
				t.Fatalf("read %d bytes, %v, %+v", n, err, e)
			}
		}); got > 0 {
			t.Errorf("quality %d: %v allocations to publish, want none", qos, got)
		}
		d, s = ready(t, mqttConfig(qos), "ws://h:1", append(accepted("mqtt"), serverFrame(ws.OpBinary, true, []byte(connack))...))
		wantNoAllocation(t, d, s, serverFrame(ws.OpBinary, true, []byte(message)), Message)
	}
}
