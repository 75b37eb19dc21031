package catalog

import (
	"fmt"
	"sync"
	"sync/atomic"

	"rookery/storage"
)

// update is what one caller wants, and how they hear of it.
type update struct {
	changes []Change
	size    int
	done    chan error // holds one

	// Owned by the writer: how many records of its batch have to be committed.
	upTo int
	err  error
}

const (
	// changeBytes is what a change takes beside its key and value.
	changeBytes = 96
	// maxUpdateBytes is more than any update that fits into a record takes.
	maxUpdateBytes = 8 * storage.MaxBody
)

func newUpdate(changes []Change) (*update, error) {
	u := &update{changes: changes, done: make(chan error, 1)}
	for _, c := range changes {
		if c.err != nil {
			return nil, c.err
		}
		u.size += changeBytes + len(c.key) + len(c.value)
	}
	if u.size > maxUpdateBytes {
		return nil, fmt.Errorf("an update of the catalog %w", errTooLarge)
	}
	return u, nil
}

// mailbox holds the updates that wait for the writer. Full policy: push back, storage.ErrFull.
type mailbox struct {
	// Set at construction.
	limit int
	bell  chan struct{} // holds one ring

	mu sync.Mutex // held for memory work only, no other lock inside

	// Guarded by mu.
	waiting []*update
	bytes   int // of what waits and of the batch in work
	closing bool

	refused atomic.Uint64
}

func newMailbox(limit int) *mailbox {
	return &mailbox{limit: limit, bell: make(chan struct{}, 1)}
}

func (m *mailbox) put(u *update) error {
	m.mu.Lock()
	switch {
	case m.closing:
		m.mu.Unlock()
		return storage.ErrClosed
	case m.bytes+u.size > m.limit:
		m.mu.Unlock()
		m.refused.Add(1)
		return storage.ErrFull
	}
	m.waiting = append(m.waiting, u)
	m.bytes += u.size
	m.mu.Unlock()
	m.ring()
	return nil
}

func (m *mailbox) ring() {
	select {
	case m.bell <- struct{}{}:
	default: // a ring waits already
	}
}

// take gives all that waits.
func (m *mailbox) take() (batch []*update, closing bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	batch, m.waiting = m.waiting, nil
	return batch, m.closing
}

// release gives back the room of a batch that is done.
func (m *mailbox) release(batch []*update) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range batch {
		m.bytes -= u.size
	}
}

func (m *mailbox) close() {
	m.mu.Lock()
	m.closing = true
	m.mu.Unlock()
	m.ring()
}
