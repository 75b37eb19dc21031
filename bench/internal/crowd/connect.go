package crowd

import (
	"container/heap"
	"crypto/tls"
	"errors"
	"math"
	"net/netip"
	"time"

	"rookery/bench/internal/dialect"
	"rookery/bench/internal/engine"
)

// turn is how many connects or sends are done in one call of Due, before the sockets are looked at again.
const turn = 256

// connects is the first coming of the users.
type connects struct {
	from    int64 // when it begins
	at      int64 // when the next one is due, math.MaxInt64: none is
	next    int   // slot
	pending int   // on their way
	gone    int   // users that gave up
	queue   []try // on their way, in the order in which they expire
}

// try is one of a user to connect; when it expires tells it from the user's other ones.
type try struct {
	slot    int
	expires int64
}

// Connect has all users connect from a moment on.
func (c *Crowd) Connect(from int64) {
	c.connects.from, c.connects.next = from, 0
	c.connects.at = c.connectTime(0)
}

// connectTime is when a slot is due.
func (c *Crowd) connectTime(slot int) int64 {
	if slot >= len(c.users) {
		return math.MaxInt64
	}
	if rate := c.part.Plan.Clients.Rate; rate > 0 {
		return c.connects.from + int64(float64(c.number(slot))/rate*float64(time.Second))
	}
	return c.connects.from
}

// maxPending is how many may be on their way here.
func (c *Crowd) maxPending() int {
	return max(1, c.part.Plan.MostPending()/c.part.Workers)
}

func (c *Crowd) dueConnects(now int64) int64 {
	k := &c.connects
	for n := 0; k.at <= now && k.pending < c.maxPending(); n++ {
		if n == turn {
			return now
		}
		slot := k.next
		due := k.at
		if c.part.Plan.Clients.Rate <= 0 {
			due = now // as fast as it goes: nothing was due before there was room for it
		}
		k.next++
		k.at = c.connectTime(k.next)
		c.dial(slot, due)
	}
	for n := 0; len(k.queue) > 0; n++ {
		if n == turn {
			return now
		}
		first := k.queue[0]
		u := &c.users[first.slot]
		waits := u.state == connecting && u.expires == first.expires
		if waits && first.expires > now {
			break
		}
		k.queue = k.queue[1:]
		if waits {
			err := c.timedOut(first.slot)
			c.loop.Close(first.slot, engine.Reset)
			c.failed(first.slot, err)
		}
	}
	next := int64(math.MaxInt64)
	if k.pending < c.maxPending() {
		next = k.at
	}
	if len(k.queue) > 0 {
		next = min(next, k.queue[0].expires)
	}
	return next
}

// dial begins a connection that was due at a moment. One that is tried again was due when it was first tried.
func (c *Crowd) dial(slot int, due int64) {
	u := &c.users[slot]
	number := c.number(slot)
	if u.tries == 0 {
		u.due = due
	}
	u.state, u.expires = connecting, c.now()+int64(c.part.Plan.Clients.Timeout)
	u.waiting = 0
	u.session = dialect.Session{User: uint32(number + int(u.life)*c.part.Plan.Clients.Connections)}
	u.tries = min(u.tries, math.MaxUint8-1) + 1
	c.counts.Connects++
	c.connects.pending++
	c.connects.queue = append(c.connects.queue, try{slot, u.expires})
	target, source, config := c.way(number)
	if err := c.loop.Dial(slot, target, source, config); err != nil {
		c.failed(slot, err)
	}
}

// way gives the addresses of a user's connection: every source is used with every target, since each pair has ports of its own.
func (c *Crowd) way(number int) (target netip.AddrPort, source netip.Addr, config *tls.Config) {
	targets := c.part.Targets
	return targets[number%len(targets)], c.sources.Pick(number / len(targets)), c.configs[number%len(c.configs)]
}

// failed is for a user that did not get as far as online.
func (c *Crowd) failed(slot int, err error) {
	u := &c.users[slot]
	c.connects.pending--
	c.counts.ConnectsFailed++
	what := "connect"
	if u.session.Opened() {
		what = "login"
	}
	kind, words := explain(what, err)
	c.fault(kind, words)
	c.abandon(slot)
	// From when it was cut or lost, or was due for the first time.
	from := u.due
	if u.lost > 0 {
		from = u.lost
	}
	now, wait := c.now(), c.backoff(int(u.tries))
	if limit := c.part.Plan.Clients.Retry.For; limit > 0 && now+wait-from > int64(limit) {
		u.state = absent
		c.connects.gone++
		return
	}
	c.comeBack(slot, now+wait)
}

// backoff draws how long a user waits before its next try, after so many that failed.
func (c *Crowd) backoff(tries int) int64 {
	retry := &c.part.Plan.Clients.Retry
	bound := retry.First
	for ; tries > 0 && bound < retry.Most; tries-- {
		bound *= 2
	}
	return c.waits.Int64N(int64(min(bound, retry.Most)) + 1)
}

// comeBack has a user connect again at a moment.
func (c *Crowd) comeBack(slot int, at int64) {
	c.users[slot].state = away
	heap.Push(&c.timers, timer{at: at, slot: slot})
}

// Opened is the socket's part.
func (c *Crowd) Opened(slot int) {
	if slot == len(c.users) {
		c.fillOpened()
		return
	}
	c.agreed(slot)
	u := &c.users[slot]
	c.out = c.dialect(slot).AppendOpen(c.out[:0], &u.session)
	if c.traits.Pipelines && u.session.Opened() {
		u.waiting = 1 // for the answer to the login
		c.ready(slot)
		return
	}
	c.write(slot, c.out)
}

// ready is the server's part: the rooms are joined, in one write with what is in c.out already.
func (c *Crowd) ready(slot int) {
	u := &c.users[slot]
	u.waiting += int16(c.perUser)
	for k := range c.perUser {
		c.appendJoin(slot, k)
	}
	if len(c.out) > 0 && c.write(slot, c.out) != nil {
		return
	}
	if !c.traits.Answers {
		for k := range c.perUser {
			c.joined(slot, k, 0)
		}
		u.waiting = 0
	}
	if u.waiting == 0 {
		c.cameOnline(slot)
	}
}

// answeredOne is for a user that waits for the answers to its login and its joins.
func (c *Crowd) answeredOne(slot int) {
	u := &c.users[slot]
	if u.state != connecting {
		return
	}
	if u.waiting--; u.waiting == 0 {
		c.cameOnline(slot)
	}
}

// appendJoin appends the join of a user's k-th room to c.out: from where it was, if it was there.
func (c *Crowd) appendJoin(slot, k int) {
	account := &c.accounts[slot*c.perUser+k]
	room := c.room(c.number(slot), k)
	join := dialect.Join{Room: room, After: -1}
	switch {
	case !c.traits.Resumes:
	case account.Opened:
		join.After = int64(account.Series.Last())
	case c.part.Plan.Rooms.Backlog > 0:
		join.After = 0
	}
	if c.traits.Answers {
		join.ID = c.request(slot, joinRequest, k, c.now())
		account.Joining = true
	}
	c.out = c.dialect(slot).AppendJoin(c.out, &c.users[slot].session, join)
}

// joined opens the account of a user's k-th room, or goes on with it.
func (c *Crowd) joined(slot, k int, head uint64) {
	c.counts.Joined++
	c.complete = 0
	account := &c.accounts[slot*c.perUser+k]
	c.seen(c.room(c.number(slot), k), head)
	switch {
	case account.Opened:
		account.Joining, account.Leaving = false, false // a leave was forgotten with its connection
	case c.traits.Numbered && c.part.Plan.Rooms.Backlog > 0:
		account.Open(0)
	case c.traits.Numbered:
		account.Open(head)
	default:
		account.Open(c.lateness())
	}
	if c.traits.Numbered && account.Target == 0 && head > account.Series.Last() {
		account.Target = head
		c.behind++
	}
	if c.part.Plan.Rooms.Presence && c.traits.Presence {
		c.out = c.dialect(slot).AppendWatch(c.out[:0], &c.users[slot].session, c.room(c.number(slot), k))
		_ = c.write(slot, c.out) // a connection that is lost is told elsewhere
	}
}

// lateness is the base of an account with a server that gives no numbers: 0 if everything of the load comes to it, 1 if it began
// within the load, when nobody can say with which message.
func (c *Crowd) lateness() uint64 {
	if c.load.begun {
		return 1
	}
	return 0
}

// seen keeps the largest number of a room.
func (c *Crowd) seen(room int, seq uint64) {
	if c.traits.Numbered && seq > c.heads[room] {
		c.heads[room] = seq
	}
}

// cameOnline ends connecting.
func (c *Crowd) cameOnline(slot int) {
	u := &c.users[slot]
	u.state, u.tries = online, 0
	c.connects.pending--
	c.online++
	c.counts.Connected++
	took := since(u.due, c.now())
	c.second.Connect.Record(took)
	c.total.Connect.Record(took)
	if u.lost > 0 {
		c.counts.CameBack++
		c.total.Away.Record(since(u.lost, c.now()))
		u.lost = 0
	}
	if fd, ok := c.detached[slot]; ok {
		engine.CloseDetached(fd)
		delete(c.detached, slot)
	}
	if c.trouble.stalled(c.number(slot)) {
		c.loop.Pause(slot)
	}
}

// Closed is for a connection that the peer or the network ended.
func (c *Crowd) Closed(slot int, err error) {
	if c.settled {
		return
	}
	if err == nil {
		err = errors.New("the server ended the connection")
	}
	if slot == len(c.users) {
		c.fill.err = err
		return
	}
	c.broken(slot, err)
}

// broken is for a connection that is closed already and that nobody meant to end.
func (c *Crowd) broken(slot int, err error) {
	switch c.users[slot].state {
	case connecting:
		c.failed(slot, err)
	case online:
		c.online--
		c.counts.Disconnected++
		c.fault("closed", err)
		c.abandon(slot)
		c.users[slot].lost = c.now()
		c.comeBack(slot, c.now()+c.backoff(0))
	}
}

// write sends to a user's connection. One that can't take it is lost, full or not: whoever did not ask, or did not answer, would
// wait for ever. Only a publish may be left out, see send. One that broke is lost when the loop has read what came before.
func (c *Crowd) write(slot int, b []byte) error {
	err := c.loop.Write(slot, b)
	if err != nil && !errors.Is(err, engine.ErrBroken) {
		c.loop.Close(slot, engine.Orderly)
		c.broken(slot, err)
	}
	return err
}

// timer has a user connect at a moment, join one of its rooms, or mark what it has read.
type timer struct {
	at   int64
	slot int
	room int32 // of a join: which of the user's; of a mark its number
	join bool
}

// timers is a heap of container/heap.
type timers []timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at < t[j].at }
func (t timers) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)        { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	last := (*t)[len(*t)-1]
	*t = (*t)[:len(*t)-1]
	return last
}

func (c *Crowd) dueTimers(now int64) int64 {
	for n := 0; len(c.timers) > 0 && c.timers[0].at <= now && c.connects.pending < c.maxPending(); n++ {
		if n == turn {
			return now
		}
		t := heap.Pop(&c.timers).(timer)
		switch {
		case t.join:
			c.rejoin(t.slot, int(t.room))
		case c.users[t.slot].state == away:
			c.dial(t.slot, t.at)
		}
	}
	if len(c.timers) == 0 || c.connects.pending >= c.maxPending() {
		return math.MaxInt64
	}
	return c.timers[0].at
}
