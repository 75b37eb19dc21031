package push

import (
	"container/heap"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"
	"unicode/utf8"

	"rookery/gateway/internal/webhook"
)

const maxText = 200 // bytes of a text in a summary

// letter is a summary that waits, is being sent, or is dead.
type letter struct {
	ID            string        `json:"id"`
	Conversations conversations `json:"conversations"`
	Created       int64         `json:"created"` // Unix milliseconds, of the oldest that has joined it
	Attempts      int           `json:"attempts"`
	Next          int64         `json:"next"`            // the next attempt, Unix milliseconds
	Error         string        `json:"error,omitempty"` // of the last attempt
}

// item is a letter in a lane.
type item struct {
	letter
	user, device string
	index        int // in the heap, -1 while it is being sent
}

// Summary is what a user is told.
type Summary struct {
	ID      string // the same at each attempt
	User    string
	Device  string
	Attempt int // 1, 2 …
	Rooms   []Room
	More    bool // there are older messages than those that are counted
	// The newest message of the room that was written to last.
	Newest struct {
		Room string
		Seq  uint64
		Found
	}
}

// Room is a conversation in a summary.
type Room struct {
	Room               string
	Messages, Mentions int
	First, Last        uint64
}

// Messages and Mentions count those of all rooms.
func (s *Summary) Messages() (messages, mentions int) {
	for _, r := range s.Rooms {
		messages, mentions = messages+r.Messages, mentions+r.Mentions
	}
	return messages, mentions
}

// queue puts conversations into the summary of a user that waits for a sender, or makes one.
func (k *Keeper) queue(l *lane, user, device string, all conversations, now int64) {
	name := itemName{user, device}
	it := l.items[name]
	size := all.size()
	if k.waitingBytes+size > k.cfg.WaitingBytes {
		for _, c := range all {
			k.counters.dropped.Add(int64(len(c.Seqs)))
		}
		return
	}
	if it == nil {
		it = &item{letter: letter{Created: now, Next: now}, user: user, device: device}
		l.items[name] = it
		heap.Push(&l.waiting, it)
	}
	k.waitingBytes -= it.Conversations.size()
	for _, c := range all {
		it.Conversations = it.Conversations.add(c)
	}
	k.waitingBytes += it.Conversations.size()
	it.ID = newID() // who has seen the one before is not to take this for it
	k.store.touchItem(l, it)
}

func newID() string { return "push_" + rand.Text() }

// remove takes a letter out of its lane.
func (k *Keeper) remove(l *lane, it *item) {
	k.waitingBytes -= it.Conversations.size()
	delete(l.items, itemName{it.user, it.device})
	if it.index >= 0 {
		heap.Remove(&l.waiting, it.index)
	}
	k.store.touchItem(l, it)
}

// dispatch gives to the senders what is due.
func (k *Keeper) dispatch() {
	now := time.Now().UnixMilli()
	for _, l := range k.lanes {
		for len(l.waiting) > 0 && l.waiting[0].Next <= now && l.open(now) {
			it := l.waiting[0]
			s, err := k.prepare(it)
			k.trouble(&l.stuck, err)
			if err != nil {
				break // the next turn tries again
			}
			if s == nil {
				k.counters.cancelled.Add(1)
				k.remove(l, it)
				continue
			}
			heap.Pop(&l.waiting)
			l.flying++
			l.inFlight[it.user]++
			l.jobs <- job{it, *s} // has room for as many as may fly
		}
	}
}

// prepare gives the summary as it is to be sent now, nil if nothing is left of it.
func (k *Keeper) prepare(it *item) (*Summary, error) {
	fresh, err := k.refresh(it.user, it.Conversations)
	if err != nil {
		return nil, err
	}
	if len(fresh) == 0 {
		return nil, nil
	}
	k.waitingBytes += fresh.size() - it.Conversations.size()
	it.Conversations = fresh
	s := &Summary{ID: it.ID, User: it.user, Device: it.device, Attempt: it.Attempts + 1}
	s.Rooms = fresh.rooms()
	for _, c := range fresh {
		s.More = s.More || c.More
	}
	last := &fresh[len(fresh)-1]
	s.Newest.Room, s.Newest.Seq = last.Room, last.newest()
	if s.Newest.Found, _, err = k.cfg.Log.Find(last.Room, last.newest()); err != nil {
		return nil, err
	}
	if !k.cfg.Text {
		s.Newest.Text = ""
	}
	s.Newest.Text = cut(s.Newest.Text)
	return s, nil
}

// cut shortens a text to what a summary has room for, at the end of a letter.
func cut(text string) string {
	if len(text) <= maxText {
		return text
	}
	end := maxText - len("…")
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// flying reports whether a summary of a user is being sent.
func (k *Keeper) flying(user string) bool {
	for _, l := range k.lanes {
		if l.inFlight[user] > 0 {
			return true
		}
	}
	return false
}

// land takes what has come of an attempt.
func (k *Keeper) land(r landing) {
	l, it, now := r.lane, r.item, time.Now().UnixMilli()
	l.settle(it.user, r.outcome, now)
	k.tell(l, r.outcome)
	it.Attempts++
	if r.outcome.Err != nil {
		it.Error = r.outcome.Err.Error()
	}
	switch r.outcome.Verdict {
	case Sent:
		k.counters.sent.Add(1)
		// It may have waited for long: the window is between what users are told, not between what was made for them.
		k.tellNoMore(it.user, now)
		k.remove(l, it)
	case Gone:
		k.counters.gone.Add(1)
		k.remove(l, it)
	case Retry:
		k.counters.failed.Add(1)
		if now-it.Created >= oldest.Milliseconds() {
			k.die(l, it, now)
			return
		}
		wait := max(webhook.Backoff(it.Attempts), min(r.outcome.After, oldest))
		it.Next = now + wait.Milliseconds()
		heap.Push(&l.waiting, it)
		k.store.touchItem(l, it)
	case Final:
		k.die(l, it, now)
	}
}

// tell logs that a sender is refused again and again, and when it no longer is.
func (k *Keeper) tell(l *lane, o Outcome) {
	switch {
	case o.Verdict == Sent:
		if l.refused || l.dying {
			k.cfg.Logger.Info("summaries are taken again", "kind", l.Kind)
		}
		l.refused, l.dying = false, false
	case l.failures >= patience && !l.refused:
		l.refused = true
		k.cfg.Logger.Warn("summaries are not taken; each is tried again for a day", "kind", l.Kind, "err", o.Err)
	}
}

// die makes a letter a dead one.
func (k *Keeper) die(l *lane, it *item, now int64) {
	k.counters.died.Add(1)
	if !l.dying {
		l.dying = true
		k.cfg.Logger.Warn("a summary can't be delivered and is a dead letter; further ones are not told of until one is taken",
			"kind", l.Kind, "user", it.user, "attempts", it.Attempts, "err", it.Error)
	}
	k.store.bury(DeadLetter{
		ID: it.ID, User: it.user, Kind: l.Kind, Device: it.device, Created: it.Created, Died: now,
		Attempts: it.Attempts, Error: it.Error, Conversations: it.Conversations,
	})
	k.remove(l, it)
}

// DeadLetter is a summary that could not be delivered.
type DeadLetter struct {
	Number        uint64        `json:"-"` // names it
	ID            string        `json:"id"`
	User          string        `json:"user"`
	Kind          string        `json:"kind"`
	Device        string        `json:"device,omitempty"`
	Created       int64         `json:"created"` // Unix milliseconds
	Died          int64         `json:"died"`
	Attempts      int           `json:"attempts"`
	Error         string        `json:"error"`
	Conversations conversations `json:"conversations"`
}

// Rooms are what the letter is about.
func (d *DeadLetter) Rooms() []Room { return d.Conversations.rooms() }

// DeadLetters gives the oldest dead letters behind a number, at most so many.
func (k *Keeper) DeadLetters(ctx context.Context, after uint64, most int) (letters []DeadLetter, err error) {
	if failed := k.call(ctx, func() {
		if err = k.flush(); err == nil {
			letters, err = k.store.deadLetters(after, most)
		}
	}); failed != nil {
		return nil, failed
	}
	return letters, err
}

// Resend queues dead letters once more, and gives how many there were. Those of a sender that is not configured now stay, and those for
// which there is no room.
func (k *Keeper) Resend(ctx context.Context, numbers ...uint64) (n int, err error) {
	return k.eachDead(ctx, numbers, func(d DeadLetter) bool {
		l := k.laneOf(d.Kind)
		if l == nil || l.inFlight[d.User] > 0 || k.waitingBytes+d.Conversations.size() > k.cfg.WaitingBytes {
			return false
		}
		k.queue(l, d.User, d.Device, d.Conversations, time.Now().UnixMilli())
		return true
	})
}

// Discard removes dead letters, and gives how many there were.
func (k *Keeper) Discard(ctx context.Context, numbers ...uint64) (n int, err error) {
	return k.eachDead(ctx, numbers, func(DeadLetter) bool { return true })
}

// eachDead calls fn for dead letters and removes those for which it is true.
func (k *Keeper) eachDead(ctx context.Context, numbers []uint64, fn func(DeadLetter) bool) (n int, err error) {
	numbers = slices.Compact(slices.Sorted(slices.Values(numbers)))
	failed := k.call(ctx, func() {
		if err = k.flush(); err != nil {
			return
		}
		for _, number := range numbers {
			d, ok, wrong := k.store.deadLetter(number)
			if wrong != nil {
				err = wrong
				break
			}
			if ok && fn(d) {
				k.store.exhume(number)
				n++
			}
		}
		err = errors.Join(err, k.flush())
	})
	return n, errors.Join(failed, err)
}
