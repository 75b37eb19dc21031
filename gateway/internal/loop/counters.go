package loop

import (
	"sync/atomic"

	"rookery/proto"
)

// Counters of one loop: written by it, read by anyone. They are apart from the Loop so that
// a reader never touches it.
type Counters struct {
	Connections   atomic.Int64 // open now
	Sessions      atomic.Int64 // authenticated now, and by what they speak
	Protocols     [len(protocolNames)]atomic.Int64
	Subscriptions atomic.Int64 // now, joining ones among them
	Rooms         atomic.Int64 // rooms with members or joins on this loop now
	Behind        atomic.Int64 // subscriptions that are served from memory or the log now
	Buffered      atomic.Int64 // bytes that sockets did not take

	EphemeralKept atomic.Int64 // bytes kept for who is behind with ephemeral messages
	RecentBytes   atomic.Int64 // bytes of the last messages of rooms that are kept for who is behind

	Opened     atomic.Int64
	BytesIn    atomic.Int64
	BytesOut   atomic.Int64
	FramesIn   atomic.Int64
	Deliveries atomic.Int64 // messages handed to connections, live, from memory or from the log
	Writes     atomic.Int64 // writes to sockets

	RecentDeliveries atomic.Int64 // of Deliveries, those to who was behind that needed no page of the log
	FellBehind       atomic.Int64 // times that a subscription left the live edge
	Full             atomic.Int64 // times that a socket did not take everything
	Probes           atomic.Int64 // heartbeats that we asked for
	Answers          atomic.Int64 // of them, those that were followed by a sign of life
	Panics           atomic.Int64
	PushedBack       atomic.Int64 // publishes refused for what waits for the loop, or since they lay for long in their sockets

	EphemeralDelivered atomic.Int64                 // ephemeral messages handed to connections
	EphemeralDropped   [len(dropNames)]atomic.Int64 // deliveries of them that are left out
	EphemeralEvicted   atomic.Int64                 // newest ones of a key that were not kept for want of room

	Refused [len(refusalNames)]atomic.Int64
	Denied  [len(denialNames)]atomic.Int64
	// Unlogged counts those of Denied without a line, since there were many of the address.
	Unlogged atomic.Int64
	Closed   []atomic.Int64 // by index in proto.CloseCodes; last: without one of ours
	Errors   []atomic.Int64 // by index in proto.Errors
}

// refusal says why a connection was turned away.
type refusal uint8

const (
	refusedNot refusal = iota
	refusedFull
	refusedAddress
	refusedDraining
	refusedFlood
	refusedRate
)

var refusalNames = [...]string{"", "connections", "address", "draining", "flood", "rate"}

// RefusalNames gives the reasons by index in Counters.Refused; the first is none.
func RefusalNames() []string { return refusalNames[:] }

// Why an ephemeral message was not delivered to a member. It is owed to those who are members when its turn in the room comes: each of
// these deliveries is in EphemeralDelivered or here, once it is decided, which for who is behind is when it drains or goes.
const (
	dropBehind = iota // its socket was full, and a newer one of the key, or none, was kept for it
	dropLeft          // its socket was full, and it left or was closed
)

var dropNames = [...]string{"behind", "left"}

// DropNames gives the reasons by index in Counters.EphemeralDropped.
func DropNames() []string { return dropNames[:] }

var (
	closeIndex = map[uint16]int{}
	errorIndex = map[proto.ErrorCode]int{}
)

func init() {
	for i, c := range proto.CloseCodes() {
		closeIndex[c.Code] = i
	}
	for i, c := range proto.Errors() {
		errorIndex[c] = i
	}
}

// closedIndex is the index in Counters.Closed of a code that we closed with.
func closedIndex(code uint16) int {
	if i, ok := closeIndex[code]; ok {
		return i
	}
	return len(closeIndex)
}

func newCounters() *Counters {
	return &Counters{
		Closed: make([]atomic.Int64, len(closeIndex)+1),
		Errors: make([]atomic.Int64, len(errorIndex)),
	}
}
