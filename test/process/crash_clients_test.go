package process

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"

	v1 "rookery/proto/rookery/v1"
	"rookery/test/ledger"
)

// whereabouts tells the clients of a crash run where the server is now. It is taken down
// before the server is killed, so that nobody dials a port that may be somebody else's by
// then. Safe for concurrent use.
type whereabouts struct {
	mu      sync.Mutex
	moved   *sync.Cond // of mu
	address string     // guarded by mu; empty: there is none
	over    bool       // guarded by mu
}

func newWhereabouts() *whereabouts {
	w := &whereabouts{}
	w.moved = sync.NewCond(&w.mu)
	return w
}

func (w *whereabouts) set(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.address = address
	w.moved.Broadcast()
}

// end lets everybody go who waits.
func (w *whereabouts) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.moved.Broadcast()
}

// await waits for a server; false means that the run is over.
func (w *whereabouts) await() (address string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.address == "" && !w.over {
		w.moved.Wait()
	}
	return w.address, !w.over
}

// contentOf is what is published with a key: 0 to 400 bytes behind it.
func contentOf(key string) string {
	h := fnv.New64a()
	h.Write([]byte(key))
	random := rand.New(rand.NewPCG(h.Sum64(), 0))
	b := make([]byte, random.IntN(400))
	for i := range b {
		b[i] = 'a' + byte(random.IntN(26))
	}
	return key + " " + string(b)
}

// comeBack is how long a client waits after a connection that failed. With no wait a server
// that refuses would be asked without end.
const comeBack = 5 * time.Millisecond

// writer publishes with retry keys and sends again, after a reconnect, what was not answered.
// Owned by writeLoop's goroutine.
type writer struct {
	ledger *ledger.Ledger
	where  *whereabouts
	random *rand.Rand
	by     transport
	user   string
	rooms  []string

	made    int
	pending []ledger.Publication // sent and not answered, or about to be
	done    []ledger.Publication // answered ones, for late retries
}

const (
	// maxBatch is how many publishes a writer has in flight.
	maxBatch = 8
	// keptDone is how many answered publishes may be sent again.
	keptDone = 500
)

// writeLoop publishes until stop, and then until all is answered. Started and awaited by the
// crash run.
func (w *writer) writeLoop(stop <-chan struct{}) {
	for {
		address, ok := w.where.await()
		if !ok {
			return
		}
		p, err := login(address, w.by, w.user)
		if err == nil {
			err = w.session(p, stop)
			p.conn.Close()
		}
		if err == nil {
			return
		}
		time.Sleep(comeBack)
	}
}

// session publishes over one connection. Its error is that of the connection; nil means that
// the writer is done.
func (w *writer) session(p *peer, stop <-chan struct{}) error {
	for {
		stopping := false
		select {
		case <-stop:
			stopping = true
		default:
			w.more()
		}
		if stopping && len(w.pending) == 0 {
			return nil
		}
		if err := w.exchange(p); err != nil {
			return err
		}
	}
}

// more adds new messages, and now and then an answered one, whose reply must be the same.
func (w *writer) more() {
	for n := 1 + w.random.IntN(maxBatch); len(w.pending) < n; {
		if len(w.done) > 0 && w.random.IntN(20) == 0 {
			w.pending = append(w.pending, w.done[w.random.IntN(len(w.done))])
			continue
		}
		w.made++
		room := w.rooms[w.random.IntN(len(w.rooms))]
		w.pending = append(w.pending, w.ledger.Publish(room, w.user, fmt.Sprintf("%s-%d", w.user, w.made)))
	}
}

// exchange sends what is pending in one piece and takes the replies.
func (w *writer) exchange(p *peer) error {
	var requests []*v1.ClientFrame
	asked := map[uint64]ledger.Publication{}
	for i, pub := range w.pending {
		asked[p.nextID+1+uint64(i)] = pub
		requests = append(requests, publishRequest(pub.Room, pub.Key, contentOf(pub.Key)))
	}
	if _, err := p.send(requests...); err != nil {
		return err
	}
	for len(asked) > 0 {
		f, err := p.next()
		if err != nil {
			return err
		}
		pub, ours := asked[f.Id]
		switch {
		case f.Id == 0: // the server says that it leaves
			continue
		case !ours:
			w.ledger.Fault("%s: a reply to request %d, which was not made: %v", w.user, f.Id, f)
			continue
		case f.GetPublished() != nil:
			w.ledger.Acknowledge(pub, f.GetPublished())
			w.answered(pub)
		case !f.GetError().GetRetry():
			w.ledger.Fault("%s: publish of %s was answered with %v", w.user, pub.Key, f)
			w.answered(pub)
		}
		delete(asked, f.Id)
	}
	return nil
}

func (w *writer) answered(pub ledger.Publication) {
	for i := range w.pending {
		if w.pending[i].Key == pub.Key {
			w.pending = append(w.pending[:i], w.pending[i+1:]...)
			break
		}
	}
	if w.done = append(w.done, pub); len(w.done) > keptDone {
		w.done = w.done[1:]
	}
}

// reader has joined all rooms and comes back after what it saw last. Owned by readLoop's
// goroutine.
type reader struct {
	ledger    *ledger.Ledger
	where     *whereabouts
	random    *rand.Rand
	by        transport
	name      string
	positions map[string]*ledger.Position
	// Slow ones have a small socket buffer and pause, so that they are served from the log.
	slow bool

	last map[string]bool // rooms whose last message is still to come
}

func newReader(l *ledger.Ledger, where *whereabouts, random *rand.Rand, by transport, name string, rooms []string, slow bool) *reader {
	r := &reader{
		ledger: l, where: where, random: random, by: by, name: name, slow: slow,
		positions: map[string]*ledger.Position{}, last: map[string]bool{},
	}
	for _, room := range rooms {
		r.positions[room] = l.Position(name, room)
		r.last[room] = true
	}
	return r
}

// lastKey is the key of the message that ends a room.
func lastKey(room string) string { return "last-of-" + room }

// readLoop reads until every room has ended. Started and awaited by the crash run.
func (r *reader) readLoop() {
	for len(r.last) > 0 {
		address, ok := r.where.await()
		if !ok {
			return
		}
		buffer := 0
		if r.slow {
			buffer = 8 << 10
		}
		p, err := loginWithBuffer(address, r.by, r.name, buffer)
		if err == nil {
			err = r.session(p)
			p.conn.Close()
		}
		if err != nil {
			time.Sleep(comeBack)
		}
	}
}

func (r *reader) session(p *peer) error {
	var joins []*v1.ClientFrame
	for room, at := range r.positions {
		joins = append(joins, joinRequest(room, &at.Last, at.Epoch))
	}
	if _, err := p.send(joins...); err != nil {
		return err
	}
	for n := 0; len(r.last) > 0; n++ {
		f, err := p.next()
		if err != nil {
			var end *closeError
			if errors.As(err, &end) && end.code != 4000 { // draining
				r.ledger.Fault("%s: was %v", r.name, end)
			}
			return err
		}
		switch {
		case f.GetJoined() != nil:
			r.positions[f.GetJoined().Room].Joined(f.GetJoined())
		case f.GetMessage() != nil:
			m := f.GetMessage()
			r.positions[m.Room].Message(m)
			if m.GetText() == contentOf(lastKey(m.Room)) {
				delete(r.last, m.Room)
			}
		case f.GetGoaway() == nil && f.GetPing() == nil:
			r.ledger.Fault("%s: was told %v", r.name, f)
		}
		if r.slow && n%500 == 499 {
			time.Sleep(time.Duration(r.random.IntN(60)) * time.Millisecond)
		}
	}
	return nil
}
