package process

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"sync"

	v1 "rookery/proto/rookery/v1"
)

// ledger is what the clients of a run have been told by any server of it: replies,
// deliveries, pages of history. All of it must be one story, and what contradicts it is a
// fault: a lost acknowledgement, a second content at a place, a second place of a message, a
// gap or a repetition in what a reader saw.
//
// Content follows from the key, so that a place holds the right message or the ledger sees
// that it does not, whoever reports it. Safe for concurrent use.
type ledger struct {
	mu           sync.Mutex // guards all below
	publications map[string]*publication
	rooms        map[string][]place
	faults       []string
	acknowledged int
	again        int // acknowledgements beyond the first of a key
	delivered    int
	audited      int
}

// publication is a message that a writer has sent, once or many times.
type publication struct {
	room, user, key string
	seq             uint64 // 0: nobody was told yet
}

// place is one sequence number of a room.
type place struct {
	key   string // empty: nobody was told yet
	at    uint64
	acked bool
}

// maxFaults is enough to see a pattern; after a first loss everything is a fault.
const maxFaults = 20

func newLedger() *ledger {
	return &ledger{publications: map[string]*publication{}, rooms: map[string][]place{}}
}

// contentOf is what is published with a key: 0 to 400 bytes behind it.
func contentOf(key string) string {
	h := fnv.New64a()
	h.Write([]byte(key))
	random := rand.New(rand.NewPCG(h.Sum64(), 0))
	b := make([]byte, random.IntN(400))
	for i := range b {
		b[i] = 'a' + byte(random.IntN(26))
	}
	return key + " " + string(b)
}

// publish notes that a message is about to be sent for the first time.
func (l *ledger) publish(room, user, key string) publication {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &publication{room: room, user: user, key: key}
	l.publications[key] = p
	return *p
}

// acknowledge takes a reply to a publish.
func (l *ledger) acknowledge(p publication, reply *v1.Published) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if reply.GetRoom() != p.room || reply.GetSeq() == 0 {
		l.faultLocked("publish of %s in %s was answered with %v", p.key, p.room, reply)
		return
	}
	l.settleLocked("an acknowledgement", p.room, reply.Seq, reply.At, p.key)
	places := l.rooms[p.room]
	if places[reply.Seq-1].acked {
		l.again++
	} else {
		l.acknowledged++
	}
	places[reply.Seq-1].acked = true
}

// messageLocked takes a message that was delivered or read from history.
func (l *ledger) messageLocked(by string, m *v1.Message) {
	key, _, _ := strings.Cut(m.GetText(), " ")
	p := l.publications[key]
	switch {
	case m.Seq == 0:
		l.faultLocked("%s shows a message without a number in %s", by, m.Room)
		return
	case p == nil:
		l.faultLocked("%s shows %s %d with content that nobody sent: %q", by, m.Room, m.Seq, m.GetText())
		return
	case m.GetText() != contentOf(key):
		l.faultLocked("%s shows %s %d with a content of %s that was changed: %q", by, m.Room, m.Seq, key, m.GetText())
	case p.room != m.Room || p.user != m.From:
		l.faultLocked("%s shows %s of %s in %s as one of %s in %s", by, key, p.user, p.room, m.From, m.Room)
		return
	}
	l.settleLocked(by, m.Room, m.Seq, m.At, key)
}

// settleLocked ties a place to a message, and says what speaks against it.
func (l *ledger) settleLocked(by, room string, seq, at uint64, key string) {
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

func (l *ledger) faultLocked(format string, values ...any) {
	if len(l.faults) < maxFaults {
		l.faults = append(l.faults, fmt.Sprintf(format, values...))
	}
}

// fault notes what a client found by itself.
func (l *ledger) fault(format string, values ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faultLocked(format, values...)
}

// verdict returns all faults, "" when there are none.
func (l *ledger) verdict() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.faults, "\n")
}

// summary is a line for a log.
func (l *ledger) summary() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d messages acknowledged, %d acknowledged again after a retry, %d delivered, %d read from history",
		l.acknowledged, l.again, l.delivered, l.audited)
}

// position is a reader's in one room: 1 to last were seen, each once. For one goroutine.
type position struct {
	ledger       *ledger
	reader, room string
	epoch        string
	last         uint64
}

// joined takes the reply to a join that went on after last.
func (p *position) joined(reply *v1.Joined) {
	switch {
	case p.epoch != "" && reply.Epoch != p.epoch:
		p.ledger.fault("%s: epoch of %s was %s and is %s: the history was given up", p.reader, p.room, p.epoch, reply.Epoch)
	case !reply.GetRecovered():
		p.ledger.fault("%s: its position %d in %s is void, head %d: what it has seen is gone", p.reader, p.last, p.room, reply.Head)
	case reply.Head < p.last:
		p.ledger.fault("%s: %s ends at %d, it has seen %d", p.reader, p.room, reply.Head, p.last)
	}
	p.epoch = reply.Epoch
}

// message takes a delivery.
func (p *position) message(m *v1.Message) {
	p.ledger.mu.Lock()
	defer p.ledger.mu.Unlock()
	switch {
	case m.Seq <= p.last:
		p.ledger.faultLocked("%s: %s %d came again after %d", p.reader, p.room, m.Seq, p.last)
	case m.Seq > p.last+1:
		p.ledger.faultLocked("%s: gap in %s, %d came after %d", p.reader, p.room, m.Seq, p.last)
	}
	p.last = m.Seq
	p.ledger.delivered++
	p.ledger.messageLocked(p.reader, m)
}

// audit reads a room's history from a server. For one goroutine.
type audit struct {
	ledger *ledger
	room   string
	known  uint64 // places that were known when the audit began
	last   uint64
}

// audit begins one after a position. What anybody was told of until now has to be in it.
func (l *ledger) audit(room string, after uint64) *audit {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &audit{ledger: l, room: room, known: uint64(len(l.rooms[room])), last: after}
}

func (a *audit) message(m *v1.Message) {
	a.ledger.mu.Lock()
	defer a.ledger.mu.Unlock()
	if m.Seq != a.last+1 {
		a.ledger.faultLocked("history of %s: %d comes after %d", a.room, m.Seq, a.last)
	}
	a.last = m.Seq
	a.ledger.audited++
	a.ledger.messageLocked("history", m)
}

// end says what is missing after the last page.
func (a *audit) end() {
	a.ledger.mu.Lock()
	defer a.ledger.mu.Unlock()
	for seq := a.last + 1; seq <= a.known; seq++ {
		switch lost := a.ledger.rooms[a.room][seq-1]; {
		case lost.acked:
			a.ledger.faultLocked("LOST: %s %d, %s, was acknowledged; history ends at %d", a.room, seq, lost.key, a.last)
		case lost.key != "":
			a.ledger.faultLocked("LOST: %s %d, %s, was shown to a reader; history ends at %d", a.room, seq, lost.key, a.last)
		}
	}
}
