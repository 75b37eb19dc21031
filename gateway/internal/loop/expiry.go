package loop

import (
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/proto"
)

// expiryTicks is how many ticks a round through the table of connections takes. What is revoked in the middle of a round waits for
// the next one, so that two of them and a tick have to be shorter than a second.
const expiryTicks = 4

// revocations are what a round looks for.
type revocations struct {
	tokens map[uint64]struct{}
	users  map[string]uint32 // tokens that were issued up to this second
}

// rounds is where the loop is with identities that hold no longer.
type rounds struct {
	at      int          // next slot to look at
	current *revocations // of this round; nil nearly always
	next    *revocations // came meanwhile
}

// identify gives the connection an identity. The slot has its end too: a round through the table reads
// slots only, one after the other, and not what they point to.
func (l *Loop) identify(c *conn, who *identity.Identity) {
	c.identity = who
	l.slots[c.handle.Slot].expires = uint32(who.Expires / 1000)
}

// revoke notes what is revoked, for the next round.
func (l *Loop) revoke(e *handoff.Event) {
	if l.rounds.next == nil {
		l.rounds.next = &revocations{tokens: map[uint64]struct{}{}, users: map[string]uint32{}}
	}
	if e.Room == "" {
		l.rounds.next.tokens[e.ID] = struct{}{}
	} else {
		l.rounds.next.users[e.Room] = uint32(e.At)
	}
}

// expire ends the sessions whose tokens have expired or were revoked: a part of the table each tick.
func (l *Loop) expire() {
	r := &l.rounds
	if r.at >= len(l.slots) {
		r.at, r.current, r.next = 0, r.next, nil
	}
	now := time.Now().UnixMilli()
	for end := min(len(l.slots), r.at+len(l.slots)/expiryTicks+1); r.at < end; r.at++ {
		s := &l.slots[r.at]
		if s.conn == nil || r.current == nil && (s.expires == 0 || int64(s.expires) > now/1000) {
			continue
		}
		switch c := s.conn; {
		case c.asking && r.current.has(&c.asked().who):
			l.close(c, proto.CloseTokenRevoked, "the token was revoked")
		case c.identity == nil:
		case c.identity.Expires != 0 && now >= c.identity.Expires:
			l.close(c, proto.CloseTokenExpired, "the token has expired: come back with a new one")
		case r.current.has(c.identity):
			l.close(c, proto.CloseTokenRevoked, "the token was revoked")
		}
	}
}

func (r *revocations) has(who *identity.Identity) bool {
	if r == nil {
		return false
	}
	_, token := r.tokens[who.TokenID]
	upTo, user := r.users[who.User]
	return token && who.TokenID != 0 || user && who.Issued <= upTo
}
