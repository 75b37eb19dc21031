package takeover

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/rate"
	"rookery/proto"
)

// Version is of messages and state. It is a new one with each change of either, or of what a number in the state means.
const Version = 3

// Connection is a connection between two processes, or two engines of one. Times are in milliseconds relative to the moment at which
// it was packed.
type Connection struct {
	FD int // the descriptor, which goes beside the state

	Slot, Generation uint32 // with the number of its loop these are the session's name
	Phase            uint8  // of package loop
	Codec            proto.Codec
	Stream           bool // raw TCP
	Kernel           bool // the kernel has its records of TLS
	Probed           bool // a sign of life was asked for
	Away             bool
	Watching         bool // it is told of its user's rooms
	Closed           uint16

	Heard, Took int64 // so long ago
	Due         int64 // in so long, 0: no deadline

	Socket   netip.Addr // the other end of its socket, invalid for a Unix socket; to ask the kernel would take longer than all the rest
	Origin   netip.Addr // whom it speaks for; both invalid: its socket says it
	Peer     netip.Addr // who is at its other end, a proxy perhaps
	Inbound  []byte     // what the peer has sent and was not worked off
	Outbound []byte     // what the socket has not taken
	Identity *identity.Identity
	Rooms    []Room
}

// Room is a subscription.
type Room struct {
	Name             string
	Position         uint64 // the last message that the connection was given
	Watching, Typing bool
	Member           *handoff.Membership // of a room with members
}

const (
	flagStream = 1 << iota
	flagProbed
	flagAway
	flagWatching
	flagIdentity
	flagRights
	flagRates
	flagKernel
)

const (
	roomWatching = 1 << iota
	roomTyping
	roomMember
)

// Append appends the state to dst.
func (c *Connection) Append(dst []byte) []byte {
	flags := bit(c.Stream, flagStream) | bit(c.Probed, flagProbed) | bit(c.Away, flagAway) | bit(c.Watching, flagWatching) | bit(c.Kernel, flagKernel)
	who := c.Identity
	if who != nil {
		flags |= flagIdentity | bit(who.Rights != nil, flagRights) | bit(who.Claims() != nil, flagRates)
	}
	dst = numbers(dst, flags, uint64(c.Slot), uint64(c.Generation), uint64(c.Phase), uint64(c.Codec), uint64(c.Closed))
	for _, n := range []int64{c.Heard, c.Took, c.Due} {
		dst = binary.AppendVarint(dst, n)
	}
	dst = text(dst, c.Socket.AsSlice())
	dst = text(dst, c.Origin.AsSlice())
	dst = text(dst, c.Peer.AsSlice())
	dst = text(dst, c.Inbound)
	dst = text(dst, c.Outbound)
	if who != nil {
		dst = text(dst, who.User)
		dst = binary.AppendVarint(dst, who.Expires)
		dst = numbers(dst, who.TokenID, uint64(who.Issued))
		if r := who.Rights; r != nil {
			for _, patterns := range [][]string{r.Join, r.Publish, r.Create, r.Moderate} {
				dst = texts(dst, patterns)
			}
		}
		if claims := who.Claims(); claims != nil {
			for _, c := range claims {
				dst = numbers(dst, uint64(math.Float32bits(c)))
			}
		}
	}
	dst = numbers(dst, uint64(len(c.Rooms)))
	for i := range c.Rooms {
		dst = c.Rooms[i].append(dst)
	}
	return dst
}

func (r *Room) append(dst []byte) []byte {
	dst = text(dst, r.Name)
	dst = numbers(dst, bit(r.Watching, roomWatching)|bit(r.Typing, roomTyping)|bit(r.Member != nil, roomMember), r.Position)
	if m := r.Member; m != nil {
		dst = numbers(dst, uint64(m.Role), uint64(m.Kind), uint64(m.Speak), uint64(m.SlowMS))
		dst = binary.AppendVarint(dst, m.MutedUntil)
		dst = texts(dst, []string{m.User, m.Peer, m.Title})
	}
	return dst
}

// Decode reads a state into c. Its bytes are views into b.
func (c *Connection) Decode(b []byte) error { return c.decode(b, nil) }

func (c *Connection) decode(b []byte, known names) error {
	r := reader{b: b, names: known}
	flags := r.number()
	c.Slot, c.Generation = uint32(r.number()), uint32(r.number())
	c.Phase, c.Codec, c.Closed = uint8(r.number()), proto.Codec(r.number()), uint16(r.number())
	c.Stream, c.Probed = flags&flagStream != 0, flags&flagProbed != 0
	c.Away, c.Watching, c.Kernel = flags&flagAway != 0, flags&flagWatching != 0, flags&flagKernel != 0
	c.Heard, c.Took, c.Due = r.signed(), r.signed(), r.signed()
	c.Socket, _ = netip.AddrFromSlice(r.bytes())
	c.Origin, _ = netip.AddrFromSlice(r.bytes())
	c.Peer, _ = netip.AddrFromSlice(r.bytes())
	c.Inbound, c.Outbound = r.bytes(), r.bytes()
	if flags&flagIdentity != 0 {
		who := &identity.Identity{User: string(r.bytes()), Expires: r.signed(), TokenID: r.number(), Issued: uint32(r.number())}
		if flags&flagRights != 0 {
			who.Rights = &identity.Rights{Join: r.texts(), Publish: r.texts(), Create: r.texts(), Moderate: r.texts()}
		}
		if flags&flagRates != 0 && who.Rights != nil {
			who.Rights.Rates = new(rate.Claims)
			for i := range who.Rights.Rates {
				who.Rights.Rates[i] = math.Float32frombits(uint32(r.number()))
			}
		}
		c.Identity = who
	}
	c.Rooms = make([]Room, r.count())
	for i := range c.Rooms {
		c.Rooms[i].decode(&r)
	}
	if r.failed || len(r.b) > 0 {
		return errors.New("the state of a connection can't be read")
	}
	return nil
}

func (r *Room) decode(from *reader) {
	r.Name = from.names.of(from.bytes())
	flags := from.number()
	r.Position = from.number()
	r.Watching, r.Typing = flags&roomWatching != 0, flags&roomTyping != 0
	if flags&roomMember != 0 {
		m := &handoff.Membership{
			Role: handoff.Role(from.number()), Kind: handoff.RoomKind(from.number()), Speak: handoff.Role(from.number()),
			SlowMS: uint32(from.number()), MutedUntil: from.signed(),
		}
		if names := from.texts(); len(names) == 3 {
			m.User, m.Peer, m.Title = names[0], names[1], names[2]
		} else {
			from.failed = true
		}
		r.Member = m
	}
}

func bit(is bool, flag uint64) uint64 {
	if is {
		return flag
	}
	return 0
}

func numbers(dst []byte, values ...uint64) []byte {
	for _, n := range values {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

func text[T string | []byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func texts(dst []byte, list []string) []byte {
	dst = numbers(dst, uint64(len(list)))
	for _, s := range list {
		dst = text(dst, s)
	}
	return dst
}

// names are those of rooms, each once: many connections are in the same ones. Without it each has its own.
type names map[string]string

func (n names) of(b []byte) string {
	if name, known := n[string(b)]; known {
		return name
	}
	name := string(b)
	if n != nil {
		n[name] = name
	}
	return name
}

// reader reads what Append wrote. Once it has failed it gives zeros.
type reader struct {
	b      []byte
	names  names
	failed bool
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.b)
	r.skip(n)
	return v
}

func (r *reader) signed() int64 {
	v, n := binary.Varint(r.b)
	r.skip(n)
	return v
}

func (r *reader) skip(n int) {
	if n <= 0 {
		r.failed, r.b = true, nil
		return
	}
	r.b = r.b[n:]
}

func (r *reader) bytes() []byte {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.failed, r.b = true, nil
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// count is the number of a list, each of which has a byte at least.
func (r *reader) count() uint64 {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.failed, r.b = true, nil
		return 0
	}
	return n
}

func (r *reader) texts() []string {
	list := make([]string, r.count())
	for i := range list {
		list[i] = string(r.bytes())
	}
	return list
}
