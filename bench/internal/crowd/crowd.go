// Package crowd is the users of one worker: when they connect, what they join, send and receive, and what goes wrong for them
// on purpose. It is the handler of an engine.Loop and is owned by it: every method but New is called on the loop.
//
//	crowd.go    the crowd, what it is told and what it tells
//	connect.go  connecting, joining, coming back
//	secure.go   TLS: with what it is made, and what became of it
//	fill.go     what is in the rooms before the users come
//	send.go     the schedule
//	closed.go   the load that has none
//	receive.go  what arrives
//	trouble.go  stalls, cuts, churn, moves
//	marks.go    members mark what they have read
//	settle.go   the end: what was owed to whom
//
// Users are numbered over all workers: slot i of worker w of n is user i*n+w, a member of the rooms i*n+w, i*n+w+1 and so on modulo
// their number. All workers draw the same schedule and each does its users' part of it, so that nobody has to tell anyone what to do.
package crowd

import (
	"crypto/tls"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"rookery/bench/internal/dialect"
	"rookery/bench/internal/engine"
	"rookery/bench/internal/ledger"
	"rookery/bench/plan"
	"rookery/bench/result"
)

// Part is what one worker has of a run.
type Part struct {
	Plan    plan.Plan `json:"plan"`
	Run     uint32    `json:"run"` // a number that no other run has
	Worker  int       `json:"worker"`
	Workers int       `json:"workers"`
	// Targets are the plan's, resolved: an address for each.
	Targets []netip.AddrPort `json:"targets"`
	// Secrets of the plan, which its own JSON form leaves out.
	Token string `json:"token,omitempty"`
	Key   string `json:"key,omitempty"`
	// CA is server.tls.ca, which that form leaves out too.
	CA string `json:"ca,omitempty"`
	// Clock is what has to be added to engine.Now to get the coordinator's clock.
	Clock int64 `json:"clock"`
}

// users is how many slots the worker has.
func (p *Part) users() int {
	return (p.Plan.Clients.Connections - p.Worker + p.Workers - 1) / p.Workers
}

// user is what is known of a slot. There are hundreds of thousands of them.
type user struct {
	session  dialect.Session
	due      int64  // when its connection was due, at the first of its tries
	lost     int64  // when its connection was lost or cut, 0: it is online, or was never yet
	expires  int64  // until when this try must be done
	sent     uint32 // messages in this life
	requests uint32 // the newest of its requests, 0: none
	waiting  int16  // joins, and the login sent with them, that are not answered yet, while it is connecting
	life     uint16 // how often it was replaced by a new user
	tries    uint8  // to connect, since it was last online
	state    state
}

// state of a user.
type state uint8

const (
	absent     state = iota // not begun, or given up
	connecting              // until everything is joined
	online
	away // comes back later
)

// request is one that is not answered yet. Those of a user are a list, and so are the free ones. Its id is its place in
// Crowd.requests and one.
type request struct {
	due        int64
	user       int32  // -1: free
	room       int32  // of a publish and a mark its number, else which of the user's rooms
	next, prev uint32 // ids, 0: none
	seq        uint32 // of a publish, its sender's number; of a mark, what was marked
	kind       requestKind
}

type requestKind uint8

const (
	joinRequest requestKind = iota
	leaveRequest
	publishRequest
	markRequest
)

// Crowd is the users of one worker.
type Crowd struct {
	// Set at construction.
	part     Part
	loop     *engine.Loop
	sources  *engine.Sources
	dialects []dialect.Dialect // one for each target
	configs  []*tls.Config     // too, nil: without TLS
	traits   dialect.Traits
	finder   *ledger.Finder
	perUser  int // rooms of a user

	// Owned by the loop: the users, and what they wait for.
	users    []user
	accounts []ledger.Account // perUser for each user
	requests []request
	free     uint32 // id of a free request, 0: none
	waiting  int64  // publishes among the requests
	marking  int64  // marks among them
	marks    timers // members that will have read
	timers   timers
	waits    *rand.Rand  // of users that come back, or read
	detached map[int]int // sockets of users that were cut silently, closed when they are back

	connects connects
	load     load
	underWay closed
	trouble  trouble
	fill     fill
	heads    []uint64        // of each room: the largest number that was seen, or what its senders here sent
	told     []uint64        // heads at the last News, nil: there was none
	known    []uint64        // of all workers, nil before the first Learn
	complete int             // accounts before this one are, as far as is known
	untold   []ledger.Number // untaken publishes, since the last News
	untaken  ledger.Untaken  // of all workers
	closed   []ended         // before the end, with holes that may be refused publishes of others

	// Owned by the loop: what came of it, and scratch.
	counts     result.Counts
	second     result.Latencies // since the last Second
	total      result.Latencies // of the counted load
	faults     map[string]*result.Fault
	agreements map[result.Agreement]*result.Agreement // by what was agreed on, without counts
	online     int
	behind     int // accounts that are not up to date
	event      dialect.Event
	alike      alike
	out        []byte
	body       []byte
	caughtN    int64 // messages of before the load that came
	seconds    int   // that were taken
	settled    bool  // nothing counts any more
	leaving    bool  // after it is settled
	leaver     int   // users before this one have left
}

// New makes the crowd of a part; the part's plan is checked. Attach comes before anything else.
func New(part Part) (*Crowd, error) {
	c := &Crowd{
		part: part, finder: ledger.NewFinder(part.Run), perUser: part.Plan.Rooms.PerConnection,
		users: make([]user, part.users()), faults: map[string]*result.Fault{}, agreements: map[result.Agreement]*result.Agreement{}, detached: map[int]int{},
		heads: make([]uint64, part.Plan.Rooms.Count), second: result.NewLatencies(), total: result.NewLatencies(),
	}
	c.accounts = make([]ledger.Account, len(c.users)*c.perUser)
	var err error
	if c.sources, err = engine.ParseSources(part.Plan.Clients.Sources); err != nil {
		return nil, err
	}
	server := part.Plan.Server
	server.Token, server.Key = part.Token, part.Key
	var targets []dialect.Target
	for _, text := range server.Targets {
		target, err := dialect.ParseTarget(text)
		if err != nil {
			return nil, err
		}
		d, err := dialect.New(dialect.Config{
			Server: server, Prefix: part.Plan.Rooms.Prefix, Ephemeral: part.Plan.Publish.Ephemeral,
		}, target)
		if err != nil {
			return nil, err
		}
		c.dialects, targets = append(c.dialects, d), append(targets, target)
	}
	server.TLS.CA = part.CA
	if c.configs, err = configs(&server.TLS, targets); err != nil {
		return nil, err
	}
	c.traits = c.dialects[0].Traits()
	c.waits = rand.New(rand.NewPCG(uint64(part.Run), uint64(part.Worker)+2))
	c.load.begin(part.Run)
	c.load.typing.begin(part.Run) // the same moments, ahead
	c.trouble.next, c.connects.at, c.underWay.at = math.MaxInt64, math.MaxInt64, math.MaxInt64
	return c, nil
}

// Capacity is how many connections the loop needs: one for each user, and one that fills rooms.
func (c *Crowd) Capacity() int { return len(c.users) + 1 }

// Attach gives the crowd its loop.
func (c *Crowd) Attach(l *engine.Loop) { c.loop = l }

// now is the coordinator's clock.
func (c *Crowd) now() int64 { return engine.Now() + c.part.Clock }

// number is the number of a slot among the users of all workers.
func (c *Crowd) number(slot int) int { return slot*c.part.Workers + c.part.Worker }

// slot is the reverse of number, -1 for users of others.
func (c *Crowd) slot(number int) int {
	if number%c.part.Workers != c.part.Worker {
		return -1
	}
	return number / c.part.Workers
}

// room gives the k-th room of a user.
func (c *Crowd) room(number, k int) int { return (number + k) % c.part.Plan.Rooms.Count }

// account gives a user's account of a room, nil if it is no member.
func (c *Crowd) account(slot, room int) *ledger.Account {
	count := c.part.Plan.Rooms.Count
	k := (room - c.number(slot)%count + count) % count
	if k >= c.perUser {
		return nil
	}
	return &c.accounts[slot*c.perUser+k]
}

func (c *Crowd) dialect(slot int) dialect.Dialect {
	return c.dialects[c.number(slot)%len(c.dialects)]
}

// Due does what is due.
func (c *Crowd) Due(now int64) int64 {
	if c.leaving {
		return c.dueLeaves(now)
	}
	if c.settled {
		return math.MaxInt64
	}
	now += c.part.Clock
	next := c.dueConnects(now)
	next = min(next, c.dueTimers(now))
	next = min(next, c.dueFill(now))
	next = min(next, c.dueTrouble(now))
	next = min(next, c.dueTyping(now))
	next = min(next, c.dueSends(now))
	next = min(next, c.dueMarks(now))
	next = min(next, c.dueClosed(now))
	return next - c.part.Clock
}

// fault counts something that went wrong, in words; which are kept for the first hundred different ones.
func (c *Crowd) fault(what string, err any) { c.faultTimes(what, err, 1) }

func (c *Crowd) faultTimes(what string, err any, times int64) {
	message := fmt.Sprint(err)
	key := what + " " + message
	f := c.faults[key]
	if f == nil {
		if len(c.faults) >= 100 {
			key, message = what+" others", "others"
			if f = c.faults[key]; f == nil {
				f = &result.Fault{What: what, Message: message}
				c.faults[key] = f
			}
			f.Count += times
			return
		}
		f = &result.Fault{What: what, Message: message}
		c.faults[key] = f
	}
	f.Count += times
}

// request takes a number for a request.
func (c *Crowd) request(slot int, kind requestKind, room int, due int64) uint32 {
	id, u := c.free, &c.users[slot]
	if id == 0 {
		c.requests = append(c.requests, request{})
		id = uint32(len(c.requests))
	} else {
		c.free = c.requests[id-1].next
	}
	c.requests[id-1] = request{due: due, user: int32(slot), room: int32(room), kind: kind, next: u.requests}
	if u.requests != 0 {
		c.requests[u.requests-1].prev = id
	}
	u.requests = id
	c.count(kind, 1)
	return id
}

// count keeps how many requests wait that the end of the run waits for too.
func (c *Crowd) count(kind requestKind, n int64) {
	switch kind {
	case publishRequest:
		c.waiting += n
	case markRequest:
		c.marking += n
	}
}

// answered gives the request that an answer is for and forgets it; ok is false for an answer to nothing.
func (c *Crowd) answered(slot int, id uint32) (r request, ok bool) {
	if id == 0 || int64(id) > int64(len(c.requests)) || c.requests[id-1].user != int32(slot) {
		return r, false
	}
	r = c.requests[id-1]
	if r.next != 0 {
		c.requests[r.next-1].prev = r.prev
	}
	if r.prev != 0 {
		c.requests[r.prev-1].next = r.next
	} else {
		c.users[slot].requests = r.next
	}
	c.count(r.kind, -1)
	c.requests[id-1] = request{user: -1, next: c.free}
	c.free = id
	return r, true
}

// abandon forgets the requests of a lost connection. Of a publish nobody knows whether it was taken.
func (c *Crowd) abandon(slot int) {
	for id := c.users[slot].requests; id != 0; id = c.users[slot].requests {
		switch r, _ := c.answered(slot, id); r.kind {
		case publishRequest:
			c.counts.Unanswered++
			c.notOwed(slot, r)
		case markRequest:
			c.account(slot, int(r.room)).Marking = ledger.MarkNone
		}
	}
}

// notOwed takes back that a publish is owed which the server did not take, or perhaps not. Where the server gives the
// numbers nothing was owed before it gave one. If it took the message after all, its deliveries are more than was owed.
func (c *Crowd) notOwed(slot int, r request) {
	if !c.traits.Numbered {
		c.heads[r.room]--
		c.untold = append(c.untold, ledger.Number{User: c.users[slot].session.User, Seq: r.seq})
	}
}

// Second is what happened since it was last called. The latencies are valid until the next call.
type Second struct {
	Open   int64
	Counts result.Counts // totals
	result.Latencies
}

// TakeSecond gives a copy of what happened since the last call.
func (c *Crowd) TakeSecond() Second {
	s := Second{Open: int64(c.online), Counts: c.Counts(), Latencies: c.second}
	c.second = result.NewLatencies()
	c.seconds++
	return s
}

// Seconds is how often TakeSecond was called.
func (c *Crowd) Seconds() int { return c.seconds }

// Counts are the totals so far.
func (c *Crowd) Counts() result.Counts {
	counts := c.counts
	if c.settled {
		return counts
	}
	counts.BytesIn, counts.BytesOut = c.loop.BytesIn(), c.loop.BytesOut()
	return counts
}

// Status is how far the crowd is.
type Status struct {
	Online  int
	Pending int   // users that are still to come, or come back
	Undue   int   // of them, those whose first connect was not begun
	Came    int64 // connects that were made, and those that failed
	Failed  int64
	Behind  int // memberships that are not up to date
	Caught  int64
	Filled  bool
	Unsent  bool // sends of the schedule are still to come
	Left    bool // after Leave: everybody has
}

// Status tells the worker whether a part of the run is over.
func (c *Crowd) Status() Status {
	return Status{
		Online: c.online, Pending: len(c.users) - c.online - c.connects.gone, Undue: len(c.users) - c.connects.next,
		Came: c.counts.Connected, Failed: c.counts.ConnectsFailed, Behind: c.behind, Caught: c.caughtN, Filled: c.fill.done(),
		Unsent: c.load.next != math.MaxInt64, Left: c.leaving && c.leaver == len(c.users),
	}
}

// Heard is how much has come so far of what a run waits for in its end.
func (c *Crowd) Heard() int64 {
	n := &c.counts
	return n.Delivered + n.Acknowledged + n.Refused + n.Marked + n.Connected + n.Joined
}

// Waiting is how many publishes and marks wait for their answer.
func (c *Crowd) Waiting() int64 { return c.waiting + c.marking }

// Latencies are those of the counted load.
func (c *Crowd) Latencies() result.Latencies { return c.total }

// Faults lists what went wrong.
func (c *Crowd) Faults() []result.Fault {
	var faults []result.Fault
	for _, f := range c.faults {
		faults = append(faults, *f)
	}
	return faults
}

// counted reports whether what was due at a moment belongs to the load that counts.
func (c *Crowd) counted(due int64) bool { return due >= c.load.countFrom && due < c.load.to }

// since is the time between two moments.
func since(from, to int64) time.Duration { return time.Duration(to - from) }
