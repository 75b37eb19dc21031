package main

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
	"rookery/test/ledger"
)

// heavy begins the keys of those who publish much at a time, so that a round has many files.
const heavy = "heavy-"

// contentOf is what is published with a key: mostly a line of chat, at times much more.
func contentOf(key string) string {
	h := fnv.New64a()
	h.Write([]byte(key))
	random := rand.New(rand.NewPCG(h.Sum64(), 0))
	size := 400
	switch n := random.IntN(12); {
	case n == 0, strings.HasPrefix(key, heavy):
		size = 48 << 10
	case n < 4:
		size = 4 << 10
	}
	var content strings.Builder
	content.WriteString(key + " ")
	for size = random.IntN(size); content.Len() < size; {
		fmt.Fprintf(&content, "%x ", random.Uint64())
	}
	return content.String()
}

const (
	// maxBatch is how many publishes a publisher has in flight.
	maxBatch = 16
	// keptDone is how many answered publishes may be sent again.
	keptDone = 300
)

// publisher sends with retry keys. What was not answered when the power went is sent again after the
// next boot, or never. Owned by one goroutine at a time.
type publisher struct {
	ledger *ledger.Ledger
	random *rand.Rand
	user   string
	rooms  []string
	// forgetful ones never send a message again: the server keeps keys for too short a time.
	forgetful bool

	made    int
	pending []ledger.Publication // sent and not answered, or about to be
	done    []ledger.Publication // answered ones, for late retries
}

// publish goes on until the connection ends. acknowledged is called after each reply.
func (p *publisher) publish(address string, acknowledged func()) error {
	c, err := login(address, p.user)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if p.random.IntN(4) == 0 || p.forgetful {
		p.pending = nil
	}
	for {
		for n := 1 + p.random.IntN(maxBatch); len(p.pending) < n; {
			p.pending = append(p.pending, p.next())
		}
		if err := p.exchange(c, acknowledged); err != nil {
			return err
		}
	}
}

// next is a new message, and now and then an answered one, whose reply must be the same.
func (p *publisher) next() ledger.Publication {
	if len(p.done) > 0 && !p.forgetful && p.random.IntN(20) == 0 {
		return p.done[p.random.IntN(len(p.done))]
	}
	p.made++
	// The first room has as much as the others together.
	room := p.rooms[max(0, p.random.IntN(2*len(p.rooms)-1)-len(p.rooms)+1)]
	return p.ledger.Publish(room, p.user, fmt.Sprintf("%s-%d", p.user, p.made))
}

// exchange sends what is pending in one piece and takes the replies.
func (p *publisher) exchange(c *connection, acknowledged func()) error {
	asked := map[uint64]ledger.Publication{}
	var requests []*v1.ClientFrame
	for i, pub := range p.pending {
		asked[c.nextID+1+uint64(i)] = pub
		requests = append(requests, &v1.ClientFrame{Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{
			Room: pub.Room, Key: pub.Key, Content: &v1.Publish_Text{Text: contentOf(pub.Key)},
		}}})
	}
	if err := c.send(requests...); err != nil {
		return err
	}
	var again []ledger.Publication
	for len(asked) > 0 {
		f, err := c.next()
		if err != nil {
			return err
		}
		pub, ours := asked[f.Id]
		switch {
		case f.GetClose() != nil:
			return errClosed
		case !ours: // what the server says by itself
			continue
		case f.GetPublished() != nil:
			p.ledger.Acknowledge(pub, f.GetPublished())
			p.answered(pub)
			acknowledged()
		case f.GetError().GetRetry():
			again = append(again, pub)
		default:
			p.ledger.Fault("%s: publish of %s was answered with %v", p.user, pub.Key, f)
			p.answered(pub)
		}
		delete(asked, f.Id)
	}
	p.pending = again
	if len(again) > 0 {
		time.Sleep(50 * time.Millisecond) // the disk is full, or the server leaves
	}
	return nil
}

var errClosed = errors.New("server closed the connection")

func (p *publisher) answered(pub ledger.Publication) {
	if p.done = append(p.done, pub); len(p.done) > keptDone {
		p.done = p.done[1:]
	}
}

// watcher has joined all rooms and comes back after what it saw last. What it was shown must not be
// lost either, acknowledged or not. Owned by one goroutine at a time.
type watcher struct {
	ledger    *ledger.Ledger
	name      string
	keep      uint64 // messages of a room that retention keeps; 0: all
	positions map[string]*ledger.Position
}

func newWatcher(l *ledger.Ledger, name string, keep uint64, rooms []string) *watcher {
	w := &watcher{ledger: l, name: name, keep: keep, positions: map[string]*ledger.Position{}}
	for _, room := range rooms {
		w.positions[room] = l.Position(name, room)
	}
	return w
}

// watch goes on until the connection ends.
func (w *watcher) watch(address string) error {
	c, err := login(address, w.name)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	for room, at := range w.positions {
		if err := c.send(&v1.ClientFrame{Op: &v1.ClientFrame_Join{Join: &v1.Join{
			Room: room, After: &at.Last, Epoch: at.Epoch,
		}}}); err != nil {
			return err
		}
	}
	for {
		f, err := c.next()
		if err != nil {
			return err
		}
		switch {
		case f.GetJoined() != nil:
			w.positions[f.GetJoined().Room].Joined(f.GetJoined())
		case f.GetMessage() != nil:
			w.positions[f.GetMessage().Room].Message(f.GetMessage())
		case f.GetClose() != nil:
			return errClosed
		case f.GetGap().GetReason() == proto.GapExpired && w.keep > 0:
			w.positions[f.GetGap().Room].Expire(f.GetGap().Last)
		case f.GetGap() != nil, f.GetError() != nil:
			w.ledger.Fault("%s: was told %v", w.name, f)
		}
	}
}

// auditor reads history and holds it against the ledger.
type auditor struct {
	ledger *ledger.Ledger
	rooms  []string
	keep   uint64 // as the watcher's

	mu     sync.Mutex
	epochs map[string]bool
	heads  []map[string]uint64 // at each audit that came to its end
}

// fullAudit is every how many audits all history is read; else what came since the one before the
// last, which is what a cut can touch.
const fullAudit = 8

// audit reads every room: with all from its beginning, with toEnd until there is no more, which may be
// never while people publish. An error is one of the connection, and may be the cut.
func (a *auditor) audit(address string, all, toEnd bool) error {
	c, err := login(address, "auditor")
	if err != nil {
		return err
	}
	defer c.conn.Close()
	heads := map[string]uint64{}
	for _, room := range a.rooms {
		after := uint64(0)
		if n := len(a.heads); n >= 2 && n%fullAudit != 0 && !all {
			after = a.heads[n-2][room]
		}
		room, begin := a.ledger.Audit(room, after), uint64(0)
		err := c.history(room.Room(), after, func(h *v1.History) bool {
			a.epoch(h.Epoch)
			if a.keep > 0 {
				begin = max(h.Begin, 1)
				room.Expire(begin - 1)
			}
			for _, gap := range h.Gaps {
				a.ledger.Fault("history of %s has a gap: %v", h.Room, gap)
			}
			for _, m := range h.Messages {
				room.Message(m)
			}
			return !toEnd && room.Enough()
		})
		if err != nil {
			return err
		}
		room.End()
		if last := room.Last(); toEnd && begin > 1 && last < begin+a.keep-1 {
			a.ledger.Fault("retention took too much of %s: of %d messages it begins at %d", room.Room(), last, begin)
		}
		heads[room.Room()] = room.Last()
	}
	a.heads = append(a.heads, heads)
	return nil
}

func (a *auditor) epoch(epoch string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.epochs[epoch] {
		return
	}
	if a.epochs[epoch] = true; len(a.epochs) > 1 {
		a.ledger.Fault("the epoch changed: %v", a.epochs)
	}
}
