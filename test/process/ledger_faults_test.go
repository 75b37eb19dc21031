package process

import (
	"strings"
	"testing"

	v1 "rookery/proto/rookery/v1"
)

// TestLedgerFindsWhatIsWrong shows that the crash test can fail: each story has one fault.
func TestLedgerFindsWhatIsWrong(t *testing.T) {
	const room = "r"
	told := func(seq uint64, key string) *v1.Message {
		return &v1.Message{Room: room, Seq: seq, At: 100 + seq, From: "w", Content: &v1.Message_Text{Text: contentOf(key)}}
	}
	reply := func(seq uint64) *v1.Published { return &v1.Published{Room: room, Seq: seq, At: 100 + seq} }
	recovered := true
	for _, c := range []struct {
		name  string
		story func(l *ledger, p map[string]publication, reader *position)
		want  string // empty: no fault
	}{
		{"all is well", func(l *ledger, p map[string]publication, reader *position) {
			l.acknowledge(p["k1"], reply(1))
			l.acknowledge(p["k1"], reply(1))
			l.acknowledge(p["k2"], reply(2))
			reader.joined(&v1.Joined{Room: room, Epoch: "e", Head: 1, Recovered: &recovered})
			reader.message(told(1, "k1"))
			reader.message(told(2, "k2"))
			reader.joined(&v1.Joined{Room: room, Epoch: "e", Head: 2, Recovered: &recovered})
			reader.message(told(3, "k3"))
			a := l.audit(room, 0)
			a.message(told(1, "k1"))
			a.message(told(2, "k2"))
			a.message(told(3, "k3"))
			a.end()
		}, ""},
		{"an acknowledged message is gone", func(l *ledger, p map[string]publication, _ *position) {
			l.acknowledge(p["k1"], reply(1))
			l.acknowledge(p["k2"], reply(2))
			a := l.audit(room, 0)
			a.message(told(1, "k1"))
			a.end()
		}, "LOST: r 2, k2, was acknowledged"},
		{"a message that a reader saw is gone", func(l *ledger, _ map[string]publication, reader *position) {
			reader.message(told(1, "k1"))
			l.audit(room, 0).end()
		}, "LOST: r 1, k1, was shown to a reader"},
		{"an acknowledged place holds another message", func(l *ledger, p map[string]publication, _ *position) {
			l.acknowledge(p["k1"], reply(1))
			l.audit(room, 0).message(told(1, "k2"))
		}, "two contents at r 1"},
		{"two readers see two contents", func(l *ledger, _ map[string]publication, reader *position) {
			reader.message(told(1, "k1"))
			other := &position{ledger: l, reader: "other", room: room}
			other.message(told(1, "k2"))
		}, "two contents at r 1"},
		{"content was changed", func(_ *ledger, _ map[string]publication, reader *position) {
			m := told(1, "k1")
			m.Content = &v1.Message_Text{Text: contentOf("k1") + "!"}
			reader.message(m)
		}, "was changed"},
		{"content is nobody's", func(_ *ledger, _ map[string]publication, reader *position) {
			reader.message(told(1, "k9"))
		}, "nobody sent"},
		{"the sender is another", func(_ *ledger, _ map[string]publication, reader *position) {
			m := told(1, "k1")
			m.From = "mallory"
			reader.message(m)
		}, "as one of mallory"},
		{"the time is another", func(l *ledger, p map[string]publication, reader *position) {
			l.acknowledge(p["k1"], reply(1))
			m := told(1, "k1")
			m.At++
			reader.message(m)
		}, "two times at r 1"},
		{"a retry is stored a second time", func(l *ledger, p map[string]publication, _ *position) {
			l.acknowledge(p["k1"], reply(1))
			l.acknowledge(p["k1"], reply(2))
		}, "k1 is in r twice"},
		{"history has a message twice", func(l *ledger, _ map[string]publication, _ *position) {
			a := l.audit(room, 0)
			a.message(told(1, "k1"))
			a.message(told(2, "k1"))
		}, "k1 is in r twice"},
		{"history has a hole", func(l *ledger, _ map[string]publication, _ *position) {
			a := l.audit(room, 0)
			a.message(told(1, "k1"))
			a.message(told(3, "k3"))
		}, "3 comes after 1"},
		{"a reader has a gap", func(_ *ledger, _ map[string]publication, reader *position) {
			reader.message(told(1, "k1"))
			reader.message(told(3, "k3"))
		}, "gap in r, 3 came after 1"},
		{"a reader sees a repetition", func(_ *ledger, _ map[string]publication, reader *position) {
			reader.message(told(1, "k1"))
			reader.message(told(1, "k1"))
		}, "1 came again after 1"},
		{"a position is void", func(_ *ledger, _ map[string]publication, reader *position) {
			reader.message(told(1, "k1"))
			no := false
			reader.joined(&v1.Joined{Room: room, Epoch: "e", Recovered: &no})
		}, "is void"},
		{"the epoch changes", func(_ *ledger, _ map[string]publication, reader *position) {
			reader.joined(&v1.Joined{Room: room, Epoch: "e", Recovered: &recovered})
			reader.joined(&v1.Joined{Room: room, Epoch: "f", Recovered: &recovered})
		}, "epoch of r was e"},
		{"a publish is answered for another room", func(l *ledger, p map[string]publication, _ *position) {
			l.acknowledge(p["k1"], &v1.Published{Room: "other", Seq: 1})
		}, "was answered with"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLedger()
			p := map[string]publication{}
			for _, key := range []string{"k1", "k2", "k3"} {
				p[key] = l.publish(room, "w", key)
			}
			c.story(l, p, &position{ledger: l, reader: "reader", room: room})
			got := l.verdict()
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("the ledger says %q, want %q", got, c.want)
			}
			if c.want != "" && strings.Count(got, "\n") > 0 {
				t.Errorf("one fault gives more than one line:\n%s", got)
			}
		})
	}
}
