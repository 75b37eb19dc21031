package proto

import (
	"testing"

	v1 "rookery/proto/rookery/v1"
)

// TestAllocations are the budgets of the hot path. Whoever raises one says why in the commit.
func TestAllocations(t *testing.T) {
	h := Header{Room: "lobby", Seq: 42, At: 1763839392123, From: "alice"}
	ephemeral := Header{Room: "lobby", At: 1763839392123, From: "alice", Ephemeral: true, Key: "cursor"}
	publish := &v1.Publish{Room: "lobby", Key: "a1-0001", Content: &v1.Publish_Text{Text: "hello, world"}}
	content := AppendContent(nil, publish)
	request := readBinary(t, "publish-text")
	reply := &v1.ServerFrame{Id: 3, Op: &v1.ServerFrame_Published{Published: &v1.Published{Room: "lobby", Seq: 58, At: 1763839392456}}}
	buffer := make([]byte, 0, 4096)
	stream := AppendServerFrame(nil, Binary, reply)
	for _, c := range []struct {
		name   string
		budget float64
		run    func()
	}{
		{"cut a frame off a stream", 0, func() { _, _, _ = Next(Binary, stream) }},
		// The frame, and the two that a oneof costs: its wrapper and the message in it; the
		// content is a oneof again.
		{"decode a publish", 4, func() {
			f := new(v1.ClientFrame)
			if DecodeClientFrame(f, Binary, request) != nil || f.GetPublish() == nil {
				t.Error("the publish is not read")
			}
		}},
		{"write a reply, binary", 0, func() { buffer = AppendServerFrame(buffer[:0], Binary, reply) }},
		{"store a content", 0, func() { buffer = AppendContent(buffer[:0], publish) }},
		{"write a message, binary", 0, func() { buffer = AppendMessage(buffer[:0], Binary, h, content) }},
		{"write an ephemeral message, binary", 0, func() { buffer = AppendMessage(buffer[:0], Binary, ephemeral, content) }},
		{"write a message, json", 0, func() { buffer = AppendMessage(buffer[:0], JSON, h, content) }},
		// Itself and its bytes, whatever the number of members.
		{"encode once for all members", 2, func() { kept = Encode(h, content) }},
		{"share it", 0, func() { buffer = append(buffer[:0], kept.Frame(Binary)...) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := testing.AllocsPerRun(200, c.run); got > c.budget {
				t.Errorf("%v allocations, the budget is %v", got, c.budget)
			}
		})
	}
}

// kept keeps what is measured on the heap.
var kept *Encoded

func BenchmarkDecodePublish(b *testing.B) {
	request := readBinary(b, "publish-text")
	b.ReportAllocs()
	for b.Loop() {
		var f v1.ClientFrame
		if err := DecodeClientFrame(&f, Binary, request); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	h := Header{Room: "lobby", Seq: 42, At: 1763839392123, From: "alice"}
	content := AppendContent(nil, &v1.Publish{Content: &v1.Publish_Text{Text: "hello, world"}})
	for _, c := range codecs {
		b.Run(c.name, func(b *testing.B) {
			buffer := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				buffer = AppendMessage(buffer[:0], c.codec, h, content)
			}
		})
	}
}
