package crowd

import (
	"testing"

	"rookery/bench/internal/ledger"
	"rookery/bench/plan"
	"rookery/bench/result"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// frames is what a server would write.
func frames(list ...*v1.ServerFrame) (b []byte) {
	for _, f := range list {
		b = proto.AppendServerFrame(b, proto.Binary, f)
	}
	return b
}

// TestWhatCameBeforeIsTakenAgain: the same bytes are entered for each member by its own account, and nothing else goes the short way.
func TestWhatCameBeforeIsTakenAgain(t *testing.T) {
	s := stand(t, func(p *plan.Plan) { p.Clients.Connections = 3 })
	s.ask(func() {
		c := s.crowd
		received := func(slot int, in []byte) {
			t.Helper()
			if n := c.Received(slot, in); n != len(in) {
				t.Fatalf("%d of %d bytes were taken", n, len(in))
			}
		}
		for slot := range 3 {
			received(slot, frames(&v1.ServerFrame{Id: 1 << 32, Op: &v1.ServerFrame_Connected{Connected: &v1.Connected{}}}))
			s.admit(slot, 0)
		}
		sent := func(user uint32, seq uint64) *v1.ServerFrame {
			body := c.finder.Append(nil, ledger.Stamp{User: user, Seq: uint32(seq), Due: c.now()}, ledger.StampBytes)
			return &v1.ServerFrame{Op: &v1.ServerFrame_Message{Message: &v1.Message{Room: "r-0", Seq: seq, From: "x", Content: &v1.Message_Text{Text: string(body)}}}}
		}
		foreign := &v1.ServerFrame{Op: &v1.ServerFrame_Message{Message: &v1.Message{Room: "r-0", Seq: 4, From: "x", Content: &v1.Message_Text{Text: "of others"}}}}
		ping := &v1.ServerFrame{Op: &v1.ServerFrame_Ping{Ping: &v1.Ping{}}}
		remembered := func(what string, in []byte, want bool) {
			t.Helper()
			if got := c.alike.same(&c.users[1].session, in); got != want {
				t.Errorf("%s: remembered is %v", what, got)
			}
		}

		three := frames(sent(0, 1), sent(1, 2), sent(0, 3))
		received(0, three)
		remembered("three messages", three, true)
		received(1, three)
		s.want("two members have three", result.Counts{Delivered: 6})
		received(1, three)
		s.want("one has them twice", result.Counts{Delivered: 6, Duplicated: 3})

		others := frames(sent(0, 4), sent(1, 5), sent(0, 6))
		if remembered("as many others", others, false); len(others) != len(three) {
			t.Fatal("they are not as long, which shows nothing")
		}
		c.users[1].session.User++ // whose it is does not matter
		remembered("three messages, for another user", three, true)

		for what, in := range map[string][]byte{
			"a ping behind a message": frames(sent(0, 4), ping),
			"a ping before a message": frames(ping, sent(0, 4)),
			"a message of others":     frames(sent(0, 4), foreign),
			"one of others at first":  frames(foreign, sent(0, 4)),
			"half a message more":     append(frames(sent(0, 4)), three[:10]...),
		} {
			c.Received(2, in)
			remembered(what, in, false)
			remembered("what came before "+what, three, true)
		}
	})
}
