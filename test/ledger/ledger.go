// Package ledger is what the clients of a test have been told by any server of one log: replies,
// deliveries, pages of history. All of it must be one story, across crashes too, and what contradicts
// it is a fault: a lost acknowledgement, a second content at a place, a second place of a message, a
// gap or a repetition in what a reader saw.
package ledger

import (
	"fmt"
	"strings"
	"sync"

	v1 "rookery/proto/rookery/v1"
)

// Ledger is safe for concurrent use.
//
// Content follows from the key, so that a place holds the right message or the ledger sees
// that it does not, whoever reports it.
type Ledger struct {
	contentOf func(key string) string

	mu           sync.Mutex // guards all below
	publications map[string]*publication
	rooms        map[string][]place
	faults       []string
	lost         int
	acknowledged int
	again        int // acknowledgements beyond the first of a key
	delivered    int
	audited      int
}

// Publication is a message that a writer has sent, once or many times.
type Publication struct{ Room, User, Key string }

type publication struct {
	Publication
	seq uint64 // 0: nobody was told yet
}

// place is one sequence number of a room.
type place struct {
	key   string // empty: nobody was told yet
	at    uint64
	acked bool
}

// maxFaults is enough to see a pattern; after a first loss everything is a fault.
const maxFaults = 20

// New makes an empty ledger. contentOf is what is published with a key: the key, and more behind a
// blank if there is more.
func New(contentOf func(key string) string) *Ledger {
	return &Ledger{contentOf: contentOf, publications: map[string]*publication{}, rooms: map[string][]place{}}
}

// Publish notes that a message is about to be sent for the first time.
func (l *Ledger) Publish(room, user, key string) Publication {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &publication{Publication: Publication{Room: room, User: user, Key: key}}
	l.publications[key] = p
	return p.Publication
}

// Acknowledge takes a reply to a publish.
func (l *Ledger) Acknowledge(p Publication, reply *v1.Published) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if reply.GetRoom() != p.Room || reply.GetSeq() == 0 {
		l.faultLocked("publish of %s in %s was answered with %v", p.Key, p.Room, reply)
		return
	}
	l.settleLocked("an acknowledgement", p.Room, reply.Seq, reply.At, p.Key)
	places := l.rooms[p.Room]
	if places[reply.Seq-1].acked {
		l.again++
	} else {
		l.acknowledged++
	}
	places[reply.Seq-1].acked = true
}

// messageLocked takes a message that was delivered or read from history.
func (l *Ledger) messageLocked(by string, m *v1.Message) {
	key, _, _ := strings.Cut(m.GetText(), " ")
	p := l.publications[key]
	switch {
	case m.Seq == 0:
		l.faultLocked("%s shows a message without a number in %s", by, m.Room)
		return
	case p == nil:
		l.faultLocked("%s shows %s %d with content that nobody sent: %q", by, m.Room, m.Seq, m.GetText())
		return
	case m.GetText() != l.contentOf(key):
		l.faultLocked("%s shows %s %d with a content of %s that was changed: %q", by, m.Room, m.Seq, key, m.GetText())
	case p.Room != m.Room || p.User != m.From:
		l.faultLocked("%s shows %s of %s in %s as one of %s in %s", by, key, p.User, p.Room, m.From, m.Room)
		return
	}
	l.settleLocked(by, m.Room, m.Seq, m.At, key)
}

// settleLocked ties a place to a message, and says what speaks against it.
func (l *Ledger) settleLocked(by, room string, seq, at uint64, key string) {
	for uint64(len(l.rooms[room])) < seq {
		l.rooms[room] = append(l.rooms[room], place{})
	}
	held := &l.rooms[room][seq-1]
	switch {
	case held.key == "":
		held.key, held.at = key, at
	case held.key != key:
		l.faultLocked("two contents at %s %d: %s says %s, it was %s", room, seq, by, key, held.key)
	case held.at != at:
		l.faultLocked("two times at %s %d: %s says %d, it was %d", room, seq, by, at, held.at)
	}
	p := l.publications[key]
	switch {
	case p.seq == 0:
		p.seq = seq
	case p.seq != seq:
		l.faultLocked("%s is in %s twice: %s says at %d, it was at %d", key, room, by, seq, p.seq)
	}
}

func (l *Ledger) faultLocked(format string, values ...any) {
	if len(l.faults) < maxFaults {
		l.faults = append(l.faults, fmt.Sprintf(format, values...))
	}
}

// Fault notes what a client found by itself.
func (l *Ledger) Fault(format string, values ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faultLocked(format, values...)
}

// Verdict returns all faults, "" when there are none.
func (l *Ledger) Verdict() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.faults, "\n")
}

// Lost is how many messages were missing in audits that somebody had been told of. It counts also
// those for which no fault was written, since they were too many.
func (l *Ledger) Lost() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Totals are what was compared.
type Totals struct {
	Acknowledged int // different messages
	Again        int // acknowledgements beyond the first of a message
	Delivered    int
	Audited      int // read from history
}

// Totals says how much was compared until now.
func (l *Ledger) Totals() Totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Totals{Acknowledged: l.acknowledged, Again: l.again, Delivered: l.delivered, Audited: l.audited}
}

// Summary is a line for a log.
func (l *Ledger) Summary() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d messages acknowledged, %d acknowledged again after a retry, %d delivered, %d read from history",
		l.acknowledged, l.again, l.delivered, l.audited)
}

// Position is a reader's in one room: 1 to last were seen, each once. For one goroutine.
type Position struct {
	// Epoch and Last are what the next join says. Epoch is empty before the first one.
	Epoch string
	Last  uint64

	ledger       *Ledger
	reader, room string
}

// Position begins one before a room's first message. reader names whose it is, in faults.
func (l *Ledger) Position(reader, room string) *Position {
	return &Position{ledger: l, reader: reader, room: room}
}

// Joined takes the reply to a join that went on after last.
func (p *Position) Joined(reply *v1.Joined) {
	switch {
	case p.Epoch != "" && reply.Epoch != p.Epoch:
		p.ledger.Fault("%s: epoch of %s was %s and is %s: the history was given up", p.reader, p.room, p.Epoch, reply.Epoch)
	case !reply.GetRecovered():
		p.ledger.Fault("%s: its position %d in %s is void, head %d: what it has seen is gone", p.reader, p.Last, p.room, reply.Head)
	case reply.Head < p.Last:
		p.ledger.Fault("%s: %s ends at %d, it has seen %d", p.reader, p.room, reply.Head, p.Last)
	}
	p.Epoch = reply.Epoch
}

// Message takes a delivery.
func (p *Position) Message(m *v1.Message) {
	p.ledger.mu.Lock()
	defer p.ledger.mu.Unlock()
	switch {
	case m.Seq <= p.Last:
		p.ledger.faultLocked("%s: %s %d came again after %d", p.reader, p.room, m.Seq, p.Last)
	case m.Seq > p.Last+1:
		p.ledger.faultLocked("%s: gap in %s, %d came after %d", p.reader, p.room, m.Seq, p.Last)
	}
	p.Last = m.Seq
	p.ledger.delivered++
	p.ledger.messageLocked(p.reader, m)
}

// Expire goes over messages that retention has taken, up to last.
func (p *Position) Expire(last uint64) { p.Last = max(p.Last, last) }

// Audit reads a room's history from a server. For one goroutine.
type Audit struct {
	ledger *Ledger
	room   string
	known  uint64 // places that were known when the audit began
	last   uint64
}

// Audit begins one after a position. What anybody was told of until now has to be in it.
func (l *Ledger) Audit(room string, after uint64) *Audit {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &Audit{ledger: l, room: room, known: uint64(len(l.rooms[room])), last: after}
}

// Message takes one of a page.
func (a *Audit) Message(m *v1.Message) {
	a.ledger.mu.Lock()
	defer a.ledger.mu.Unlock()
	if m.Seq != a.last+1 {
		a.ledger.faultLocked("history of %s: %d comes after %d", a.room, m.Seq, a.last)
	}
	a.last = m.Seq
	a.ledger.audited++
	a.ledger.messageLocked("history", m)
}

// Expire goes over messages that retention has taken, up to last.
func (a *Audit) Expire(last uint64) { a.last = max(a.last, last) }

// Room is the one that is read.
func (a *Audit) Room() string { return a.room }

// Enough says that all has come that anybody was told of when the audit began.
func (a *Audit) Enough() bool { return a.last >= a.known }

// Last is the newest message that came.
func (a *Audit) Last() uint64 { return a.last }

// End says what is missing after the last page.
func (a *Audit) End() {
	a.ledger.mu.Lock()
	defer a.ledger.mu.Unlock()
	for seq := a.last + 1; seq <= a.known; seq++ {
		switch lost := a.ledger.rooms[a.room][seq-1]; {
		case lost.acked:
			a.ledger.lost++
			a.ledger.faultLocked("LOST: %s %d, %s, was acknowledged; history ends at %d", a.room, seq, lost.key, a.last)
		case lost.key != "":
			a.ledger.lost++
			a.ledger.faultLocked("LOST: %s %d, %s, was shown to a reader; history ends at %d", a.room, seq, lost.key, a.last)
		}
	}
}
