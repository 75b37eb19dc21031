package handoff

import (
	"sync/atomic"
	"time"
)

const (
	// traceBytes is what a Trace holds until it is taken, traceEntryBytes what each entry counts for at least: 256 of them at most.
	traceBytes      = 64 << 10
	traceEntryBytes = traceBytes / 256
)

// TraceEntry is a frame between a user and the server, or the end of a session, without what is said: no text, no data, no token, no
// retry key, no sentence.
type TraceEntry struct {
	At        time.Time `json:"at"`
	Session   string    `json:"session"`
	Direction string    `json:"direction"` // in: from the user; out; ended: the session is no more
	Operation string    `json:"operation,omitempty"`
	Room      string    `json:"room,omitempty"`
	ID        uint64    `json:"id,omitempty"`  // of the request
	Seq       uint64    `json:"seq,omitempty"` // of the message
	Bytes     int       `json:"bytes,omitempty"`
	Error     string    `json:"error,omitempty"` // name of an error, or of the code that ended the session
}

// Trace takes what loops see of one user, for somebody who looks at it. What does not fit is dropped and counted: a loop never waits. Its
// methods are safe for concurrent use, Take for one goroutine.
type Trace struct {
	// Set at construction.
	User string

	entries *Mailbox[TraceEntry]
	spare   []TraceEntry // of Take
	dropped atomic.Int64
}

// NewTrace makes one that nobody writes to yet.
func NewTrace(user string) *Trace {
	return &Trace{User: user, entries: NewMailbox[TraceEntry](traceBytes)}
}

// Wakes gives a channel that has something when there are entries. To be called once.
func (t *Trace) Wakes() <-chan struct{} { return t.entries.Wakes() }

// Full reports that what came next would be dropped, and counts it as that: so who is asked need not make an entry.
func (t *Trace) Full() bool {
	if !t.entries.Full() {
		return false
	}
	t.dropped.Add(1)
	return true
}

// Note adds an entry, if there is room.
func (t *Trace) Note(e TraceEntry) {
	if !t.entries.Put(e, e.size()) {
		t.dropped.Add(1)
	}
}

// Take gives what was noted since the last time, valid until the next, and how much was dropped meanwhile.
func (t *Trace) Take() (entries []TraceEntry, dropped int64) {
	clear(t.spare)
	t.spare = t.entries.Take(t.spare)
	for i := range t.spare {
		t.entries.Release(t.spare[i].size())
	}
	return t.spare, t.dropped.Swap(0)
}

func (e *TraceEntry) size() int {
	return max(traceEntryBytes, 160+len(e.Session)+len(e.Operation)+len(e.Room)+len(e.Error))
}
