package room

import (
	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// Asker asks an application whether a message may be published, and what it says, before it is ordered.
//
// The shard sees such a message twice. The first time it only looks whether it knows the retry key, so that what was published is never
// asked about again, and hands the message on. The second time it comes with the application's word, by way of Decided, and is
// ordered like any other. A repetition that comes between waits for the word on the first.
type Asker interface {
	// Ask takes a message, and gives nil, or says why it does not. It never waits. Messages of one user in one room come back in the order in
	// which they came.
	Ask(handoff.Command) *handoff.Refusal
}

// ask is the first time.
func (s *shard) ask(c *handoff.Command) {
	from := sender{c.From, c.ID}
	key := s.retryKey(c)
	if key != (keyHash{}) {
		if s.repeated(from, c.Room, key) {
			return
		}
		if again, asked := s.asking[key]; asked {
			s.duplicates.Add(1)
			if len(again) == maxRetries {
				s.refusedLoad.Add(1)
				s.refuse(from, proto.ErrOverloaded, "This publish waits for the application already; wait for its answer.")
				return
			}
			s.asking[key] = append(again, from)
			return
		}
	}
	if refusal := s.cfg.Asker.Ask(*c); refusal != nil {
		s.refusedLoad.Add(1)
		s.refuseFor(from, refusal)
		return
	}
	if key != (keyHash{}) {
		s.asking[key] = nil
	}
}

// answerRepetitions is after a message was ordered, or refused, that the application was asked about.
func (s *shard) answerRepetitions(c *handoff.Command) {
	key := s.retryKey(c)
	again := s.asking[key]
	delete(s.asking, key)
	for _, from := range again {
		switch {
		case s.repeated(from, c.Room, key):
		case c.Refusal != nil:
			s.refuseFor(from, c.Refusal)
		default:
			s.refuse(from, proto.ErrOverloaded, "The publish that this one repeats could not be taken; send again later.")
		}
	}
}

// retryKey is zero for a message without one: that of an ephemeral message says what it takes the place of.
func (s *shard) retryKey(c *handoff.Command) keyHash {
	if c.Key == "" || c.Ephemeral {
		return keyHash{}
	}
	return s.keys.hash(c.Room, c.User, c.Key)
}

// Decided takes back a message that the Asker took, with what became of it.
func (rs *Rooms) Decided(c handoff.Command) {
	c.Ask, c.Asked = false, true
	if c.Kind == handoff.Alter && c.Refusal == nil {
		rs.checkers.putAlways(c)
		return
	}
	// What is refused is no change any more: no checker has seen it, and none waits for it to be settled.
	c.Kind = handoff.Publish
	rs.order(c)
}
