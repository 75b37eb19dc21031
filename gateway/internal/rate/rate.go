// Package rate limits how often something may be done: token buckets of users, addresses and rooms, for each operation.
//
//	rate.go    what is limited, and the rules
//	table.go   the buckets
//	line.go    lines of the log: one a second
//
// # Bounds
//
// All buckets are in one table of a fixed size, whoever comes from wherever, so that an attacker with many addresses or names
// makes nothing grow. A bucket that is full needs no place. One that is not keeps its place until it is full again, which is
// burst / rate seconds at most; where eight such meet in one place of the table, the one that is nearest to full is forgotten
// for a ninth, and counted. With 65,536 places that begins to happen with some ten thousand buckets in use at once. It errs on the side of
// letting in: nobody is limited for what somebody else did.
//
// Names are not kept, only a hash of 64 bits with a seed of this process: two share a bucket once in 2^64 pairs.
//
// # Not promised
//
// A server that restarts begins with full buckets, and servers do not know of each other's. Of two requests at the same moment that need several
// buckets each, one may be refused by what the other takes and gives back again.
package rate

import (
	"fmt"
	"slices"
	"strings"
)

// Scope is whose bucket it is.
type Scope uint8

// The scopes. An IPv6 address counts as its /64.
const (
	User Scope = iota
	Address
	Room
	Scopes int = iota
)

var scopeNames = [Scopes]string{"user", "address", "room"}

func (s Scope) String() string { return scopeNames[s] }

// Operation is what is done.
type Operation uint8

// The operations.
const (
	Other   Operation = iota // what costs its bytes only
	Open                     // a connection
	Connect                  // a token or name is checked
	Publish                  // and what changes rooms and their members
	Join                     // and leave
	Read                     // history, and questions for receipts, members and rooms
	Mark
	Bytes
	Operations int = iota
)

var operationNames = [Operations]string{"other", "open", "connect", "publish", "join", "read", "mark", "bytes"}

func (o Operation) String() string { return operationNames[o] }

// exist says which rates there are: before a connection is authenticated it has no user, and only some operations name a room.
var exist = [Scopes][]Operation{
	User:    {Connect, Publish, Join, Read, Mark, Bytes},
	Address: {Open, Connect, Publish, Join, Read, Mark, Bytes},
	Room:    {Publish, Join, Read, Mark, Bytes},
}

// Parse reads the names of a scope and an operation.
func Parse(scope, operation string) (Scope, Operation, error) {
	s := slices.Index(scopeNames[:], scope)
	if s < 0 {
		return 0, 0, fmt.Errorf("names %q, which is none of %s", scope, strings.Join(scopeNames[:], ", "))
	}
	var names []string
	for _, o := range exist[s] {
		if o.String() == operation {
			return Scope(s), o, nil
		}
		names = append(names, o.String())
	}
	return 0, 0, fmt.Errorf("names %q, and what a rate of %s may be of is %s", operation, scope, strings.Join(names, ", "))
}

// Rules are the rates in force. They don't change once they are used.
type Rules struct {
	Of [Scopes][Operations]Rate
	// Raise is how many times the rate of a user a claim of the token may give, 1 or more.
	Raise float64
}

// Any reports whether there is a rate.
func (r *Rules) Any() bool { return r.Of != [Scopes][Operations]Rate{} }

// Claims are the rates that a user's token asks for, a second; 0 where it says nothing.
type Claims [Operations]float32

// ForUser is the rate of a user whose token may claim another; claims may be nil.
func (r *Rules) ForUser(o Operation, claims *Claims) Rate {
	if claims == nil {
		return r.Of[User][o]
	}
	return r.Of[User][o].claimed(float64(claims[o]), max(1, r.Raise))
}
