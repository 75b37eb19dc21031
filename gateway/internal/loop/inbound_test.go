package loop

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// TestALongFrameInShortPieces of raw TCP: what has come of it is not put together for each of them.
func TestALongFrameInShortPieces(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(true, proto.Binary)
	c := s.context.(*conn)
	text := strings.Repeat("x", 10_000)
	frame := proto.AppendClientFrame(nil, proto.Binary, &v1.ClientFrame{Id: 7, Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{
		Room: "r", Content: &v1.Publish_Text{Text: text},
	}}})
	ping := proto.AppendClientFrame(nil, proto.Binary, &v1.ClientFrame{Id: 8, Op: &v1.ClientFrame_Ping{Ping: &v1.Ping{}}})
	s.peeked = 0
	for i := range frame {
		s.in = append(s.in, frame[i])
		if i == len(frame)-1 {
			s.in = append(s.in, ping...)
		}
		r.loop.traffic(c)
		if half := c.half != 0; half != (i < len(frame)-1) {
			t.Fatalf("behind %d of %d bytes a half frame is waited for: %v", i+1, len(frame), half)
		}
	}
	if s.peeked > 8*len(frame) {
		t.Errorf("for %d bytes %d were put together", len(frame), s.peeked)
	}
	if n := len(r.rooms.commands); n != 1 || !strings.Contains(string(r.rooms.commands[0].Content), text) {
		t.Errorf("%d publishes came", n)
	}
	if frames := r.sent(s); len(frames) != 1 || frames[0].GetPong() == nil {
		t.Errorf("what came behind it was answered with %v", frames)
	}
}

// TestHalfFramesThatEnd: a frame that begins in one piece and turns out to be none in the next ends the connection then, and what is sent to a
// connection that is closing is not kept.
func TestHalfFramesThatEnd(t *testing.T) {
	for name, c := range map[string]struct {
		second []byte
		code   proto.CloseCode
	}{
		"too long":                {binary.AppendUvarint(nil, 1<<20)[1:], proto.CloseTooBig},
		"a length that is none":   {[]byte{0x80, 0}, proto.CloseBadFrame},
		"one that never ends":     {[]byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80}, proto.CloseBadFrame},
		"whole, and it is no use": {[]byte{0, 0xff}, proto.CloseBadFrame},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			s := r.open(true, proto.Binary)
			conn := s.context.(*conn)
			first := []byte{0x80}
			if c.second[0] == 0 {
				first, c.second = []byte{1}, c.second[1:]
			}
			s.in = append(s.in, first...)
			r.loop.traffic(conn)
			if conn.half == 0 || conn.closed != 0 {
				t.Fatalf("half a frame is waited for: %v; it is closed with %d", conn.half != 0, conn.closed)
			}
			s.in = append(s.in, c.second...)
			r.loop.traffic(conn)
			if conn.closed != c.code.Code {
				t.Fatalf("it is closed with %d, want %d", conn.closed, c.code.Code)
			}
			s.in = append(s.in, 100, 1)
			r.loop.traffic(conn)
			if len(s.in) != 0 {
				t.Errorf("%d bytes are kept behind the end", len(s.in))
			}
		})
	}
	r := newRig(t, func(c *Config) { c.FrameTimeout = 2 * time.Second })
	s := r.open(true, proto.Binary)
	conn := s.context.(*conn)
	for range 50 { // a byte a tick, of a frame of 100
		s.in = append(s.in, 100)
		r.loop.traffic(conn)
		r.loop.engine.started = r.loop.engine.started.Add(-tick)
		r.loop.tick()
	}
	if conn.closed != proto.CloseFrameTimeout.Code {
		t.Errorf("whoever sends a frame for too long is closed with %d", conn.closed)
	}
}
