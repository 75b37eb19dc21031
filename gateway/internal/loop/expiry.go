package loop

import (
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/proto"
)

// roundTicks is how many ticks a round through the table of connections takes. What is revoked in the middle of a round waits for
// the next one, so that two of them and a tick have to be shorter than a second.
const roundTicks = 4

// revocations are what a round looks for.
type revocations struct {
	tokens map[uint64]struct{}
	users  map[string]uint32 // tokens that were issued up to this second
}

// rounds is where the loop is with identities that hold no longer.
type rounds struct {
	expiring int          // next slot to look at for tokens that have expired
	revoking int          // and for what is revoked
	current  *revocations // of this round; nil nearly always
	next     *revocations // came meanwhile
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

// expireSome ends the sessions whose tokens have expired: it looks at a part of the table each tick, and goes no further than atOnce of them. Where everybody signed in
// at the same time, or the process stood still, all tokens have expired at once, and to close a quarter of a large table in a tick takes longer than a tick does. So a session ends half a second
// late at most, and a tenth of a second more for each 1,024 others of its loop that are as late; a loop that is late itself looks less often.
func (l *Loop) expireSome() {
	r := &l.rounds
	now := time.Now()
	ended := 0
	for range min(len(l.slots), len(l.slots)/roundTicks+1) {
		if r.expiring >= len(l.slots) {
			r.expiring = 0
		}
		s := &l.slots[r.expiring]
		r.expiring++
		if s.conn == nil || s.expires == 0 || int64(s.expires) > now.Unix() {
			continue
		}
		// The slot's second may be that of one before, and has perhaps only begun.
		if who := s.conn.identity; who == nil || who.Expires == 0 || now.UnixMilli() < who.Expires {
			continue
		}
		l.close(s.conn, proto.CloseTokenExpired, "the token has expired: come back with a new one")
		if ended++; ended == atOnce {
			return
		}
	}
}

// revokeSome ends the sessions whose tokens were revoked, in rounds of their own, so that they end within a second however many tokens expire: whoever revokes them
// relies on it.
func (l *Loop) revokeSome() {
	r := &l.rounds
	if r.current == nil {
		if r.next == nil {
			return
		}
		r.revoking, r.current, r.next = 0, r.next, nil
	}
	for end := min(len(l.slots), r.revoking+len(l.slots)/roundTicks+1); r.revoking < end; r.revoking++ {
		switch c := l.slots[r.revoking].conn; {
		case c == nil:
		case c.asking && r.current.has(&c.asked().who), c.identity != nil && r.current.has(c.identity):
			l.close(c, proto.CloseTokenRevoked, "the token was revoked")
		}
	}
	if r.revoking >= len(l.slots) {
		r.current = nil
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
