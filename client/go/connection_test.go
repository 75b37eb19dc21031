package client

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

func TestHeartbeatAsksBeforeItGivesUp(t *testing.T) {
	for _, url := range []string{"ws://fake", "tcp://raw:1"} {
		t.Run(url, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeServer(t)
				var states history
				start(t, s, zero, func(c *Config) { c.URL = url; c.OnState = states.add })
				p := s.welcome() // heartbeat of 25 s
				time.Sleep(24 * time.Second)
				if pings, _ := p.seen(); pings != 0 {
					t.Errorf("%d pings after 24 s; want none", pings)
				}
				time.Sleep(2 * time.Second)
				if pings, _ := p.seen(); pings != 1 {
					t.Errorf("%d pings after 26 s; want one", pings)
				}
				time.Sleep(10 * time.Minute) // every ping is answered
				if pings, _ := p.seen(); pings < 20 {
					t.Errorf("%d pings in ten minutes; want one in 25 s", pings)
				}
				p.mu.Lock()
				p.mute = true
				p.mu.Unlock()
				silent := time.Now()
				s.welcome()
				if got := time.Since(silent); got < 25*time.Second || got > 50*time.Second {
					t.Errorf("came back %v after the server fell silent; want one to two heartbeats", got)
				}
			})
		})
	}
}

func TestMessagesAreSignsOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		messages := follow(t, join(c, p, "lobby", JoinOptions{}, live("e", 0)))
		for seq := uint64(1); seq <= 10; seq++ {
			time.Sleep(20 * time.Second)
			p.send(messageFrame("lobby", seq))
		}
		messages.expect(1, 10)
		if pings, _ := p.seen(); pings != 0 {
			t.Errorf("%d pings while messages came; want none", pings)
		}
	})
}

func TestWakeChecksTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		c.Wake()
		synctest.Wait()
		if pings, _ := p.seen(); pings != 1 {
			t.Errorf("%d pings after Wake; want one", pings)
		}
		time.Sleep(10 * time.Second)
		p.quiet() // it was answered
		p.mu.Lock()
		p.mute = true
		p.mu.Unlock()
		c.Wake()
		began := time.Now()
		s.welcome()
		if got := time.Since(began); got != 5*time.Second {
			t.Errorf("came back after %v; want 5 s", got)
		}
	})
}

func TestProbesAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		start(t, s, zero, func(c *Config) { c.URL = "tcp://raw:1" })
		p := s.welcome()
		p.send(&v1.ServerFrame{Op: &v1.ServerFrame_Ping{Ping: &v1.Ping{}}})
		synctest.Wait()
		if pings, _ := p.seen(); pings != 1 {
			t.Errorf("%d pings after the server's probe; want one", pings)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		start(t, s, zero, nil)
		p := s.welcome()
		p.write(ws.NewPingFrame([]byte("are you there")), ws.NewPongFrame(nil))
		synctest.Wait()
		if _, pongs := p.seen(); !slices.Equal(pongs, []string{"are you there"}) {
			t.Errorf("pongs are %q; want the ping's payload", pongs)
		}
	})
}

func TestFragmentsWithControlFramesBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		messages := follow(t, join(c, p, "lobby", JoinOptions{}, live("e", 0)))
		var payload []byte
		for _, f := range messageFrames("lobby", 1, 3) {
			payload = proto.AppendServerFrame(payload, proto.Binary, f)
		}
		for cut := range len(payload) {
			first := uint64(cut)*3 + 1
			payload = payload[:0]
			for _, f := range messageFrames("lobby", first, first+2) {
				payload = proto.AppendServerFrame(payload, proto.Binary, f)
			}
			p.write(ws.NewFrame(ws.OpBinary, false, payload[:cut]),
				ws.NewPingFrame(nil),
				ws.NewFrame(ws.OpContinuation, true, payload[cut:]))
			messages.expect(first, first+2)
		}
	})
}

func TestGarbageEndsTheConnectionButNotTheClient(t *testing.T) {
	for name, frame := range map[string]ws.Frame{
		"no frame":            ws.NewBinaryFrame([]byte{0x05, 0xff}),
		"length without end":  ws.NewBinaryFrame([]byte{0xff, 0xff, 0xff, 0xff, 0xff}),
		"text":                ws.NewTextFrame([]byte(`{"pong":{}}`)),
		"continuation first":  ws.NewFrame(ws.OpContinuation, true, nil),
		"reserved bit":        {Header: ws.Header{Fin: true, OpCode: ws.OpBinary, Rsv: ws.Rsv(true, false, false)}},
		"masked":              ws.MaskFrame(ws.NewBinaryFrame([]byte("x"))),
		"more than we'd hold": {Header: ws.Header{Fin: true, OpCode: ws.OpBinary, Length: maxReceive + 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeServer(t)
				var states history
				start(t, s, zero, func(c *Config) { c.OnState = states.add })
				p := s.welcome()
				if frame.Header.Length > maxReceive {
					ws.WriteHeader(p.conn, frame.Header)
				} else {
					p.write(frame)
				}
				if got := p.ended(); got != proto.CloseBadFrame.Code {
					t.Errorf("closed with %d; want 4500", got)
				}
				s.welcome()
			})
		})
	}
}

func TestUnknownFramesAreNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		p.send(
			&v1.ServerFrame{},        // an operation of a later version
			&v1.ServerFrame{Id: 999}, // a reply to nothing
			messageFrame("never joined", 1),
		)
		go func() { p.send(publishedFrame(p.next(), 1)) }()
		if _, err := c.Publish(t.Context(), "lobby", "x"); err != nil {
			t.Error(err)
		}
	})
}

func TestReplyOfTheWrongKindIsAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := start(t, s, zero, nil)
		p := s.welcome()
		pending := enqueue(t, c, "lobby", "k")
		p.send(&v1.ServerFrame{Id: p.next().Id, Op: &v1.ServerFrame_Pong{Pong: &v1.Pong{}}})
		if got := p.ended(); got != proto.CloseBadFrame.Code {
			t.Errorf("closed with %d; want 4500", got)
		}
		p = s.welcome()
		p.send(publishedFrame(p.expectPublish("k", "k"), 1))
		if _, err := outcome(pending); err != nil {
			t.Error(err)
		}
	})
}

func TestEndOfTheSocketSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		s2 := make(chan error, 100)
		start(t, s, almostOne, func(c *Config) {
			c.OnState = func(change StateChange) { s2 <- change.Err }
		})
		s.welcome().drop()
		synctest.Wait()
		var lost *CloseError
		for len(s2) > 0 {
			if err := <-s2; err != nil && (!errors.As(err, &lost) || lost.Code != codeLost) {
				t.Errorf("error is %v; want code 1006", err)
			}
		}
		if lost == nil {
			t.Error("the loss was not told")
		}
	})
}

// TestCloseReasonIsCutBetweenCharacters: the reason may name a room, in any script.
func TestCloseReasonIsCutBetweenCharacters(t *testing.T) {
	in := bytes.NewReader(newWebSocket(nil).appendClose(nil, 4500, "a"+strings.Repeat("ü", 64)))
	header, err := ws.ReadHeader(in)
	if err != nil || header.Length > 125 || header.Length != int64(in.Len()) {
		t.Fatalf("sent %+v, %v, before %d bytes", header, err, in.Len())
	}
	body := make([]byte, in.Len())
	in.Read(body)
	ws.Cipher(body, header.Mask, 0)
	code, reason := ws.ParseCloseFrameData(body)
	if want := "a" + strings.Repeat("ü", 61); code != 4500 || reason != want {
		t.Errorf("sent code %d, reason %q; want 4500, %q", code, reason, want)
	}
}
