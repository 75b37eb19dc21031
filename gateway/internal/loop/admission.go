package loop

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// admission keeps the caps and rates that hold for an address or a user on all loops
// together. It is locked for a map access only, when a connection or session begins and ends,
// and is not there for what has no cap.
type admission struct {
	mu         sync.Mutex // guards all below and the accounts' connections
	perAddress int
	perUser    int
	rate       rate.Limit
	burst      int
	addresses  map[netip.Addr]*account
	users      map[string]*account
}

// account is what is known of an address or a user while it has connections.
type account struct {
	connections int // guarded by admission.mu
	address     netip.Addr
	user        string
	publishes   *rate.Limiter // safe for concurrent use; nil: no limit
}

// nobody stands for accounts that are not kept, so that "no cap" and "refused" differ.
var nobody = &account{}

func newAdmission() *admission {
	return &admission{
		addresses: make(map[netip.Addr]*account),
		users:     make(map[string]*account),
	}
}

func (a *admission) setRules(r Rules) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.perAddress, a.perUser = r.ConnectionsPerIP, r.ConnectionsPerUser
	a.rate, a.burst = rate.Limit(r.MessagesPerSecond), max(1, r.MessageBurst)
	limit := a.rate
	if limit == 0 {
		limit = rate.Inf
	}
	for _, acc := range a.users {
		if acc.publishes != nil {
			acc.publishes.SetLimit(limit)
			acc.publishes.SetBurst(a.burst)
		}
	}
}

// enter counts a connection of an address; nil means that it has too many. An IPv6
// address counts as its /64, which is what one subscriber is given.
func (a *admission) enter(address netip.Addr) *account {
	if address.Is6() {
		prefix, _ := address.Prefix(64)
		address = prefix.Addr()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.perAddress == 0 {
		return nobody
	}
	acc := a.addresses[address]
	if acc == nil {
		acc = &account{address: address}
		a.addresses[address] = acc
	}
	if acc.connections >= a.perAddress {
		return nil
	}
	acc.connections++
	return acc
}

// login counts a session of a user and reports false when there are too many.
func (a *admission) login(user string) (*account, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.perUser == 0 && a.rate == 0 {
		return nobody, true
	}
	acc := a.users[user]
	if acc == nil {
		acc = &account{user: user}
		if a.rate > 0 {
			acc.publishes = rate.NewLimiter(a.rate, a.burst)
		}
		a.users[user] = acc
	}
	if a.perUser > 0 && acc.connections >= a.perUser {
		return nil, false
	}
	acc.connections++
	return acc, true
}

// leave ends what enter or login counted. A user who goes and comes back has a full
// bucket again: the caps on connections bound what that is worth.
func (a *admission) leave(acc *account) {
	if acc == nil || acc == nobody {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	acc.connections--
	if acc.connections > 0 {
		return
	}
	if acc.user != "" {
		delete(a.users, acc.user)
	} else {
		delete(a.addresses, acc.address)
	}
}

// allow takes a publish from the user's bucket, or says when there will be one.
func (acc *account) allow(now time.Time) (wait time.Duration, ok bool) {
	if acc.publishes == nil {
		return 0, true
	}
	r := acc.publishes.ReserveN(now, 1)
	if wait = r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return wait, false
	}
	return 0, true
}
