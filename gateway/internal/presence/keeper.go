package presence

import (
	"slices"
	"sync/atomic"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
)

// Config says how the keeper runs. All fields without a default must be set.
type Config struct {
	Loops []*handoff.Mailbox[handoff.Event] // by handoff.Handle.Loop
	// Calls is answered as a loop is, the one behind the last, but is in no room; nil if nobody but connections asks.
	Calls *handoff.Mailbox[handoff.Event]

	Grace        time.Duration // somebody who is gone is there for so long; 0: not at all
	Interval     time.Duration // changes gather for so long; default 1 s
	Named        int           // in a room with more users than these changes have counts only; default 100
	MailboxBytes int           // default 8 MiB
	// Watched are rooms that another keeper's connections watch, which come here and watch them again: changes go on from what these
	// were told.
	Watched []Watched
}

// Watched is a room as those who watch it have been told.
type Watched struct {
	Room    string
	Version uint64
	Told    map[string]string // states by user
}

const (
	// maxRooms bounds the rooms that are observed.
	maxRooms = 10_000
	// maxLooks bounds the rooms that are looked at for one to end.
	maxLooks = 100
	// maxTyping bounds the rooms in which somebody is typing.
	maxTyping = 100_000
)

// Keeper keeps presence. Its methods are safe for concurrent use.
type Keeper struct {
	// Set at construction.
	cfg     Config
	mailbox *handoff.Mailbox[letter]
	wake    <-chan struct{}
	ended   chan struct{}

	// Owned by keepLoop.
	rooms     map[string]*room
	changed   map[*room]struct{} // that are to be looked at when the interval ends
	due       *time.Timer        // runs while changed has any
	typing    map[string]*typists
	typingDue *time.Timer        // runs while typing has any
	returning map[string]Watched // that nobody has asked for yet
	out       *handoff.Outgoing

	refused atomic.Int64 // counted by anyone

	// Counted by keepLoop, read by anyone.
	observed, told, untold atomic.Int64
}

type letter struct {
	said handoff.Presence
	size int
	stop bool
}

// Start starts the keeper. Close ends it.
func Start(cfg Config) *Keeper {
	if cfg.Interval == 0 {
		cfg.Interval = time.Second
	}
	if cfg.Named == 0 {
		cfg.Named = 100
	}
	if cfg.MailboxBytes == 0 {
		cfg.MailboxBytes = 8 << 20
	}
	k := &Keeper{
		cfg:       cfg,
		mailbox:   handoff.NewMailbox[letter](cfg.MailboxBytes),
		ended:     make(chan struct{}),
		rooms:     make(map[string]*room),
		changed:   make(map[*room]struct{}),
		due:       stopped(),
		typing:    make(map[string]*typists),
		typingDue: stopped(),
		returning: make(map[string]Watched),
		out:       handoff.NewOutgoing(append(slices.Clone(cfg.Loops), cfg.Calls)),
	}
	for _, w := range cfg.Watched {
		k.returning[w.Room] = w
	}
	k.cfg.Watched = nil
	k.wake = k.mailbox.Wakes()
	go k.keepLoop()
	return k
}

func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// Ask hands over a question or that somebody is typing, and reports false when too much waits.
func (k *Keeper) Ask(p handoff.Presence) bool {
	size := p.Size()
	taken := k.mailbox.Put(letter{said: p, size: size}, size)
	if !taken {
		k.refused.Add(1)
	}
	return taken
}

// Tell hands over what became of a connection. It is always taken: with one of them missing a room would be told wrong for ever.
func (k *Keeper) Tell(p handoff.Presence) {
	size := p.Size()
	k.mailbox.PutAlways(letter{said: p, size: size}, size)
}

// Close ends the keeper. What is sent after that is dropped.
func (k *Keeper) Close() {
	k.mailbox.PutAlways(letter{stop: true}, 0)
	<-k.ended
}

// Watched gives the rooms that are watched. After Close.
func (k *Keeper) Watched() (list []Watched) {
	for _, r := range k.rooms {
		if len(r.watchers) == 0 || r.version == 0 {
			continue
		}
		w := Watched{r.name, r.version, make(map[string]string)}
		for user, p := range r.people {
			if p.told != "" {
				w.Told[user] = p.told
			}
		}
		list = append(list, w)
	}
	return list
}

// Stats are counters since the start, but for Observed.
type Stats struct {
	Observed int64 // rooms, now
	Told     int64 // changes and who is typing, given to loops
	Refused  int64 // questions and typing, because too much waited
	Untold   int64 // who is typing, not given to a loop with too much waiting
}

// Stats may be called at any time.
func (k *Keeper) Stats() Stats {
	return Stats{k.observed.Load(), k.told.Load(), k.refused.Load(), k.untold.Load()}
}

// keepLoop is the keeper's goroutine, ended by Close.
func (k *Keeper) keepLoop() {
	defer close(k.ended)
	var letters []letter
	for stopping := false; !stopping; {
		select {
		case <-k.due.C:
			k.tellChanges()
		case <-k.typingDue.C:
			k.tellTyping()
		case <-k.wake:
			letters = k.mailbox.Take(letters)
			for i := range letters {
				stopping = stopping || letters[i].stop
				if !letters[i].stop {
					k.take(&letters[i].said)
				}
				k.mailbox.Release(letters[i].size)
			}
			clear(letters)
		}
		k.out.Send()
	}
	k.due.Stop()
	k.typingDue.Stop()
}

func (k *Keeper) take(p *handoff.Presence) {
	if p.Kind == handoff.AskPresence {
		k.ask(p)
		return
	}
	if p.Kind == handoff.Typing {
		k.types(p)
		return
	}
	r := k.rooms[p.Room]
	if r == nil {
		return // it is not observed any more
	}
	loop := int(p.From.Loop)
	switch p.Kind {
	case handoff.Here:
		if r.here[loop] {
			return // a loop that began late answers older observations too
		}
		for _, m := range p.Members {
			r.came(m.User, m.Handle, m.Away)
		}
		r.here[loop] = true
		k.complete(r)
		return
	case handoff.Unwatch:
		r.unwatch(p.From)
	case handoff.Came:
		if r.here[loop] {
			r.came(p.User, p.From, p.Away)
		}
	case handoff.Went, handoff.Expelled:
		if r.here[loop] {
			r.went(p.User, p.From, p.Kind == handoff.Expelled)
		}
	case handoff.Turned:
		if r.here[loop] {
			r.turned(p.User, p.From, p.Away)
		}
	}
	k.look(r)
}

// ask answers who is in a room as soon as all loops have said.
func (k *Keeper) ask(p *handoff.Presence) {
	r := k.rooms[p.Room]
	if r == nil {
		if len(k.rooms) == maxRooms && !k.endDeserted() {
			k.refused.Add(1)
			k.refuse(p, proto.ErrOverloaded, "The server observes as many rooms as it can; ask again later.")
			return
		}
		r = newRoom(p.Room, len(k.cfg.Loops))
		if w, ok := k.returning[p.Room]; ok {
			r.goOn(w, time.Now())
			delete(k.returning, p.Room)
		}
		k.rooms[p.Room] = r
		k.observed.Add(1)
		for loop := range k.cfg.Loops {
			k.out.Post(loop, handoff.Event{Kind: handoff.Observe, Room: r.name, Size: handoff.ReplySize})
		}
	}
	r.deserted = time.Now()
	r.asked = append(r.asked, *p)
	k.complete(r)
}

// endDeserted ends the observation of a room that nobody watches or waits for, before its time, and reports false if it finds none
// soon: who only asks, of one room after the other, must not keep others from watching theirs.
func (k *Keeper) endDeserted() bool {
	looks := 0
	for _, r := range k.rooms {
		if len(r.watchers) == 0 && len(r.asked) == 0 {
			k.end(r)
			return true
		}
		if looks++; looks == maxLooks {
			break
		}
	}
	return false
}

// end has the loops tell of a room no more.
func (k *Keeper) end(r *room) {
	delete(k.rooms, r.name)
	k.observed.Add(-1)
	for loop := range k.cfg.Loops {
		k.out.Post(loop, handoff.Event{Kind: handoff.Ignore, Room: r.name, Size: handoff.ReplySize})
	}
}

// complete answers who waits, once all loops have said whom they have. One that nobody has connected to yet has nobody, and does not
// listen; when it does it says so first.
func (k *Keeper) complete(r *room) {
	for loop, here := range r.here {
		if !here && k.cfg.Loops[loop].Listened() {
			return
		}
	}
	if r.version == 0 {
		r.version = 1
		r.changes(time.Now(), k.cfg.Grace) // those who are there are no news
	}
	for i := range r.asked {
		k.answer(r, &r.asked[i])
	}
	r.asked = nil
	k.look(r)
}

// look has a room looked at when the interval ends, if there may be something to tell or to end by then.
func (k *Keeper) look(r *room) {
	if len(k.changed) == 0 {
		k.due.Reset(k.cfg.Interval)
	}
	k.changed[r] = struct{}{}
}

// tellChanges tells what has changed in the rooms, and ends the observation of those that nobody has watched for long.
func (k *Keeper) tellChanges() {
	now := time.Now()
	looked := k.changed
	k.changed = make(map[*room]struct{})
	for r := range looked {
		if k.rooms[r.name] != r {
			continue
		}
		if len(r.watchers) == 0 && len(r.asked) == 0 && now.Sub(r.deserted) >= k.cfg.Grace {
			k.end(r)
			continue
		}
		if r.version > 0 {
			k.tellRoom(r, now)
		}
		if len(r.leaving) > 0 || len(r.watchers) == 0 {
			k.look(r)
		}
	}
}
