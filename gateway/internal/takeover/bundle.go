package takeover

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Bundle is all that a server gives away beside its listeners and its log.
type Bundle struct {
	Common
	Loops [][]Packed // by the number of the loop
}

// Packed is the state of a connection as it goes over the socket, and its descriptor.
type Packed struct {
	FD    int
	State []byte
}

// Common is what is of no single connection.
type Common struct {
	TokenIDKey  [16]byte // identity.TokenIDKey
	Generations []uint32 // of each loop: how many connections it has had
	Slow        []Slow
	Watched     []Watched
}

// Slow is a message that counts in slow mode.
type Slow struct {
	Room, User string
	At, Over   time.Time
}

// Watched is a room whose presence somebody watches, as they have been told it.
type Watched struct {
	Room    string
	Version uint64
	Told    map[string]string // states by user
}

// batchBytes is what ends a batch: one connection more may be in it.
const batchBytes = 256 << 10

// batchesAhead is how many may be on their way: the kernel bounds the descriptors of a user that are in no process by RLIMIT_NOFILE.
const batchesAhead = 8

// ErrUnread is a bundle that can't be understood.
var ErrUnread = errors.New("what the other process hands over can't be read")

// Len is the number of connections.
func (b *Bundle) Len() (n int) {
	for _, l := range b.Loops {
		n += len(l)
	}
	return n
}

// Close closes all descriptors.
func (b *Bundle) Close() {
	for _, l := range b.Loops {
		for _, p := range l {
			unix.Close(p.FD)
		}
	}
	b.Loops = nil
}

// SendBundle sends all of it but the end, Everything. The descriptors stay the caller's. The other end has so long for each batch: how long all take
// is a matter of their number.
func (c *Channel) SendBundle(b *Bundle, each time.Duration) error {
	c.Deadline(time.Now().Add(each))
	if err := c.SendJSON(Shared, b.Common); err != nil {
		return err
	}
	var payload []byte
	var fds []int
	ahead := 0
	batch := func() error {
		if len(fds) == 0 {
			return nil
		}
		c.Deadline(time.Now().Add(each))
		if err := c.Send(Connections, payload, fds...); err != nil {
			return err
		}
		payload, fds = payload[:0], fds[:0]
		if ahead++; ahead <= batchesAhead {
			return nil
		}
		ahead--
		_, err := c.Await(Received)
		return err
	}
	for i, l := range b.Loops {
		for _, p := range l {
			payload = text(numbers(payload, uint64(i)), p.State)
			if fds = append(fds, p.FD); len(fds) == MaxDescriptors || len(payload) >= batchBytes {
				if err := batch(); err != nil {
					return err
				}
			}
		}
	}
	if err := batch(); err != nil {
		return err
	}
	for ; ahead > 0; ahead-- {
		c.Deadline(time.Now().Add(each))
		if _, err := c.Await(Received); err != nil {
			return err
		}
	}
	return nil
}

// ReceiveBundle receives what SendBundle sends, and Everything behind it. The descriptors are the caller's.
func (c *Channel) ReceiveBundle() (_ *Bundle, err error) {
	b := &Bundle{}
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	m, err := c.Await(Shared)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(m.Payload, &b.Common); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnread, err)
	}
	b.Loops = make([][]Packed, len(b.Generations))
	for {
		m, err := c.Receive()
		switch {
		case err != nil:
			return nil, err
		case m.Kind == Everything:
			return b, nil
		case m.Kind != Connections:
			m.Close()
			return nil, fmt.Errorf("%w: a message of the kind %d", ErrUnread, m.Kind)
		}
		if err := b.add(&m); err != nil {
			return nil, err
		}
		if err := c.Send(Received, nil); err != nil {
			return nil, err
		}
	}
}

func (b *Bundle) add(m *Message) error {
	r := reader{b: m.Payload}
	for i, fd := range m.Descriptors {
		loop, state := r.number(), r.bytes()
		if r.failed || loop >= uint64(len(b.Loops)) {
			for _, fd := range m.Descriptors[i:] {
				unix.Close(fd)
			}
			return fmt.Errorf("%w: a batch of connections", ErrUnread)
		}
		b.Loops[loop] = append(b.Loops[loop], Packed{fd, state})
	}
	return nil
}

// Spread gives the connections to as many loops. As many as there were keep theirs, and so the names of their sessions; else they are
// dealt out, in new places.
func (b *Bundle) Spread(loops int) ([][]Connection, []uint32, error) {
	decoded := make([][]Connection, loops)
	generations := make([]uint32, loops)
	same := loops == len(b.Loops)
	next := 0
	for i, l := range b.Loops {
		if same {
			generations[i] = b.Generations[i]
		}
		for _, p := range l {
			to := i
			if !same {
				to, next = next%loops, next+1
			}
			c := Connection{FD: p.FD}
			if err := c.Decode(p.State); err != nil {
				return nil, nil, fmt.Errorf("%w: %w", ErrUnread, err)
			}
			if !same {
				c.Slot = uint32(len(decoded[to]))
				generations[to]++
				c.Generation = generations[to]
			}
			decoded[to] = append(decoded[to], c)
		}
	}
	return decoded, generations, nil
}
