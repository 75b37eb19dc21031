package benchtest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/golang-jwt/jwt/v5"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

func TestRequestsThatAreRefused(t *testing.T) {
	s := Start(t, Faults{})
	before, long := uint64(1), strings.Repeat("x", 129)
	for _, transport := range transports {
		p := enter(t, s, transport, "alice", lobby)
		for _, c := range []struct {
			request *v1.ClientFrame
			want    proto.ErrorCode
		}{
			{&v1.ClientFrame{}, proto.ErrUnknownOperation},
			{join(lobby), proto.ErrAlreadyJoined},
			{join(""), proto.ErrBadRequest},
			{leave("elsewhere"), proto.ErrNotJoined},
			{publish(long, "", ""), proto.ErrBadRequest},
			{publish(lobby, long, ""), proto.ErrBadRequest},
			{connect("", "bob"), proto.ErrUserChanged},
			{history(&v1.HistoryRequest{}), proto.ErrBadRequest},
			{history(&v1.HistoryRequest{Room: lobby, Limit: 201}), proto.ErrBadRequest},
			{history(&v1.HistoryRequest{Room: lobby, Before: &before, After: &before}), proto.ErrBadRequest},
		} {
			wantError(t, p.call(c.request), c.want)
		}
		p.sendFrames(proto.AppendClientFrame(nil, p.codec, ping()))
		wantError(t, p.reply(0), proto.ErrBadRequest)
		p.connect("alice") // the same user may show a new token
	}
	if truth := s.Truth(); truth.Published != 0 || truth.Refused != 0 {
		t.Errorf("Truth is %+v, want nothing published", truth)
	}
}

func TestJoinSendsWhatCameAfter(t *testing.T) {
	s := Start(t, Faults{Drop: 4})
	for _, transport := range transports {
		room := "room of " + transport
		p := dial(t, s, transport)
		p.connect("alice")
		if joined := p.call(join(room)).GetJoined(); joined.Room != room || joined.Epoch == "" || joined.Head != 0 ||
			joined.Begin != 1 || joined.Recovered != nil {
			t.Errorf("joined is %v", joined)
		}
		epoch := p.replies[p.lastID].GetJoined().Epoch
		for i := range 5 {
			p.call(publish(room, "", fmt.Sprint(i)))
		}
		for _, c := range []struct {
			request   *v1.ClientFrame
			recovered string
			want      string // numbers
		}{
			{joinAfter(room, epoch, 0), "true", "[1 2 3 5]"}, // the fourth is dropped in a catch-up too
			{joinAfter(room, "", 3), "true", "[4 5]"},
			{joinAfter(room, epoch, 5), "true", "[]"},
			{joinAfter(room, epoch, 6), "false", "[]"},
			{joinAfter(room, "another", 0), "false", "[]"},
			{join(room), "absent", "[]"},
		} {
			p.settle()
			p.call(leave(room))
			p.deliveries = nil
			joined := p.call(c.request).GetJoined()
			recovered := "absent"
			if joined.Recovered != nil {
				recovered = fmt.Sprint(joined.GetRecovered())
			}
			if joined.Head != 5 || joined.Begin != 1 || joined.Epoch != epoch || recovered != c.recovered {
				t.Errorf("joined is %v, want the head 5 and recovered %s", joined, c.recovered)
			}
			numbers := []uint64{}
			for _, m := range p.settle() {
				numbers = append(numbers, m.Seq)
			}
			if fmt.Sprint(numbers) != c.want {
				t.Errorf("%v is followed by %v, want %s", c.request, numbers, c.want)
			}
		}
		p.call(publish(room, "", "new"))
		if news := p.settle(); len(news) != 1 || news[0].Seq != 6 || news[0].From != "alice" || news[0].At == 0 {
			t.Errorf("then came %v, want message 6", news)
		}
	}
}

// TestCatchUpStopsAtTheTail: what DropTail keeps back comes with the next publish or never, but not by joining.
func TestCatchUpStopsAtTheTail(t *testing.T) {
	s := Start(t, Faults{DropTail: 2})
	p := enter(t, s, overBinary, "alice", lobby)
	for range 5 {
		p.call(publish(lobby, "", ""))
	}
	q := dial(t, s, overBinary)
	q.connect("bob")
	q.call(joinAfter(lobby, "", 1))
	late := enter(t, s, overBinary, "carol", lobby)
	if n := len(q.settle()); n != 2 {
		t.Errorf("%d deliveries came of the catch-up, want 2 and 3 of 5", n)
	}
	for range 3 {
		p.call(publish(lobby, "", ""))
	}
	for i, m := range q.settle() {
		if m.Seq != uint64(i+2) {
			t.Errorf("delivery %d is message %d", i+1, m.Seq)
		}
	}
	if got := late.settle(); len(got) != 1 || got[0].Seq != 6 || len(q.deliveries) != 5 || len(p.settle()) != 6 {
		t.Errorf("who joined later got %v, want 6 only; the others %d and %d, want 5 and 6", got, len(q.deliveries), len(p.deliveries))
	}
	if truth := s.Truth(); truth.TailKept != 6 {
		t.Errorf("Truth is %+v, want 6 kept back", truth)
	}
}

// TestOldMessagesAreForgotten: the room keeps so many, and says from where on.
func TestOldMessagesAreForgotten(t *testing.T) {
	s := Start(t, Faults{})
	p := dial(t, s, overBinary)
	p.connect("alice")
	var frames []byte
	for range keepMessages + 10 {
		request := publish(lobby, "", "")
		p.lastID++
		request.Id = p.lastID
		if frames = proto.AppendClientFrame(frames, p.codec, request); len(frames) > 10_000 {
			p.sendFrames(frames)
			frames = nil
			p.reply(p.lastID)
		}
	}
	p.sendFrames(frames)
	p.settle()
	id := p.send(joinAfter(lobby, "", 5))
	if joined := p.reply(id).GetJoined(); joined.Begin != 11 || joined.Head != keepMessages+10 || !joined.GetRecovered() {
		t.Errorf("joined is %v, want it to begin at 11", joined)
	}
	gap := p.reply(0).GetGap()
	if gap.GetFirst() != 6 || gap.GetLast() != 10 || gap.GetReason() != proto.GapExpired {
		t.Errorf("the gap is %v, want 6 to 10", gap)
	}
	if came := p.settle(); len(came) != keepMessages || came[0].Seq != 11 {
		t.Errorf("%d messages came, want %d from 11 on", len(came), keepMessages)
	}
}

func history(request *v1.HistoryRequest) *v1.ClientFrame {
	return &v1.ClientFrame{Op: &v1.ClientFrame_History{History: request}}
}

func TestHistory(t *testing.T) {
	s := Start(t, Faults{AckLie: 4})
	number := func(n uint64) *uint64 { return &n }
	for _, transport := range transports {
		room := "room of " + transport
		p := dial(t, s, transport)
		p.connect("alice")
		for i := range 8 { // the numbers 1 to 8, of which 4 and 8 are lied
			p.call(publish(room, "", fmt.Sprint(i+1)))
		}
		for _, c := range []struct {
			request *v1.HistoryRequest
			want    string
			more    bool
		}{
			{&v1.HistoryRequest{}, "[1 2 3 5 6 7]", false},
			{&v1.HistoryRequest{Limit: 3}, "[5 6 7]", true},
			{&v1.HistoryRequest{Before: number(5), Limit: 2}, "[2 3]", true},
			{&v1.HistoryRequest{Before: number(3)}, "[1 2]", false},
			{&v1.HistoryRequest{Before: number(0)}, "[]", false},
			{&v1.HistoryRequest{After: number(2), Limit: 2}, "[3 5]", true},
			{&v1.HistoryRequest{After: number(5)}, "[6 7]", false},
			{&v1.HistoryRequest{After: number(99)}, "[]", false},
		} {
			c.request.Room = room
			page := p.call(history(c.request)).GetHistory()
			texts := []string{}
			for _, m := range page.GetMessages() {
				texts = append(texts, m.GetText())
			}
			if fmt.Sprint(texts) != c.want || page.GetMore() != c.more || page.GetBegin() != 1 || page.GetRoom() != room {
				t.Errorf("%v gives %v, want %s and more %v", c.request, page, c.want, c.more)
			}
		}
	}
}

func TestHistoryPageEndsAtItsBytes(t *testing.T) {
	s := Start(t, Faults{})
	p := dial(t, s, overBinary)
	p.connect("alice")
	for range 3 {
		p.call(publish(lobby, "", strings.Repeat("x", proto.MaxPageBytes/2-100)))
	}
	page := p.call(history(&v1.HistoryRequest{Room: lobby})).GetHistory()
	if len(page.GetMessages()) != 2 || !page.GetMore() {
		t.Errorf("%d messages are in the page, more is %v; want 2 and more", len(page.GetMessages()), page.GetMore())
	}
}

func TestConnectWantsItsToken(t *testing.T) {
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "alice"}).SignedString([]byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	s := Start(t, Faults{}, func(c *Config) { c.Token = token })
	for _, transport := range transports {
		p := dial(t, s, transport)
		reply := p.call(connect(token, ""))
		if reply.GetConnected().GetUser() != "alice" || reply.GetConnected().GetHeartbeatMs() != 25000 {
			t.Errorf("connect with the token: %v, want alice", reply)
		}
		p = dial(t, s, transport)
		wantError(t, p.call(connect("", "bob")), proto.ErrUnauthorized)
		p.wantClosed(proto.CloseUnauthorized)
	}
	any := dial(t, Start(t, Faults{}), overBinary)
	if reply := any.call(connect("x", "")); reply.GetConnected().GetUser() == "" {
		t.Errorf("connect with any token: %v", reply)
	}
}

func TestWhatEndsAConnection(t *testing.T) {
	s := Start(t, Faults{})
	huge := ws.MustCompileFrame(ws.Frame{Header: ws.Header{Fin: true, Masked: true, OpCode: ws.OpBinary, Length: 0}})
	huge = append(huge[:1], 0x80|127, 0, 0, 0, 0, 0, 16, 0, 1, 0, 0, 0, 0) // 1 MiB and a byte announced
	tooEarly := func(p *peer) { wantError(t, p.call(join(lobby)), proto.ErrNotConnected) }
	for _, c := range []struct {
		name      string
		transport string
		send      func(*peer)
		want      proto.CloseCode
	}{
		{"a request before connect", overBinary, tooEarly, proto.CloseNotConnected},
		{"a request before connect", overStream, tooEarly, proto.CloseNotConnected},
		{"no frame", overBinary, func(p *peer) { p.sendFrames([]byte{3, 255, 255, 255}) }, proto.CloseBadFrame},
		{"half a frame", overBinary, func(p *peer) { p.sendFrames([]byte{3, 1}) }, proto.CloseBadFrame},
		{"no JSON", overJSON, func(p *peer) { p.sendFrames([]byte("hello")) }, proto.CloseBadFrame},
		{"no frame", overStream, func(p *peer) { p.sendFrames([]byte{3, 255, 255, 255}) }, proto.CloseBadFrame},
		{"no length", overStream, func(p *peer) { p.sendFrames([]byte{255, 255, 255, 255, 255}) }, proto.CloseBadFrame},
		{"a long frame", overStream, func(p *peer) { p.sendFrames([]byte{0x81, 0x80, 0x40}) }, proto.CloseTooBig},
		{"text", overBinary, func(p *peer) { p.sendMessage(ws.OpText, []byte("{}")) }, proto.CloseUnsupported},
		{"binary", overJSON, func(p *peer) { p.sendMessage(ws.OpBinary, []byte{0}) }, proto.CloseUnsupported},
		{"no UTF-8", overJSON, func(p *peer) { p.sendMessage(ws.OpText, []byte{255}) }, proto.CloseInvalidUTF8},
		{"no mask", overBinary, func(p *peer) { p.write(ws.MustCompileFrame(ws.NewBinaryFrame([]byte{0}))) }, proto.CloseProtocol},
		{"a long message", overBinary, func(p *peer) { p.write(huge) }, proto.CloseTooBig},
		{"the client", overJSON, func(p *peer) { p.sendMessage(ws.OpClose, ws.NewCloseFrameBody(1000, "bye")) }, proto.CloseNormal},
	} {
		t.Run(c.transport+"/"+c.name, func(t *testing.T) {
			p := dial(t, s, c.transport)
			c.send(p)
			p.wantClosed(c.want)
		})
	}
}

func TestOtherBeginnings(t *testing.T) {
	s := Start(t, Faults{})
	speak := func(begin string) *peer {
		socket, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		p := dial(t, s, overStream)
		p.socket.Close()
		p.socket = socket
		p.in.Reset(socket)
		if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { socket.Close() })
		p.write([]byte(begin))
		return p
	}
	speak("ROOKERY\x02").wantClosed(proto.CloseVersion)
	if err := speak("SSH-2.0-").end(); err != io.EOF {
		t.Errorf("a stranger's connection ended with %v, want no answer", err)
	}
	answer, err := http.Get("http://" + s.Addr() + "/elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusNotFound {
		t.Errorf("another path is answered with %s", answer.Status)
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestCodecOfTheFirstMessage: without a subprotocol it decides.
func TestCodecOfTheFirstMessage(t *testing.T) {
	s := Start(t, Faults{})
	for _, codec := range []proto.Codec{proto.Binary, proto.JSON} {
		p := dial(t, s, overRelay)
		p.codec = codec
		p.connect("alice")
		p.call(join(lobby))
		p.call(publish(lobby, "", "hello"))
		p.delivered(1)
	}
}

// TestFragmentsAndPings: as RFC 6455 section 5.4 allows, a Ping comes between the parts of a message.
func TestFragmentsAndPings(t *testing.T) {
	s := Start(t, Faults{})
	p := enter(t, s, overBinary, "alice", lobby)
	var frames []byte
	for i := range 2 { // many requests in a message
		request := publish(lobby, "", fmt.Sprint(i))
		request.Id = uint64(100 + i)
		frames = proto.AppendClientFrame(frames, p.codec, request)
	}
	part := func(kind ws.OpCode, last bool, payload []byte) {
		p.write(ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(kind, last, bytes.Clone(payload)))))
	}
	part(ws.OpBinary, false, frames[:3])
	part(ws.OpPing, true, []byte("there?"))
	part(ws.OpContinuation, false, frames[3:9])
	part(ws.OpContinuation, true, frames[9:])
	p.reply(100)
	p.reply(101)
	p.settle() // in a message of one part again
	if fmt.Sprint(p.pongs) != "[there?]" {
		t.Errorf("the pongs are %q", p.pongs)
	}
}
