package room

import (
	"errors"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	"rookery/storage"
)

// maxRetries bounds the repetitions of one publish that wait with it.
const maxRetries = 16

// flight is a publish that waits for its commit.
type flight struct {
	room    *room
	header  proto.Header
	content []byte
	key     keyHash // zero: published without a retry key
	// Who gets the reply: the first sender, then retries that came while it was in flight.
	sender  sender
	retries []sender
	alters  uint64 // message that it changes, 0: none
	begun   time.Time
}

type sender struct {
	handle handoff.Handle
	id     uint64
}

// publish gives the message its place and queues it for the log; false: it was answered at once.
func (s *shard) publish(c *handoff.Command) (flies bool) {
	from := sender{c.From, c.ID}
	var key keyHash
	if c.Key != "" {
		key = s.keys.hash(c.Room, c.User, c.Key)
		if s.repeated(from, c.Room, key) {
			return false
		}
	}
	if c.Refusal != nil {
		s.refuseFor(from, c.Refusal)
		return false
	}
	if s.loopsBehind() {
		s.refuseDelivery(from)
		return false
	}

	r := s.room(c.Room)
	if c.Refers > r.head {
		s.forgetIdle(r)
		s.refuse(from, proto.ErrMessageNotFound, "The room has no message with the number in replyTo or thread.")
		return false
	}
	// A room's times do not run backwards with the clock, as long as the room is held.
	now := s.cfg.Now()
	at := max(now.UnixMilli(), r.lastAt)
	err := s.producer.Append(storage.Record{
		Room: r.name, Seq: r.next + 1, At: at, From: c.User, Key: c.Key, Body: c.Content,
	})
	if err != nil {
		s.forgetIdle(r)
		s.refuseAppend(from, err)
		return false
	}
	r.next++
	r.lastAt = at
	f := &flight{
		room:   r,
		header: proto.Header{Room: r.name, Seq: r.next, At: at, From: c.User}, content: c.Content,
		key: key, sender: from, begun: now,
	}
	if c.Change != nil {
		f.alters = c.Change.Target
	}
	s.flights.push(f)
	return true
}

// repeated answers a publish whose key is known, or has it answered with the one that is in flight; false: it is a new one.
func (s *shard) repeated(from sender, room string, key keyHash) bool {
	if done, ok := s.keys.find(key); ok {
		s.duplicates.Add(1)
		s.acknowledge(from, room, done)
		return true
	}
	f := s.flights.find(key)
	if f == nil {
		return false
	}
	s.duplicates.Add(1)
	if len(f.retries) == maxRetries {
		s.refusedLoad.Add(1)
		s.refuse(from, proto.ErrOverloaded, "This publish waits for the disk already; wait for its answer.")
		return true
	}
	f.retries = append(f.retries, from)
	return true
}

// loopsBehind reports that a loop has more deliveries waiting than its mailbox should
// hold. Nothing committed is ever withheld from a loop, so this is where a burst
// that the loops can't write out is pushed back.
func (s *shard) loopsBehind() bool {
	for _, l := range s.cfg.Loops {
		if l.Full() {
			return true
		}
	}
	return false
}

func (s *shard) refuseDelivery(to sender) {
	s.refusedLoad.Add(1)
	s.refuse(to, proto.ErrOverloaded, "The server is busy delivering; send again later.")
}

func (s *shard) refuseAppend(to sender, err error) {
	switch {
	case errors.Is(err, storage.ErrFull):
		s.refusedLoad.Add(1)
		s.refuse(to, proto.ErrOverloaded, "The log's queue is full; send again later.")
	case errors.Is(err, storage.ErrClosed):
		s.refusedLoad.Add(1)
		s.refuse(to, proto.ErrDraining, "The server is shutting down; send again elsewhere or later.")
	default:
		s.refusedLog.Add(1)
		s.refuse(to, proto.ErrLogUnavailable, "The log can't be written; the message was not stored. Send again later.")
	}
}

func (s *shard) acknowledge(to sender, room string, o outcome) {
	s.tell(handoff.Event{
		Kind: handoff.Published, To: to.handle, ID: to.id, Room: room, Seq: o.seq, At: o.at,
	}, handoff.ReplySize)
}

func (s *shard) refuse(to sender, code proto.ErrorCode, text string) {
	s.refuseFor(to, &handoff.Refusal{Code: code, Text: text})
}

func (s *shard) refuseFor(to sender, r *handoff.Refusal) {
	s.tell(handoff.Event{Kind: handoff.Refused, To: to.handle, ID: to.id, Code: r.Code, Text: r.Text, At: r.Wait.Milliseconds()}, handoff.ReplySize)
}

// mostSlots is how many slots an empty flightQueue keeps.
const mostSlots = 4096

// flightQueue holds the flights in the order of their appends, which is the order in which
// the log completes them. It may never be empty: while a batch syncs the next one gathers.
type flightQueue struct {
	queue []*flight
	first int
	keyed map[keyHash]*flight
}

func (q *flightQueue) empty() bool { return q.first == len(q.queue) }

func (q *flightQueue) push(f *flight) {
	q.queue = append(q.queue, f)
	if f.key != (keyHash{}) {
		if q.keyed == nil {
			q.keyed = make(map[keyHash]*flight)
		}
		q.keyed[f.key] = f
	}
}

func (q *flightQueue) find(key keyHash) *flight { return q.keyed[key] }

func (q *flightQueue) pop() *flight {
	f := q.queue[q.first]
	q.queue[q.first] = nil
	q.first++
	if f.key != (keyHash{}) {
		delete(q.keyed, f.key)
	}
	switch {
	case q.empty() && cap(q.queue) > mostSlots:
		*q = flightQueue{}
	case q.empty():
		q.queue, q.first = q.queue[:0], 0
	case q.first > mostSlots/4 && q.first > len(q.queue)/2:
		n := copy(q.queue, q.queue[q.first:])
		clear(q.queue[n:])
		q.queue, q.first = q.queue[:n], 0
	}
	return f
}
