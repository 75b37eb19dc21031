package room

import (
	"testing"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/storage"
)

// nowhere is a log that takes everything and keeps nothing.
type nowhere struct{ *fakeLog }

func (nowhere) Append(storage.Record) error            { return nil }
func (n nowhere) Open(func(n int, err error)) Producer { return n }

// BenchmarkPublish is a publish with a retry key in its shard: ordered, committed at once, acknowledged.
func BenchmarkPublish(b *testing.B) {
	loop := handoff.NewMailbox[handoff.Event](1 << 30)
	s := newShard(Config{
		Log: nowhere{newFakeLog()}, Loops: []*handoff.Mailbox[handoff.Event]{loop},
		RetryWindow: time.Minute, RetryKeys: 1000, Now: time.Now,
	})
	keys := make([]string, 1<<16)
	for i := range keys {
		keys[i] = string([]byte{'k', byte(i), byte(i >> 8)})
	}
	content := []byte{0x2a, 1, 'x'}
	var events []handoff.Event
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l := letter{command: handoff.Command{
			Kind: handoff.Publish, ID: uint64(i), Room: "lobby", User: "alice", Key: keys[i%len(keys)], Content: content,
		}}
		s.open(&l)
		s.commit(1, nil)
		if i%64 == 0 {
			s.out.Send()
			events = loop.Take(events)
			for j := range events {
				loop.Release(events[j].Size)
			}
			clear(events)
		}
	}
}
