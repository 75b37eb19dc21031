package client

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// markInterval is one mark of a room. The server gathers those of a second anyway.
const markInterval = time.Second

// Standing is how far a user has come in a room, in sequence numbers.
type Standing struct {
	Delivered uint64 // everything up to here has arrived at one of the user's devices
	Read      uint64 // everything up to here has been read, and so has arrived
}

// Receipt is where a user stands.
type Receipt struct {
	User string
	Standing
}

// ReceiptCount is how many users have a message, and how many have read it.
type ReceiptCount struct {
	Seq             uint64
	Delivered, Read int
}

// Receipts is how far users have come in a room: all of them when they were asked for, or those who
// have come further.
type Receipts struct {
	Head   uint64         // newest message, when asked, or of a large room; what is unread are those after Own.Read
	Own    Receipt        // of the user who asks
	Users  int            // how many have marked anything, when asked, or of a large room
	Named  []Receipt      // none of a large room, which has more than 100 users
	Counts []ReceiptCount // of a large room: its newest messages that anybody has marked, ascending
}

// beyond is the further of two standings in each respect.
func (s Standing) beyond(t Standing) Standing {
	read := max(s.Read, t.Read)
	return Standing{Delivered: max(s.Delivered, t.Delivered, read), Read: read}
}

func newReceipt(r *v1.Receipt) Receipt {
	return Receipt{User: r.GetUser(), Standing: Standing{Delivered: r.GetDelivered(), Read: r.GetRead()}}
}

func newReceipts(r *v1.Receipts) Receipts {
	answer := Receipts{Head: r.Head, Own: newReceipt(r.Own), Users: int(r.Users)}
	for _, named := range r.Receipts {
		answer.Named = append(answer.Named, newReceipt(named))
	}
	for _, c := range r.Counts {
		answer.Counts = append(answer.Counts, ReceiptCount{Seq: c.Seq, Delivered: int(c.Delivered), Read: int(c.Read)})
	}
	return answer
}

// KeepsReceipts reports whether the room keeps receipts; where it does not, marks are not sent.
func (s *Subscription) KeepsReceipts() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keepsReceipts
}

// Mark says how far the user has come, and does not wait. Only what moves the user forward is sent, at most once a
// second, and when there is a connection. A refusal is not noticed; the mark is sent again with the next connection.
func (s *Subscription) Mark(to Standing) { s.mark(Standing{}.beyond(to)) }

// Receipts asks how far everybody has come.
func (s *Subscription) Receipts(ctx context.Context) (Receipts, error) {
	return s.ask(ctx)
}

// ReceiptUpdates gives what changes from the join on: the users who have come further, or in a large room the counts
// of its newest messages. An application that takes them slowly gets the newest of each. Nobody goes back. What changed
// while there was no connection has to be asked for. It ends as Messages does.
//
// Ranging over it again goes on where the last range stopped. One range at a time.
func (s *Subscription) ReceiptUpdates(ctx context.Context) iter.Seq2[Receipts, error] {
	return s.updates.all(ctx)
}

// marks is how far users have come in a room, as the machine knows it. Owned by the loop.
type marks struct {
	own  Standing            // where the application says that the user stands
	sent Standing            // what of it was sent on this connection
	told map[string]Standing // the furthest that the server told; at most 100, of more users it tells counts
	soon *alarm              // runs for markInterval after a mark
}

// mark is the application's wish.
func (m *machine) mark(r *room, to Standing) {
	if r.state != finished {
		r.marks.own = r.marks.own.beyond(to)
		m.sendMark(r)
	}
}

// sendMark sends where the user stands unless that is stored or on its way. Before joined the history that the
// numbers belong to is not known.
func (m *machine) sendMark(r *room) {
	if r.state != joined || !r.keepsReceipts || !m.ready() || r.marks.soon != nil {
		return
	}
	known := r.marks.sent.beyond(r.marks.told[m.user])
	if r.marks.own.beyond(known) == known {
		return
	}
	r.marks.sent = r.marks.own
	m.connection.send(proto.AppendClientFrame(nil, proto.Binary, &v1.ClientFrame{Op: &v1.ClientFrame_Mark{
		Mark: &v1.Mark{Room: r.name, Delivered: r.marks.own.Delivered, Read: r.marks.own.Read, Epoch: r.position.Epoch},
	}}))
	r.marks.soon = m.after(markInterval, func() {
		r.marks.soon = nil
		m.sendMark(r)
	})
}

// receipt: a user has come further.
func (m *machine) receipt(receipt *v1.Receipt) {
	r := m.rooms[receipt.Room]
	if r == nil || r.state != joined || !r.heard(newReceipt(receipt)) {
		return
	}
	further := Receipt{User: receipt.User, Standing: r.marks.told[receipt.User]}
	r.subscription.updates.change(func(next *Receipts) {
		next.Named = slices.DeleteFunc(next.Named, func(older Receipt) bool { return older.User == further.User })
		next.Named = append(next.Named, further)
	})
}

// counted is what a large room is told.
func (m *machine) counted(receipts *v1.Receipts) {
	if r := m.rooms[receipts.Room]; r != nil && r.state == joined {
		told := newReceipts(receipts)
		r.subscription.updates.change(func(next *Receipts) {
			next.Head, next.Users, next.Counts = told.Head, told.Users, told.Counts
		})
	}
}

// heard notes where a user stands and reports whether that is further than what was known.
func (r *room) heard(receipt Receipt) bool {
	if r.marks.told == nil {
		r.marks.told = make(map[string]Standing)
	}
	before := r.marks.told[receipt.User]
	now := before.beyond(receipt.Standing)
	r.marks.told[receipt.User] = now
	return now != before
}

// askReceipts asks how far everybody has come; it lasts over connections like every read.
func (m *machine) askReceipts(ctx context.Context, r *room) (Receipts, error) {
	var answer Receipts
	request := &v1.ClientFrame{Op: &v1.ClientFrame_Receipts{Receipts: &v1.ReceiptsRequest{Room: r.name}}}
	err := m.read(ctx, newRead(request, func(reply *v1.ServerFrame) bool {
		receipts := reply.GetReceipts()
		if receipts == nil {
			return false
		}
		answer = newReceipts(receipts)
		for _, receipt := range append(answer.Named, answer.Own) {
			r.heard(receipt)
		}
		return true
	}))
	if err != nil {
		return Receipts{}, fmt.Errorf("ask for receipts of room %q: %w", r.name, err)
	}
	return answer, nil
}

// reset is for another history: the numbers are not of it.
func (a *marks) reset() { a.own, a.sent, a.told = Standing{}, Standing{}, nil }

// disconnected forgets what was sent: nobody knows whether it is stored.
func (a *marks) disconnected() {
	a.soon.stop()
	a.soon, a.sent = nil, Standing{}
}
