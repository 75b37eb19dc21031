package crowd

import (
	"bytes"

	"rookery/bench/internal/dialect"
	"rookery/bench/internal/ledger"
)

// delivery is a message that a member got.
type delivery struct {
	room      int // -1: the server does not say
	seq       uint64
	ephemeral bool
	stamp     ledger.Stamp
	end       int // of its bytes, in what was received
}

// alike is what was received last, if it was nothing but whole messages: the members of a room get the same bytes, so that in a large room nearly all that
// comes has come just before on another connection. To compare the bytes takes a tenth of the time that it takes to read them.
type alike struct {
	in       []byte // a copy
	messages []delivery

	reading   []delivery // of what is being read, which comes to stand above
	recording bool
}

// same reports whether a session would make of in what another made of the bytes before.
func (a *alike) same(s *dialect.Session, in []byte) bool {
	return len(in) == len(a.in) && len(in) > 0 && s.Between() && bytes.Equal(in, a.in)
}

// begin is called before something else is read.
func (a *alike) begin(s *dialect.Session) { a.reading, a.recording = a.reading[:0], s.Between() }

// add is called for each message of the run.
func (a *alike) add(m *delivery) { a.reading = append(a.reading, *m) }

// read is called for each event that was taken, with where its bytes end. What is more than a message of the run ends the recording.
func (a *alike) read(e *dialect.Event, end int) {
	n := len(a.reading)
	if n == 0 || a.reading[n-1].end != 0 || len(e.Out) > 0 {
		a.recording = false
		return
	}
	a.reading[n-1].end = end
}

// end is called when all that was received was read.
func (a *alike) end(s *dialect.Session, in []byte) {
	if n := len(a.reading); a.recording && n > 0 && a.reading[n-1].end == len(in) && s.Between() {
		a.in = append(a.in[:0], in...)
		a.messages, a.reading = a.reading, a.messages
	}
}

// takeAlike takes the messages again, for another member. It gives the number of bytes that are done with.
func (c *Crowd) takeAlike(slot int, now int64) int {
	u := &c.users[slot]
	for i := range c.alike.messages {
		m := &c.alike.messages[i]
		c.deliver(slot, m, now)
		if u.state != online && u.state != connecting {
			return m.end // a write failed
		}
	}
	return len(c.alike.in)
}
