package loop

import (
	"fmt"
	"net/netip"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/rate"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// What a connection may be refused for its rates before it is closed as a flood. Each refusal costs the server an answer, so
// that one which does not wait as it is told can't go on for ever.
var floods = rate.PerSecond(50, 1000)

// rates are the rules in force, as requests meet them.
type rates struct {
	rate.Rules
	any   bool
	parts [rate.Operations][]part
	// claimable has those too that only the claim of a token limits.
	claimable [rate.Operations][]part
}

// part is one of the buckets that an operation takes from.
type part struct {
	scope     rate.Scope
	operation rate.Operation
	rate      rate.Rate
}

// hold reports whether there is any rate for somebody, who may be nil.
func (r *rates) hold(who *identity.Identity) bool {
	return r.any || who != nil && who.Claims() != nil
}

func newRates(rules rate.Rules) *rates {
	r := &rates{Rules: rules, any: rules.Any()}
	for o := range rate.Operation(rate.Operations) {
		for scope := range rate.Scope(rate.Scopes) {
			for _, operation := range []rate.Operation{o, rate.Bytes} {
				p := part{scope, operation, rules.Of[scope][operation]}
				if !p.rate.None() {
					r.parts[o] = append(r.parts[o], p)
				}
				if !p.rate.None() || scope == rate.User {
					r.claimable[o] = append(r.claimable[o], p)
				}
			}
		}
	}
	return r
}

// spent is who pays for a request.
type spent struct {
	user    string // empty: nobody is known yet
	claims  *rate.Claims
	address bool // the connection's address pays too
	room    string
	bytes   int
}

// operationOf says what a request is and of which room.
func operationOf(f *v1.ClientFrame) (o rate.Operation, room string) {
	switch op := f.Op.(type) {
	case *v1.ClientFrame_Connect:
		return rate.Connect, ""
	case *v1.ClientFrame_Publish:
		return rate.Publish, op.Publish.GetRoom()
	case *v1.ClientFrame_Create, *v1.ClientFrame_Configure, *v1.ClientFrame_Member, *v1.ClientFrame_Notify, *v1.ClientFrame_Device:
		return rate.Publish, "" // stored like a message, but none of the room's
	case *v1.ClientFrame_Join:
		return rate.Join, op.Join.GetRoom()
	case *v1.ClientFrame_Leave:
		return rate.Join, op.Leave.GetRoom()
	case *v1.ClientFrame_History:
		return rate.Read, op.History.GetRoom()
	case *v1.ClientFrame_Receipts:
		return rate.Read, op.Receipts.GetRoom()
	case *v1.ClientFrame_Mark:
		return rate.Mark, op.Mark.GetRoom()
	case *v1.ClientFrame_Typing:
		return rate.Mark, op.Typing.GetRoom()
	case *v1.ClientFrame_State:
		return rate.Mark, ""
	case *v1.ClientFrame_Presence:
		return rate.Read, op.Presence.GetRoom()
	case *v1.ClientFrame_Members:
		return rate.Read, op.Members.GetRoom()
	case *v1.ClientFrame_Rooms, *v1.ClientFrame_Sync:
		return rate.Read, ""
	}
	return rate.Other, ""
}

// admit reports whether a request is within all rates, and answers if not: the one place for every operation and every way
// to the server. What is refused later on for another reason has been paid for all the same. Heads of HTTP and opened connections have no request to answer, see admission.
func (l *Loop) admit(c *conn, f *v1.ClientFrame, size int) bool {
	rules := l.engine.rates.Load()
	if !rules.hold(c.identity) {
		return true
	}
	o, room := operationOf(f)
	s := spent{address: true, room: room, bytes: size}
	if c.identity != nil {
		s.user, s.claims = c.identity.User, c.identity.Claims()
		if room != "" && !l.mayUse(c, f, o, room) {
			s.room = "" // the request will be refused; nobody outside may use up what a room has
		}
	}
	return l.spend(c, f.Id, rules, o, s)
}

// mayUse reports whether the connection's user may do an operation in a room. Whether they may come into one with members only the
// keeper of members knows, so that a room which is not open pays for no join.
func (l *Loop) mayUse(c *conn, f *v1.ClientFrame, o rate.Operation, room string) bool {
	if o == rate.Publish && !c.identity.CanPublish(room) || o != rate.Publish && !c.identity.CanJoin(room) {
		return false
	}
	kind := l.cfg.Kind(room)
	if kind == handoff.Plain || kind == handoff.Open && f.GetJoin() != nil {
		return true
	}
	p := l.inside(c, room)
	if p == nil || o != rate.Publish {
		return p != nil
	}
	speak := l.rooms[room].membership.speak
	may := p.role >= speak || speak <= handoff.RoleModerator && l.moderates(c, room)
	return may && p.mutedUntil <= time.Now().UnixMilli()
}

// admitUser is for who has just been found to be one: a first connect has been paid for by the address only.
func (l *Loop) admitUser(c *conn, id uint64, user string, claims *rate.Claims) bool {
	return l.spend(c, id, l.engine.rates.Load(), rate.Connect, spent{user: user, claims: claims})
}

func (l *Loop) spend(c *conn, id uint64, rules *rates, o rate.Operation, s spent) bool {
	var asks [6]rate.Ask
	var of [len(asks)]part
	n := 0
	buckets := l.engine.buckets
	parts := rules.parts[o]
	if s.claims != nil {
		parts = rules.claimable[o]
	}
	for _, p := range parts {
		ask := rate.Ask{Rate: p.rate, Amount: 1}
		switch {
		case p.scope == rate.User && s.user != "":
			ask.Key = buckets.Text(p.scope, p.operation, s.user)
			if s.claims != nil {
				ask.Rate = rules.ForUser(p.operation, s.claims)
			}
		case p.scope == rate.Address && s.address && !l.engine.rules.Load().trusts(remoteAddr(c.sock)):
			ask.Key = l.addressKey(c, p.operation)
		case p.scope == rate.Room && s.room != "" && len(s.room) <= proto.MaxName:
			ask.Key = buckets.Text(p.scope, p.operation, s.room)
		default:
			continue
		}
		if p.operation == rate.Bytes {
			ask.Amount = float64(s.bytes)
		}
		if !ask.Rate.None() {
			asks[n], of[n] = ask, p
			n++
		}
	}
	if n == 0 {
		return true
	}
	now := int64(time.Since(l.engine.started))
	short, wait := buckets.Take(now, asks[:n])
	if wait <= 0 {
		return true
	}
	l.failFor(c, id, proto.ErrRateLimited, fmt.Sprintf("That is faster than the server allows: the rate of %s of the %s.",
		of[short].operation, of[short].scope), wait)
	if _, wait := buckets.Take(now, []rate.Ask{{Key: l.floodKey(c), Rate: floods, Amount: 1}}); wait > 0 {
		l.deny(c, deniedFlood, nil)
		l.close(c, proto.CloseOverloaded, proto.ErrRateLimited.Name)
	}
	return false
}

// admitOpen takes a connection from the bucket of its address.
func (e *Engine) admitOpen(from netip.Addr) bool {
	rules := e.rates.Load()
	if rules.Of[rate.Address][rate.Open].None() {
		return true
	}
	_, wait := e.buckets.Take(int64(time.Since(e.started)), []rate.Ask{e.opening(rules, from)})
	return wait <= 0
}

// openAgain is after how many seconds an address may open another connection, 1 at least.
func (l *Loop) openAgain(from netip.Addr) int {
	rules := l.engine.rates.Load()
	if rules.Of[rate.Address][rate.Open].None() {
		return 1 // they were taken away meanwhile
	}
	wait := l.engine.buckets.Wait(int64(time.Since(l.engine.started)), l.engine.opening(rules, from))
	return max(1, int((wait+time.Second-1)/time.Second))
}

func (e *Engine) opening(rules *rates, from netip.Addr) rate.Ask {
	from = subscriber(from)
	bytes := from.As16()
	return rate.Ask{Key: e.buckets.Bytes(rate.Address, rate.Open, bytes[:]), Rate: rules.Of[rate.Address][rate.Open], Amount: 1}
}

// addressKey is the bucket of a connection's address. It is computed anew each time, since a million idle connections need none.
func (l *Loop) addressKey(c *conn, o rate.Operation) rate.Key {
	bytes := subscriber(remoteAddr(c.sock)).As16()
	return l.engine.buckets.Bytes(rate.Address, o, bytes[:])
}

// floodKey is the bucket of a connection's refusals: of the operation Other, which has no rate of a user.
func (l *Loop) floodKey(c *conn) rate.Key {
	return l.engine.buckets.Text(rate.User, rate.Other, c.name())
}
