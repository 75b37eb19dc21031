package client

import (
	"context"
	"iter"
	"slices"
	"sync"

	v1 "rookery/proto/rookery/v1"
)

const (
	defaultBuffer  = 1024
	maxBufferBytes = 1 << 20
	maxEphemeral   = 256 // ephemeral messages that wait for the application
)

// Subscription is a joined room as the application sees it.
type Subscription struct {
	// Set at construction.
	room   string
	buffer int           // in messages
	empty  func()        // tells the machine that it may go on, after wakeWhenEmpty
	leave  func()        // tells the machine that the application has gone
	ready  chan struct{} // there is something to take, or the end

	// Set by the room's construction; receipts.go.
	mark    func(Standing)
	ask     func(context.Context) (Receipts, error)
	updates *updates[Receipts]

	// As above; presence.go.
	watch   func(bool)
	typing  func(goesOn bool)
	present *updates[Presence]
	typists *updates[Typists]

	// Guarded by mu, which is held for memory work only.
	mu        sync.Mutex
	waiting   []item
	bytes     int // of the messages that wait, ephemeral ones not among them
	stored    int // how many those are
	ephemeral int // how many ephemeral ones wait
	tellEmpty bool
	given     Position // of what the application has taken
	left      bool     // by the application
	ended     bool
	err       error // why it ended; nil: the application left

	// As the last joined said. Guarded by mu.
	keepsNone     bool // the room is ephemeral
	keepsReceipts bool
	membership    *RoomInfo
}

// item is what stands in the queue: a message, or a break in the history.
type item struct {
	message  Message
	position Position // not of an ephemeral message
	cause    error    // of a break: *ResetError or *GapError
}

func (i *item) size() int {
	return len(i.message.Room) + len(i.message.From) + len(i.message.Text) + len(i.message.Data)
}

func newSubscription(room string, options JoinOptions, empty, leave func()) *Subscription {
	s := &Subscription{
		room: room, buffer: options.Buffer, empty: empty, leave: leave,
		ready:   make(chan struct{}, 1),
		updates: newUpdates[Receipts](),
		present: newUpdates[Presence](), typists: newUpdates[Typists](),
	}
	if s.buffer == 0 {
		s.buffer = defaultBuffer
	}
	if options.After != nil {
		s.given = *options.After
	}
	return s
}

// Room is the room's name.
func (s *Subscription) Room() string { return s.room }

// Position is where the application stands: after the last message that Messages has
// given it. An application that stores it can go on from there with JoinOptions.After.
func (s *Subscription) Position() Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.given
}

// Ephemeral reports whether nothing in this room is stored: all its messages are ephemeral.
func (s *Subscription) Ephemeral() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keepsNone
}

// Leave ends the subscription. Messages gives nothing more, not even what waits.
func (s *Subscription) Leave() {
	s.mu.Lock()
	s.left = true
	s.waiting, s.bytes, s.stored, s.ephemeral = nil, 0, 0, 0
	s.mu.Unlock()
	s.updates.forget(true)
	s.present.forget(true)
	s.typists.forget(true)
	s.leave()
}

// Messages gives every message once, in order (and ephemeral ones as they come: of those an
// application that is slow gets the newest of each sender and key), and waits for the next. An error comes with
// an empty Message. A *ResetError says that the history breaks here, a *GapError that
// messages are missing, and messages go on after it; any other error is the last thing: the end of ctx, the server's refusal, or a
// *ClosedError. After Leave it ends without an error.
//
// Ranging over it again goes on where the last range stopped. One range at a time.
func (s *Subscription) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			next, ended, err := s.take()
			switch {
			case next != nil && next.cause != nil:
				if !yield(Message{}, next.cause) {
					return
				}
			case next != nil:
				if !yield(next.message, nil) {
					return
				}
			case ended:
				if err != nil {
					yield(Message{}, err)
				}
				return
			default:
				select {
				case <-s.ready:
				case <-ctx.Done():
					yield(Message{}, ctx.Err())
					return
				}
			}
		}
	}
}

// take returns the next item, or nil with whether there will be none.
func (s *Subscription) take() (next *item, ended bool, err error) {
	s.mu.Lock()
	if len(s.waiting) > 0 {
		first := s.waiting[0]
		s.waiting[0] = item{}
		s.waiting = s.waiting[1:]
		if first.message.Ephemeral {
			s.ephemeral--
		} else {
			s.stored--
			s.bytes -= first.size()
			s.given = first.position
		}
		next = &first
	}
	ended, err = s.ended, s.err
	tell := s.tellEmpty && s.stored == 0
	if tell {
		s.tellEmpty = false
	}
	s.mu.Unlock()
	if tell {
		s.empty()
	}
	return next, ended, err
}

// push queues a message; false when there is no room for it. One message always has room,
// and what comes after Leave is taken and forgotten.
func (s *Subscription) push(message Message, epoch string) bool {
	next := item{message: message, position: Position{Epoch: epoch, Seq: message.Seq}}
	s.mu.Lock()
	full := s.stored > 0 && (s.stored >= s.buffer || s.bytes+next.size() > maxBufferBytes)
	if !full && !s.left {
		s.waiting = append(s.waiting, next)
		s.stored++
		s.bytes += next.size()
	}
	s.mu.Unlock()
	s.ring()
	return !full
}

// pass queues an ephemeral message. Where many wait already, it takes the place of an older one with
// the same sender and key, or of the oldest: it is no reason to set the room aside.
func (s *Subscription) pass(message Message) {
	s.mu.Lock()
	if !s.left {
		if s.ephemeral == maxEphemeral {
			s.waiting = slices.Delete(s.waiting, s.older(message), s.older(message)+1)
			s.ephemeral--
		}
		s.waiting = append(s.waiting, item{message: message})
		s.ephemeral++
	}
	s.mu.Unlock()
	s.ring()
}

// older finds the ephemeral message that a newer one takes the place of.
func (s *Subscription) older(newer Message) (index int) {
	same := slices.IndexFunc(s.waiting, func(i item) bool {
		return i.message.Ephemeral && i.message.From == newer.From && i.message.Key == newer.Key
	})
	if same >= 0 {
		return same
	}
	return slices.IndexFunc(s.waiting, func(i item) bool { return i.message.Ephemeral })
}

// interrupt queues a break, after which the application stands at a position. There is always room
// for it: each takes a join, or is one of few in a catch-up.
func (s *Subscription) interrupt(at Position, cause error) {
	s.mu.Lock()
	s.waiting = append(s.waiting, item{position: at, cause: cause})
	s.stored++
	s.mu.Unlock()
	s.ring()
}

// admitted is what each joined says.
func (s *Subscription) admitted(reply *v1.Joined) {
	s.mu.Lock()
	s.keepsNone, s.keepsReceipts = reply.Ephemeral, reply.Receipts
	if s.membership = nil; reply.Membership != nil {
		s.membership = newRoomInfo(reply.Membership)
	}
	s.mu.Unlock()
}

// startAt is the answer to a join without a position.
func (s *Subscription) startAt(head Position) {
	s.mu.Lock()
	s.given = head
	s.mu.Unlock()
}

// renameEpoch is for a position that was given without an epoch.
func (s *Subscription) renameEpoch(epoch string) {
	s.mu.Lock()
	if s.given.Epoch == "" {
		s.given.Epoch = epoch
	}
	s.mu.Unlock()
}

// wakeWhenEmpty has the machine told as soon as nothing waits, or returns true when that
// is so already.
func (s *Subscription) wakeWhenEmpty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tellEmpty = s.stored > 0
	return !s.tellEmpty
}

func (s *Subscription) end(err error) {
	s.mu.Lock()
	s.ended, s.err = true, err
	s.mu.Unlock()
	s.updates.end(err)
	s.present.end(err)
	s.typists.end(err)
	s.ring()
}

func (s *Subscription) ring() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}
