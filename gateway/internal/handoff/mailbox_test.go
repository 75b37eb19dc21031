package handoff

import (
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// ring counts bells.
type ring struct{ n int }

func (r *ring) bell() { r.n++ }

func (r *ring) want(t *testing.T, n int, when string) {
	t.Helper()
	if r.n != n {
		t.Errorf("%s: the bell rang %d times, want %d", when, r.n, n)
	}
}

func TestMailboxRingsWhenItMust(t *testing.T) {
	m := NewMailbox[int](1000)
	var r ring
	m.Listen(r.bell)
	r.want(t, 0, "nothing is there")
	m.Put(1, 1)
	r.want(t, 1, "the first item came")
	m.Put(2, 1)
	m.PutAlways(3, 1)
	r.want(t, 1, "more came before the first was taken")
	taken := m.Take(nil)
	r.want(t, 1, "all were taken")
	m.PutAlways(4, 1)
	r.want(t, 2, "one came into the empty mailbox, before anything was released")
	if again := m.Take(taken); len(again) != 1 || again[0] != 4 {
		t.Errorf("took %v, want [4]", again)
	}
	if nothing := m.Take(nil); len(nothing) != 0 {
		t.Errorf("took %v from an empty mailbox", nothing)
	}
	m.Put(5, 1)
	r.want(t, 3, "one came after an empty take")
}

func TestMailboxRingsForWhatWaitedBeforeListen(t *testing.T) {
	m := NewMailbox[string](1000)
	m.Put("early", 1) // nobody listens: must not panic, must not be lost
	var r ring
	m.Listen(r.bell)
	r.want(t, 1, "an item waited")
	if got := m.Take(nil); !slices.Equal(got, []string{"early"}) {
		t.Errorf("took %v", got)
	}
}

func TestMailboxBound(t *testing.T) {
	m := NewMailbox[string](100)
	step := func(what string, got, want bool, held int64) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
		if m.Held() != held {
			t.Errorf("%s: %d bytes are held, want %d", what, m.Held(), held)
		}
		if m.Full() != (held >= 100) {
			t.Errorf("%s: with %d of 100 bytes Full is %v", what, held, m.Full())
		}
	}
	step("put into the empty mailbox", m.Put("a", 99), true, 99)
	step("put the last byte and more", m.Put("b", 50), true, 149) // one item over: a bound on memory, not on the last item
	step("put into the full one", m.Put("c", 1), false, 149)
	m.PutAlways("d", 1)
	step("put always", true, true, 150)
	if got := m.Take(nil); !slices.Equal(got, []string{"a", "b", "d"}) {
		t.Errorf("took %v; what was refused must not be there, the rest in order", got)
	}
	step("taken, not worked off", m.Put("e", 1), false, 150)
	m.Release(50)
	step("one worked off, exactly at the bound", m.Put("e", 1), false, 100)
	m.Release(1)
	step("below the bound", m.Put("e", 1), true, 100)
}

// TestMailboxReusesTheSpareArray: a loop that takes turns with two arrays allocates nothing,
// and what it has taken is not written to while it works on it.
func TestMailboxReusesTheSpareArray(t *testing.T) {
	m := NewMailbox[int](1 << 20)
	spare := make([]int, 0, 64)
	if got := testing.AllocsPerRun(100, func() {
		for i := range 32 {
			m.Put(i, 1)
		}
		taken := m.Take(spare)
		for i := range 32 { // into the other array
			m.Put(100+i, 1)
		}
		for i, item := range taken {
			if item != i {
				t.Fatalf("item %d is %d: it was overwritten by what came later", i, item)
			}
		}
		spare = m.Take(taken)
		if len(spare) != 32 || spare[31] != 131 {
			t.Fatalf("took %v", spare)
		}
		m.Release(64)
	}); got > 0 {
		t.Errorf("%v allocations for 64 items", got)
	}
}

// TestMailboxKeepsTheOrder has many senders and one receiver that sleeps until the bell. A
// lost wake-up leaves it asleep with items waiting.
func TestMailboxKeepsTheOrder(t *testing.T) {
	const senders, each = 8, 5000
	type item struct{ sender, n int }
	m := NewMailbox[item](256) // small, so that senders meet the bound
	wake := make(chan struct{}, 1)
	m.Listen(func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	var running sync.WaitGroup
	for s := range senders {
		running.Go(func() {
			for n := range each {
				// Some always, as commits do; the others are refused until there is room.
				if n%16 == 0 {
					m.PutAlways(item{s, n}, 1)
					continue
				}
				for !m.Put(item{s, n}, 1) {
					runtime.Gosched() // pushed back; what a sender does then is its own affair
				}
			}
		})
	}
	next := make([]int, senders)
	deadline := time.After(30 * time.Second)
	var items []item
	for received := 0; received < senders*each; {
		select {
		case <-wake:
		case <-deadline:
			t.Fatalf("asleep with %d of %d items received and %d bytes held", received, senders*each, m.Held())
		}
		items = m.Take(items)
		for _, it := range items {
			if it.n != next[it.sender] {
				t.Fatalf("sender %d: item %d came, want %d", it.sender, it.n, next[it.sender])
			}
			next[it.sender]++
			received++
			m.Release(1)
		}
		clear(items)
	}
	running.Wait()
	if m.Held() != 0 {
		t.Errorf("%d bytes are held by an empty mailbox", m.Held())
	}
}

func TestHandleNamesAConnection(t *testing.T) {
	h := Handle{Slot: 255, Generation: 16, Loop: 3}
	if h.String() != "3-ff-10" {
		t.Errorf("got %s, want 3-ff-10", h)
	}
	if other := (Handle{Slot: 255, Generation: 17, Loop: 3}); other.String() == h.String() {
		t.Error("two connections in one slot have one name")
	}
}

// TestCommandSize: the mailbox's bound is in bytes, so a command has to count what it carries.
func TestCommandSize(t *testing.T) {
	small := (&Command{Kind: Gone}).Size()
	big := (&Command{
		Kind: Publish, Room: strings.Repeat("r", 100), Key: strings.Repeat("k", 100), Content: make([]byte, 10000),
	}).Size()
	if small <= 0 || big < small+10200 {
		t.Errorf("an empty command counts %d bytes, one with 10,200 more %d", small, big)
	}
}

// TestMailboxTakesManyAtOnce: one ring, their order, and their bytes.
func TestMailboxTakesManyAtOnce(t *testing.T) {
	m := NewMailbox[int](100)
	var r ring
	m.Listen(r.bell)
	items := []int{1, 2, 3}
	m.PutAllAlways(150, items...)
	items[0] = 7 // the sender's own again
	m.PutAllAlways(10, 4)
	r.want(t, 1, "many came into the empty mailbox, and then another")
	if !m.Full() || m.Held() != 160 {
		t.Errorf("%d bytes are held, full %v", m.Held(), m.Full())
	}
	if got := m.Take(nil); !slices.Equal(got, []int{1, 2, 3, 4}) {
		t.Errorf("took %v", got)
	}
}

// TestOutgoing: each loop gets its own in order, with one ring for all, and what is much leaves by itself.
func TestOutgoing(t *testing.T) {
	loops := []*Mailbox[Event]{NewMailbox[Event](1 << 20), NewMailbox[Event](1)}
	rings := make([]ring, len(loops))
	for i, l := range loops {
		l.Listen(rings[i].bell)
	}
	o := NewOutgoing(loops)
	for id := range uint64(3) {
		o.Post(1, Event{ID: id, Size: 10})
	}
	o.Post(0, Event{ID: 7, Size: outgoingBytes - 1})
	rings[0].want(t, 0, "nothing was sent")
	rings[1].want(t, 0, "nothing was sent")
	o.Post(0, Event{ID: 8, Size: 1})
	rings[0].want(t, 1, "it is many bytes")
	o.Send()
	o.Send()
	rings[0].want(t, 1, "nothing is left for it")
	rings[1].want(t, 1, "all were sent together, into a full mailbox too")
	for i, want := range [][]uint64{{7, 8}, {0, 1, 2}} {
		var got []uint64
		for _, e := range loops[i].Take(nil) {
			got = append(got, e.ID)
			loops[i].Release(e.Size)
		}
		if !slices.Equal(got, want) || loops[i].Held() != 0 {
			t.Errorf("loop %d got %v and %d bytes are held, want %v", i, got, loops[i].Held(), want)
		}
	}
	for range outgoingEvents {
		o.Post(0, Event{})
	}
	if got := loops[0].Take(nil); len(got) != outgoingEvents {
		t.Errorf("of %d events %d left by themselves", outgoingEvents, len(got))
	}
}
