package handoff

import (
	"sync"
	"sync/atomic"
)

// Mailbox hands items from many senders to one receiver, in order.
//
// It is bounded in bytes. A byte is taken when an item is put and given back by Release
// when the receiver is done with it, so what the receiver has taken out but not yet worked
// off counts too. When it is full, Put refuses; PutAlways does not, and is for items whose
// number is bounded elsewhere (a connection's departure, a commit's completion).
//
// gnet's own task queue is not used for this: past 1,024 waiting tasks it does not keep
// the order. It rings the bell only.
type Mailbox[T any] struct {
	// Set at construction.
	most int64

	// Set by the receiver, read by senders.
	limit atomic.Int64

	// Set once, by Listen; read by senders.
	bell atomic.Pointer[func()]

	held atomic.Int64

	mu    sync.Mutex // guards items, held for memory work only
	items []T
}

// NewMailbox makes a mailbox that refuses when it holds limit bytes.
func NewMailbox[T any](limit int) *Mailbox[T] {
	m := &Mailbox[T]{most: int64(limit)}
	m.limit.Store(m.most)
	return m
}

// Bound has the mailbox refuse when it holds that many bytes, or those that it was made for if these are fewer.
func (m *Mailbox[T]) Bound(bytes int64) { m.limit.Store(min(bytes, m.most)) }

// Listen sets what is called, on the sender's goroutine, when an item comes into an empty
// mailbox. The bell must not block. If items wait already it rings at once.
func (m *Mailbox[T]) Listen(bell func()) {
	m.bell.Store(&bell)
	m.mu.Lock()
	waiting := len(m.items) > 0
	m.mu.Unlock()
	if waiting {
		bell()
	}
}

// Wakes listens for a receiver that is a goroutine: when an item has come into the empty mailbox, the channel has something.
func (m *Mailbox[T]) Wakes() <-chan struct{} {
	wake := make(chan struct{}, 1)
	m.Listen(func() {
		select {
		case wake <- struct{}{}:
		default: // it has something already
		}
	})
	return wake
}

// Listened reports whether somebody listens yet.
func (m *Mailbox[T]) Listened() bool { return m.bell.Load() != nil }

// Put adds an item of about size bytes, or reports false when the mailbox is full.
func (m *Mailbox[T]) Put(item T, size int) bool {
	if m.Full() {
		return false
	}
	m.PutAlways(item, size)
	return true
}

// PutAlways adds an item whether the mailbox is full or not.
func (m *Mailbox[T]) PutAlways(item T, size int) { m.PutAllAlways(size, item) }

// PutAllAlways adds items of size bytes together, in their order, with one lock and one ring for all. It keeps none of the
// slice.
func (m *Mailbox[T]) PutAllAlways(size int, items ...T) {
	m.held.Add(int64(size))
	m.mu.Lock()
	first := len(m.items) == 0
	m.items = append(m.items, items...)
	m.mu.Unlock()
	if first {
		if bell := m.bell.Load(); bell != nil {
			(*bell)()
		}
	}
}

// Take returns everything that waits and leaves the mailbox empty. The array of spare is
// used for what comes next, so spare is what an earlier Take returned, worked off and
// cleared. For the receiver only.
func (m *Mailbox[T]) Take(spare []T) []T {
	m.mu.Lock()
	items := m.items
	m.items = spare[:0]
	m.mu.Unlock()
	return items
}

// Release gives back the bytes of an item that has been worked off.
func (m *Mailbox[T]) Release(size int) { m.held.Add(-int64(size)) }

// Full reports whether Put would refuse.
func (m *Mailbox[T]) Full() bool { return m.held.Load() >= m.limit.Load() }

// Held returns the bytes that are taken now.
func (m *Mailbox[T]) Held() int64 { return m.held.Load() }
