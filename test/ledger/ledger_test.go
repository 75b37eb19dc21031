package ledger

import (
	"strings"
	"testing"

	v1 "rookery/proto/rookery/v1"
)

func contentOf(key string) string { return key + " and what is behind it" }

// TestLedgerFindsWhatIsWrong shows that the tests which use it can fail: each story has one fault.
func TestLedgerFindsWhatIsWrong(t *testing.T) {
	const room = "r"
	told := func(seq uint64, key string) *v1.Message {
		return &v1.Message{Room: room, Seq: seq, At: 100 + seq, From: "w", Content: &v1.Message_Text{Text: contentOf(key)}}
	}
	reply := func(seq uint64) *v1.Published { return &v1.Published{Room: room, Seq: seq, At: 100 + seq} }
	recovered := true
	for _, c := range []struct {
		name  string
		story func(l *Ledger, p map[string]Publication, reader *Position)
		want  string // empty: no fault
	}{
		{"all is well", func(l *Ledger, p map[string]Publication, reader *Position) {
			l.Acknowledge(p["k1"], reply(1))
			l.Acknowledge(p["k1"], reply(1))
			l.Acknowledge(p["k2"], reply(2))
			reader.Joined(&v1.Joined{Room: room, Epoch: "e", Head: 1, Recovered: &recovered})
			reader.Message(told(1, "k1"))
			reader.Message(told(2, "k2"))
			reader.Joined(&v1.Joined{Room: room, Epoch: "e", Head: 2, Recovered: &recovered})
			reader.Message(told(3, "k3"))
			a := l.Audit(room, 0)
			a.Message(told(1, "k1"))
			a.Message(told(2, "k2"))
			a.Message(told(3, "k3"))
			a.End()
		}, ""},
		{"retention took what was told of", func(l *Ledger, p map[string]Publication, reader *Position) {
			l.Acknowledge(p["k1"], reply(1))
			l.Acknowledge(p["k3"], reply(3))
			reader.Expire(2)
			reader.Message(told(3, "k3"))
			a := l.Audit(room, 0)
			a.Expire(2)
			a.Message(told(3, "k3"))
			a.End()
		}, ""},
		{"retention took what was told of, and the rest is gone", func(l *Ledger, p map[string]Publication, _ *Position) {
			l.Acknowledge(p["k1"], reply(1))
			l.Acknowledge(p["k2"], reply(2))
			a := l.Audit(room, 0)
			a.Expire(1)
			a.End()
		}, "LOST: r 2, k2, was acknowledged"},
		{"an acknowledged message is gone", func(l *Ledger, p map[string]Publication, _ *Position) {
			l.Acknowledge(p["k1"], reply(1))
			l.Acknowledge(p["k2"], reply(2))
			a := l.Audit(room, 0)
			a.Message(told(1, "k1"))
			a.End()
		}, "LOST: r 2, k2, was acknowledged"},
		{"a message that a reader saw is gone", func(l *Ledger, _ map[string]Publication, reader *Position) {
			reader.Message(told(1, "k1"))
			l.Audit(room, 0).End()
		}, "LOST: r 1, k1, was shown to a reader"},
		{"an acknowledged place holds another message", func(l *Ledger, p map[string]Publication, _ *Position) {
			l.Acknowledge(p["k1"], reply(1))
			l.Audit(room, 0).Message(told(1, "k2"))
		}, "two contents at r 1"},
		{"two readers see two contents", func(l *Ledger, _ map[string]Publication, reader *Position) {
			reader.Message(told(1, "k1"))
			other := l.Position("other", room)
			other.Message(told(1, "k2"))
		}, "two contents at r 1"},
		{"content was changed", func(_ *Ledger, _ map[string]Publication, reader *Position) {
			m := told(1, "k1")
			m.Content = &v1.Message_Text{Text: contentOf("k1") + "!"}
			reader.Message(m)
		}, "was changed"},
		{"content is nobody's", func(_ *Ledger, _ map[string]Publication, reader *Position) {
			reader.Message(told(1, "k9"))
		}, "nobody sent"},
		{"the sender is another", func(_ *Ledger, _ map[string]Publication, reader *Position) {
			m := told(1, "k1")
			m.From = "mallory"
			reader.Message(m)
		}, "as one of mallory"},
		{"the time is another", func(l *Ledger, p map[string]Publication, reader *Position) {
			l.Acknowledge(p["k1"], reply(1))
			m := told(1, "k1")
			m.At++
			reader.Message(m)
		}, "two times at r 1"},
		{"a retry is stored a second time", func(l *Ledger, p map[string]Publication, _ *Position) {
			l.Acknowledge(p["k1"], reply(1))
			l.Acknowledge(p["k1"], reply(2))
		}, "k1 is in r twice"},
		{"history has a message twice", func(l *Ledger, _ map[string]Publication, _ *Position) {
			a := l.Audit(room, 0)
			a.Message(told(1, "k1"))
			a.Message(told(2, "k1"))
		}, "k1 is in r twice"},
		{"history has a hole", func(l *Ledger, _ map[string]Publication, _ *Position) {
			a := l.Audit(room, 0)
			a.Message(told(1, "k1"))
			a.Message(told(3, "k3"))
		}, "3 comes after 1"},
		{"a reader has a gap", func(_ *Ledger, _ map[string]Publication, reader *Position) {
			reader.Message(told(1, "k1"))
			reader.Message(told(3, "k3"))
		}, "gap in r, 3 came after 1"},
		{"a reader sees a repetition", func(_ *Ledger, _ map[string]Publication, reader *Position) {
			reader.Message(told(1, "k1"))
			reader.Message(told(1, "k1"))
		}, "1 came again after 1"},
		{"a position is void", func(_ *Ledger, _ map[string]Publication, reader *Position) {
			reader.Message(told(1, "k1"))
			no := false
			reader.Joined(&v1.Joined{Room: room, Epoch: "e", Recovered: &no})
		}, "is void"},
		{"the epoch changes", func(_ *Ledger, _ map[string]Publication, reader *Position) {
			reader.Joined(&v1.Joined{Room: room, Epoch: "e", Recovered: &recovered})
			reader.Joined(&v1.Joined{Room: room, Epoch: "f", Recovered: &recovered})
		}, "epoch of r was e"},
		{"a publish is answered for another room", func(l *Ledger, p map[string]Publication, _ *Position) {
			l.Acknowledge(p["k1"], &v1.Published{Room: "other", Seq: 1})
		}, "was answered with"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := New(contentOf)
			p := map[string]Publication{}
			for _, key := range []string{"k1", "k2", "k3"} {
				p[key] = l.Publish(room, "w", key)
			}
			c.story(l, p, l.Position("reader", room))
			got := l.Verdict()
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("the ledger says %q, want %q", got, c.want)
			}
			if c.want != "" && strings.Count(got, "\n") > 0 {
				t.Errorf("one fault gives more than one line:\n%s", got)
			}
		})
	}
}

func TestEnough(t *testing.T) {
	l := New(contentOf)
	l.Acknowledge(l.Publish("r", "w", "k1"), &v1.Published{Room: "r", Seq: 1})
	a := l.Audit("r", 0)
	l.Acknowledge(l.Publish("r", "w", "k2"), &v1.Published{Room: "r", Seq: 2}) // while it is read
	if a.Enough() {
		t.Error("nothing has come, and it is enough")
	}
	a.Message(&v1.Message{Room: "r", Seq: 1, From: "w", Content: &v1.Message_Text{Text: contentOf("k1")}})
	if !a.Enough() {
		t.Error("what was known has come, and it is not enough")
	}
	if a.End(); l.Verdict() != "" {
		t.Error(l.Verdict())
	}
}
