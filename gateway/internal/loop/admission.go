package loop

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// admission keeps the caps and rates that hold for an address or a user on all loops
// together. It is locked for a map access only, when a connection or session begins and ends,
// and is not there for what has no cap.
type admission struct {
	rated atomic.Bool // there is a rate

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
	publishes   atomic.Pointer[rate.Limiter] // itself safe for concurrent use; nil: no limit
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
	a.rated.Store(a.rate > 0)
	for _, acc := range a.users {
		a.limitLocked(acc)
	}
}

// limitLocked puts the rate in force for a user.
func (a *admission) limitLocked(acc *account) {
	limiter := acc.publishes.Load()
	switch {
	case a.rate == 0:
		acc.publishes.Store(nil)
	case limiter == nil:
		acc.publishes.Store(rate.NewLimiter(a.rate, a.burst))
	default:
		limiter.SetLimit(a.rate)
		limiter.SetBurst(a.burst)
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
	acc := a.userLocked(user)
	if a.perUser > 0 && acc.connections >= a.perUser {
		return nil, false
	}
	acc.connections++
	return acc, true
}

// userLocked returns the account of a user, a new one if there is none.
func (a *admission) userLocked(name string) *account {
	acc := a.users[name]
	if acc == nil {
		acc = &account{user: name}
		a.limitLocked(acc)
		a.users[name] = acc
	}
	return acc
}

// limited returns the account whose bucket a session's publishes are taken from: its own, or
// one that it gets now, because it is from a time when there was no rate. It is then counted
// like the others, but no cap turns it away.
func (a *admission) limited(acc *account, user string) *account {
	if acc != nobody || !a.rated.Load() {
		return acc
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	acc = a.userLocked(user)
	acc.connections++
	return acc
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
	limiter := acc.publishes.Load()
	if limiter == nil {
		return 0, true
	}
	r := limiter.ReserveN(now, 1)
	if wait = r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return wait, false
	}
	return 0, true
}
