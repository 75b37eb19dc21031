package room

import (
	"sync"
	"testing"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	"rookery/storage"
)

// asker is an Asker that answers when the test does.
type asker struct {
	mu      sync.Mutex // guards all below
	waiting []handoff.Command
	full    bool
}

// Ask implements Asker.
func (a *asker) Ask(c handoff.Command) *handoff.Refusal {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.full {
		return &handoff.Refusal{Code: proto.ErrOverloaded, Text: "full", Wait: 1500 * time.Millisecond}
	}
	a.waiting = append(a.waiting, c)
	return nil
}

// take gives what waits.
func (a *asker) take() (waiting []handoff.Command) {
	a.mu.Lock()
	defer a.mu.Unlock()
	waiting, a.waiting = a.waiting, nil
	return waiting
}

func (b *bench) ask(loop uint16, id uint64, key string) {
	b.t.Helper()
	b.send(handoff.Command{
		Kind: handoff.Publish, From: handoff.Handle{Loop: loop, Slot: 1}, ID: id, Ask: true,
		Room: "lobby", User: "alice", Key: key, Content: []byte{0x2a, 1, 'x'},
	})
}

// settle waits until the shard has worked off what it was sent: an ephemeral message comes back at once.
func (b *bench) settle() {
	b.t.Helper()
	b.send(handoff.Command{Kind: handoff.Publish, From: handoff.Handle{Loop: 1, Slot: 1}, ID: 999, Ephemeral: true, Room: "lobby", User: "bob"})
	b.must(1, handoff.Published, 999, 0)
}

// TestAskedOnce: a publish that was asked about has one outcome, for it and for who repeats it before, while and after it is with the application.
func TestAskedOnce(t *testing.T) {
	a := &asker{}
	b := start(t, newFakeLog(), func(c *Config) { c.Asker = a })
	defer b.rooms.Close()
	b.ask(0, 1, "k")
	b.ask(1, 2, "k")
	b.settle()
	waiting := a.take()
	if len(waiting) != 1 || waiting[0].ID != 1 {
		t.Fatalf("asked about %+v", waiting)
	}
	c := waiting[0]
	c.Content = []byte{0x2a, 1, 'y'}
	b.rooms.Decided(c)
	b.wait(1)
	b.ask(0, 3, "k") // it is in flight
	b.settle()
	b.log.commit(1, nil)
	b.must(0, handoff.Published, 1, 1)
	b.must(1, handoff.Published, 2, 1)
	b.must(0, handoff.Published, 3, 1)
	b.ask(0, 4, "k") // it was published
	b.must(0, handoff.Published, 4, 1)
	if waiting := a.take(); len(waiting) != 0 || b.log.records["lobby"][0].Body[2] != 'y' {
		t.Errorf("asked again about %+v; published %q", waiting, b.log.records["lobby"][0].Body)
	}

	// Refused: so are the repetitions, and a later one is asked about anew.
	b.ask(0, 5, "r")
	b.ask(1, 6, "r")
	b.settle()
	c = a.take()[0]
	c.Refusal = &handoff.Refusal{Code: proto.ErrRefused, Text: "No."}
	b.rooms.Decided(c)
	for loop, id := range []uint64{5, 6} {
		if e := b.must(loop, handoff.Refused, id, 0); e.Code != proto.ErrRefused || e.Text != "No." {
			t.Errorf("refused with %+v", e)
		}
	}
	b.ask(0, 7, "r")
	b.settle()
	if waiting := a.take(); len(waiting) != 1 || waiting[0].ID != 7 {
		t.Errorf("asked about %+v", waiting)
	}

	// No room: nothing is remembered of it.
	a.full = true
	b.ask(0, 8, "f")
	if e := b.must(0, handoff.Refused, 8, 0); e.Code != proto.ErrOverloaded || e.At != 1500 {
		t.Errorf("refused with %+v", e)
	}
	a.full = false
	b.ask(0, 9, "f")
	b.settle()
	if len(a.take()) != 1 || len(b.rooms.shards[0].asking) != 2 {
		t.Error("what was refused for want of room is taken for one that is with the application")
	}
}

// TestAskedRepetitionsAreBounded: whoever repeats without end is told to wait, and the log refusing refuses all of them.
func TestAskedRepetitionsAreBounded(t *testing.T) {
	a := &asker{}
	log := newFakeLog()
	b := start(t, log, func(c *Config) { c.Asker = a })
	defer b.rooms.Close()
	for id := range uint64(2 + maxRetries) {
		b.ask(0, id+1, "k")
	}
	if e := b.must(0, handoff.Refused, 2+maxRetries, 0); e.Code != proto.ErrOverloaded {
		t.Errorf("told %+v", e)
	}
	log.mu.Lock()
	log.full = storage.ErrFull
	log.mu.Unlock()
	b.rooms.Decided(a.take()[0])
	for id := range uint64(1 + maxRetries) {
		if e := b.must(0, handoff.Refused, id+1, 0); e.Code != proto.ErrOverloaded {
			t.Errorf("told %+v", e)
		}
	}
}
