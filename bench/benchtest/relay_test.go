package benchtest

import (
	"fmt"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func echo(c *Config)      { c.Mode = Echo }
func broadcast(c *Config) { c.Mode = Broadcast }

// relayed reads n messages, and checks that they are of this kind.
func (p *peer) relayed(kind ws.OpCode, n int) []string {
	p.t.Helper()
	var texts []string
	for range n {
		got, payload, err := p.receiveMessage()
		if err != nil || got != kind {
			p.t.Fatalf("after %q came a message of kind %d, and %v; want %d more of kind %d", texts, got, err, n-len(texts), kind)
		}
		texts = append(texts, string(payload))
	}
	return texts
}

// wantNothing checks that nothing comes before the answer to a Ping.
func (p *peer) wantNothing() {
	p.t.Helper()
	p.sendMessage(ws.OpPing, []byte("nothing"))
	p.sendMessage(ws.OpClose, nil)
	_, payload, err := p.receiveMessage()
	if err == nil || len(p.pongs) != 1 || p.pongs[0] != "nothing" {
		p.t.Errorf("there is %q, then %v after the pongs %q; want one pong and the end", payload, err, p.pongs)
	}
}

func TestEcho(t *testing.T) {
	for _, kind := range []ws.OpCode{ws.OpText, ws.OpBinary} {
		s := Start(t, Faults{}, echo)
		a, b := dial(t, s, overRelay), dial(t, s, overRelay)
		for _, text := range []string{"one", "", "ROOKERY\x01", "three"} {
			a.sendMessage(kind, []byte(text))
			if got := a.relayed(kind, 1); got[0] != text {
				t.Errorf("%q came back as %q", text, got[0])
			}
		}
		a.wantNothing()
		b.wantNothing()
		if truth := s.Truth(); truth.Published != 4 || truth.Delivered != 4 || truth.Connected != 2 {
			t.Errorf("Truth is %+v, want 2 connected, 4 published and delivered", truth)
		}
	}
}

func TestBroadcast(t *testing.T) {
	for _, kind := range []ws.OpCode{ws.OpText, ws.OpBinary} {
		s := Start(t, Faults{}, broadcast)
		peers := []*peer{dial(t, s, overRelay), dial(t, s, overRelay), dial(t, s, overRelay)}
		for i, sender := range peers {
			sender.sendMessage(kind, fmt.Append(nil, i))
			for _, p := range peers {
				if got := p.relayed(kind, 1); got[0] != fmt.Sprint(i) {
					t.Errorf("message %d came as %q", i, got[0])
				}
			}
		}
		for _, p := range peers {
			p.wantNothing()
		}
		if truth := s.Truth(); truth.Published != 3 || truth.Delivered != 9 || truth.Connected != 3 {
			t.Errorf("Truth is %+v, want 3 connected and published, 9 delivered", truth)
		}
	}
}

// TestRelaysDoWrongToo: with the faults of deliveries that they can have.
func TestRelaysDoWrongToo(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults Faults
		want   []string // of 1 to 6
		truth  Truth
	}{
		{"drop", Faults{Drop: 2}, []string{"1", "3", "5"}, Truth{Dropped: 3}},
		{"drop the tail", Faults{DropTail: 2}, []string{"1", "2", "3", "4"}, Truth{TailKept: 2}},
		{"duplicate", Faults{Duplicate: 4}, []string{"1", "2", "3", "4", "4", "5", "6"}, Truth{Duplicated: 1}},
		{"swap", Faults{Swap: 4, SwapWait: time.Hour}, []string{"1", "2", "3", "5", "4", "6"}, Truth{Swapped: 1}},
		{"garble", Faults{Garble: 3}, []string{"1", "2", "x", "4", "5", "x"}, Truth{Garbled: 2}},
	} {
		for mode, option := range map[string]func(*Config){"echo": echo, "broadcast": broadcast} {
			t.Run(mode+"/"+c.name, func(t *testing.T) {
				s := Start(t, c.faults, option)
				p := dial(t, s, overRelay)
				for i := 1; i <= 6; i++ {
					p.sendMessage(ws.OpText, fmt.Append(nil, i))
				}
				if got := p.relayed(ws.OpText, len(c.want)); fmt.Sprint(got) != fmt.Sprint(c.want) {
					t.Errorf("%q came, want %q", got, c.want)
				}
				p.wantNothing() // all six were read, then
				want := c.truth
				want.Accepted, want.Connected, want.Published, want.Delivered = 1, 1, 6, int64(len(c.want))
				truth := s.Truth()
				truth.FirstPublish = time.Time{}
				if fmt.Sprint(truth) != fmt.Sprint(want) {
					t.Errorf("Truth is\n%+v, want\n%+v", truth, want)
				}
			})
		}
	}
}
