package handoff

// ReplySize is what a small event holds of a loop's mailbox.
const ReplySize = 192

// What is outgoing for a loop leaves by itself when it is so much.
const (
	outgoingEvents = 256
	outgoingBytes  = 64 << 10
)

// Outgoing is what one sender has for the loops and has not put into their mailboxes yet, so that it leaves with one lock and one ring for
// all that came of a turn. The events for a loop keep their order. For one goroutine.
type Outgoing struct {
	loops   []*Mailbox[Event]
	waiting []waiting // by loop
}

type waiting struct {
	events []Event
	size   int
}

// NewOutgoing has nothing for anybody.
func NewOutgoing(loops []*Mailbox[Event]) *Outgoing {
	return &Outgoing{loops: loops, waiting: make([]waiting, len(loops))}
}

// Post has an event of e.Size bytes for a loop. It is taken whether the mailbox is full or not.
func (o *Outgoing) Post(loop int, e Event) {
	w := &o.waiting[loop]
	w.events = append(w.events, e)
	w.size += e.Size
	if len(w.events) >= outgoingEvents || w.size >= outgoingBytes {
		o.send(loop)
	}
}

// Send puts everything into the mailboxes.
func (o *Outgoing) Send() {
	for loop := range o.waiting {
		o.send(loop)
	}
}

func (o *Outgoing) send(loop int) {
	w := &o.waiting[loop]
	if len(w.events) == 0 {
		return
	}
	o.loops[loop].PutAllAlways(w.size, w.events...)
	clear(w.events)
	w.events, w.size = w.events[:0], 0
}
