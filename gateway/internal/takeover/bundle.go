package takeover

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Bundle is all that a server gives away beside its listeners and its log.
type Bundle struct {
	Common
	Loops [][]Packed // by the number of the loop

	came [][]Connection // the same, of a bundle that came: they are understood while more come
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
	Open        []uint32 // and how many there are now
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
	for _, l := range b.came {
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
	for _, l := range b.came {
		for i := range l {
			unix.Close(l[i].FD)
		}
	}
	b.Loops, b.came = nil, nil
}

// SendBundle sends all of it but the end, Everything. The descriptors stay the caller's. The other end has so long for each batch: how long all take
// is a matter of their number.
func (c *Channel) SendBundle(b *Bundle, each time.Duration) error {
	c.Deadline(time.Now().Add(each))
	b.Open = make([]uint32, len(b.Loops))
	for i, l := range b.Loops {
		b.Open[i] = uint32(len(l))
	}
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

// ReceiveBundle receives what SendBundle sends, and Everything behind it. The descriptors are the caller's. The other end has so long for each
// message.
func (c *Channel) ReceiveBundle(each time.Duration) (_ *Bundle, err error) {
	b := &Bundle{}
	c.Deadline(time.Now().Add(each))
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
	if len(b.Open) != len(b.Generations) {
		return nil, fmt.Errorf("%w: it is of %d and of %d loops", ErrUnread, len(b.Generations), len(b.Open))
	}
	b.came = make([][]Connection, len(b.Generations))
	for i, n := range b.Open {
		b.came[i] = make([]Connection, 0, min(n, mostFor))
	}
	batches, understood := make(chan Message, batchesAhead), make(chan error, 1)
	var gaveUp atomic.Bool
	giveUp := func() {
		gaveUp.Store(true) // first: whoever sets another deadline looks at it behind that
		c.Deadline(time.Now())
	}
	go func() { understood <- b.addLoop(batches, giveUp) }()
	err = c.receiveBatches(batches, each, &gaveUp)
	close(batches)
	if unread := <-understood; unread != nil {
		err = unread
	}
	return b, err
}

// mostFor is for how many connections of a loop room is made before they come.
const mostFor = 1 << 20

// receiveBatches receives all batches of connections, and Everything, unless whoever understands them gave up.
func (c *Channel) receiveBatches(batches chan<- Message, each time.Duration, gaveUp *atomic.Bool) error {
	for {
		c.Deadline(time.Now().Add(each))
		if gaveUp.Load() {
			return ErrUnread
		}
		m, err := c.Receive()
		switch {
		case err != nil:
			return err
		case m.Kind == Everything:
			return nil
		case m.Kind != Connections:
			m.Close()
			return fmt.Errorf("%w: a message of the kind %d", ErrUnread, m.Kind)
		}
		batches <- m
		if err := c.Send(Received, nil); err != nil {
			return err
		}
	}
}

// addLoop understands batches until there are no more, and gives the first error, behind which it calls giveUp. Started and ended by ReceiveBundle.
func (b *Bundle) addLoop(batches <-chan Message, giveUp func()) (err error) {
	known := names{}
	for m := range batches {
		if err != nil {
			m.Close()
			continue
		}
		if err = b.add(&m, known); err != nil {
			giveUp()
		}
	}
	return err
}

func (b *Bundle) add(m *Message, known names) error {
	r := reader{b: m.Payload}
	for i, fd := range m.Descriptors {
		loop, state := r.number(), r.bytes()
		c, err := Connection{FD: fd}, error(nil)
		if r.failed || loop >= uint64(len(b.came)) {
			err = errors.New("a batch of connections")
		} else {
			err = c.decode(state, known)
		}
		if err != nil {
			for _, fd := range m.Descriptors[i:] {
				unix.Close(fd)
			}
			return fmt.Errorf("%w: %w", ErrUnread, err)
		}
		b.came[loop] = append(b.came[loop], c)
	}
	return nil
}

// understand makes connections of all states.
func (b *Bundle) understand() error {
	known := names{}
	came := make([][]Connection, len(b.Loops))
	for i, l := range b.Loops {
		came[i] = make([]Connection, len(l))
		for j, p := range l {
			came[i][j].FD = p.FD
			if err := came[i][j].decode(p.State, known); err != nil {
				return fmt.Errorf("%w: %w", ErrUnread, err)
			}
		}
	}
	b.Loops, b.came = nil, came
	return nil
}

// Spread gives the connections to as many loops. As many as there were keep theirs, and so the names of their sessions; else they are
// dealt out, in new places.
func (b *Bundle) Spread(loops int) ([][]Connection, []uint32, error) {
	if b.came == nil {
		if err := b.understand(); err != nil {
			return nil, nil, err
		}
	}
	if loops == len(b.came) {
		return slices.Clone(b.came), slices.Clone(b.Generations), nil
	}
	dealt := make([][]Connection, loops)
	generations := make([]uint32, loops)
	next := 0
	for _, l := range b.came {
		for _, c := range l {
			to := next % loops
			next++
			c.Slot = uint32(len(dealt[to]))
			generations[to]++
			c.Generation = generations[to]
			dealt[to] = append(dealt[to], c)
		}
	}
	return dealt, generations, nil
}
