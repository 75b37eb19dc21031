package loop

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/proto"
)

// closedBook lets nobody in.
type closedBook struct{}

func (closedBook) Authenticate(_, _ string) (identity.Identity, error) {
	return identity.Identity{}, identity.ErrTokenInvalid
}

func denialRig(t *testing.T) (*rig, *bytes.Buffer) {
	lines := &bytes.Buffer{}
	return newRig(t, func(c *Config) {
		c.Rules = Rules{Auth: closedBook{}}
		c.Log = slog.New(slog.NewTextHandler(lines, nil))
	}), lines
}

// TestLinesOfAnAddressAreBounded: a filter needs ten of them, and a disk is finite.
func TestLinesOfAnAddressAreBounded(t *testing.T) {
	r, lines := denialRig(t)
	for range 300 {
		r.as(nil, "x")
	}
	if n := strings.Count(lines.String(), "address=127.0.0.1 reason=bad_token conn="); n < 20 || n > 40 {
		t.Errorf("300 failures in a moment are %d lines", n)
	}
	if d, u := r.loop.counted.Denied[deniedToken].Load(), r.loop.counted.Unlogged.Load(); d != 300 || u < 260 {
		t.Errorf("%d failures are counted, %d of them without a line", d, u)
	}
	lines.Reset()
	s := &fakeSocket{room: 1 << 30, loop: r.events, from: "2001:db8::7"}
	r.loop.accept(s)
	s.in = []byte("EHLO x\r\n")
	r.loop.traffic(s.context.(*conn))
	if !strings.Contains(lines.String(), "level=WARN msg=\"access denied\" address=2001:db8::7 reason=bad_handshake conn=") {
		t.Errorf("another address: %q", lines)
	}
}

// TestWhoIsBannedIsDenied when they connect; that one who is here is banned is the moderator's doing.
func TestWhoIsBannedIsDenied(t *testing.T) {
	r, lines := denialRig(t)
	r.loop.engine.SetRules(Rules{Auth: anyone{}})
	s := r.as(nil, "mallory")
	r.loop.cfg.Members.(*fakeMembers).banned = map[string]int64{"mallory": handoff.ForEver}
	r.put(handoff.Event{Kind: handoff.Banned, Member: &handoff.Membership{User: "mallory"}})
	r.work()
	if code := closedWith(s); code != proto.CloseBanned.Code || lines.Len() > 0 {
		t.Errorf("closed with %d, and the line %q", code, lines)
	}
	if s = r.as(nil, "mallory"); closedWith(s) != proto.CloseBanned.Code {
		t.Errorf("a connect is closed with %d", closedWith(s))
	}
	if n := strings.Count(lines.String(), "\n"); n != 1 || !strings.Contains(lines.String(), " reason=banned conn=") {
		t.Errorf("a connect has the lines %q", lines)
	}
}

// TestWhatAPageCanMakeItsVisitorsSendIsNoDenial: else any site could have its visitors banned here.
func TestWhatAPageCanMakeItsVisitorsSendIsNoDenial(t *testing.T) {
	const upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
	for _, c := range []struct {
		request string
		line    bool
	}{
		{"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", false},
		{"POST /ws HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na=b", false},
		{"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", false},
		{"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", false},
		{"GET /ws HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\n" + upgrade + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", false},
		{"GET / HTTP/1.1\r\nCookie: " + strings.Repeat("x", 9<<10) + "\r\n\r\n", false},
		{"GET /ws HTTP/1.1\r\nHost: x\r\n" + upgrade + "Sec-WebSocket-Key: short\r\n\r\n", true},
		{"GET / HTTP/1.1\r\nHost : x\r\n\r\n", true},
		{"GET / HTTP/1.1\nHost: x\n\n", true},
	} {
		r, lines := denialRig(t)
		s := &fakeSocket{room: 1 << 30, loop: r.events, in: []byte(c.request)}
		r.loop.accept(s)
		r.loop.traffic(s.context.(*conn))
		if got := strings.Contains(lines.String(), "access denied"); got != c.line {
			t.Errorf("%.60q: a line %v, want %v: %s", c.request, got, c.line, lines)
		}
	}
}
