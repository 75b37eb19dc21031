package members

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// Config says how the keeper runs. All fields without a default must be set.
type Config struct {
	Store Store
	Loops []*handoff.Mailbox[handoff.Event] // by handoff.Handle.Loop
	Kind  func(room string) handoff.RoomKind
	Log   *slog.Logger

	RoomsPerUser   int // default 10,000
	MembersPerRoom int // default 100,000
	Named          int // in a room of more members nobody is told who joins and leaves; default 100
	MailboxBytes   int // default 8 MiB
	// LastSeen is when a user of a room was last there, Unix milliseconds, 0 if that is not known or not told. Default: never known.
	LastSeen func(room, user string) int64
	// WebPushKey is the server's public key for Web Push, empty: it sends none.
	WebPushKey string
	// PushServices are the others of which it takes tokens.
	PushServices []string
	// CheckSubscription says what is wrong with one, in a sentence: of a service that this server does not use, too. Must be set.
	CheckSubscription func(handoff.Subscription) string
	// Notices has changes carry what they mean, for who follows them.
	Notices bool
	// Head is the newest message of a room; default none.
	Head func(room string) uint64
	Now  func() time.Time
}

// storedAtOnce is about how many changes are made together: a record of some 50 KiB.
const storedAtOnce = 500

// Keeper keeps the members. Its methods are safe for concurrent use.
type Keeper struct {
	// Set at construction.
	cfg     Config
	mailbox *handoff.Mailbox[letter]
	wake    <-chan struct{}
	ended   chan struct{}

	// Owned by keepLoop.
	view    *view
	decided []decided
	out     *handoff.Outgoing
	failing bool // the store fails, which has been logged

	bans bans

	refused atomic.Int64 // counted by anyone

	// Counted by keepLoop, read by anyone.
	requests, stored, untold atomic.Int64
}

type letter struct {
	request handoff.MemberRequest
	size    int
	answer  chan<- result // of Call
	stop    bool
}

type result struct {
	frame *v1.ServerFrame
	err   error
}

// decided is a request and what comes of it once the changes are stored.
type decided struct {
	letter  letter
	verdict verdict
	changes int // how many of them are its own
}

// verdict is what a request comes to: a refusal, or a reply and news for the loops.
type verdict struct {
	refusal *Refusal
	reply   *v1.ServerFrame
	admit   *handoff.Membership // instead of a reply, to who wants to enter
	news    []handoff.Event     // for every loop, before the reply
	notices []Notice
}

// Refusal is why a request is not granted.
type Refusal struct {
	Code proto.ErrorCode
	Text string
}

func (r *Refusal) Error() string { return r.Text + " (" + r.Code.Name + ")" }

func refuse(code proto.ErrorCode, format string, values ...any) verdict {
	return verdict{refusal: &Refusal{code, fmt.Sprintf(format, values...)}}
}

// Start reads the bans from the whole server and starts the keeper. Close ends it.
func Start(cfg Config) (*Keeper, error) {
	orElse := func(n *int, otherwise int) {
		if *n == 0 {
			*n = otherwise
		}
	}
	orElse(&cfg.RoomsPerUser, 10_000)
	if cfg.LastSeen == nil {
		cfg.LastSeen = func(string, string) int64 { return 0 }
	}
	orElse(&cfg.MembersPerRoom, 100_000)
	orElse(&cfg.Named, 100)
	orElse(&cfg.MailboxBytes, 8<<20)
	if cfg.Head == nil {
		cfg.Head = func(string) uint64 { return 0 }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	k := &Keeper{
		cfg:     cfg,
		mailbox: handoff.NewMailbox[letter](cfg.MailboxBytes),
		ended:   make(chan struct{}),
		view:    newView(cfg.Store),
		out:     handoff.NewOutgoing(cfg.Loops),
		bans:    bans{until: make(map[string]int64)},
	}
	if err := cfg.Store.List(BannedFrom, "", "", func(user string, r Record) bool {
		k.bans.until[user] = r.Until
		return true
	}); err != nil {
		return nil, fmt.Errorf("read the bans from the server: %w", err)
	}
	k.wake = k.mailbox.Wakes()
	go k.keepLoop()
	return k, nil
}

// Ask hands a request of a connection to the keeper and reports false when too much waits.
func (k *Keeper) Ask(r handoff.MemberRequest) bool {
	size := r.Size()
	taken := k.mailbox.Put(letter{request: r, size: size}, size)
	if !taken {
		k.refused.Add(1)
	}
	return taken
}

// Call has the keeper do something for the server itself, whose rights are all, and returns what a connection would be replied: room,
// member, members or rooms. User is then only who is spoken of in the lists of rooms, and by whom it was done in what members are told.
// A *Refusal says why not; the error of the context, that it may still happen. Not for an event loop, and not after Close.
func (k *Keeper) Call(ctx context.Context, r handoff.MemberRequest) (*v1.ServerFrame, error) {
	r.Server = true
	answer := make(chan result, 1)
	size := r.Size()
	if !k.mailbox.Put(letter{request: r, size: size, answer: answer}, size) {
		k.refused.Add(1)
		return nil, &Refusal{proto.ErrOverloaded, "Too many requests about members wait; ask again later."}
	}
	select {
	case a := <-answer:
		return a.frame, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the keeper of members: %w", context.Cause(ctx))
	}
}

// Banned says until when a user may not be on this server, Unix milliseconds, 0 if they may. It never waits for long.
func (k *Keeper) Banned(user string) (until int64) {
	k.bans.mu.RLock()
	until = k.bans.until[user]
	k.bans.mu.RUnlock()
	if until <= k.cfg.Now().UnixMilli() {
		return 0
	}
	return until
}

// Close answers what waits and ends the keeper. The caller sends nothing any more.
func (k *Keeper) Close() {
	k.mailbox.PutAlways(letter{stop: true}, 0)
	<-k.ended
}

// Stats are counters since the start.
type Stats struct {
	Requests int64 // taken
	Stored   int64 // changes
	Refused  int64 // because too much waited or the store failed
	Untold   int64 // news for members that a loop with too much waiting was not given
}

// Stats may be called at any time.
func (k *Keeper) Stats() Stats {
	return Stats{k.requests.Load(), k.stored.Load(), k.refused.Load(), k.untold.Load()}
}

// bans are those from the whole server. Every connect asks for them, so they are beside the store. The lock is held for a map access.
type bans struct {
	mu    sync.RWMutex
	until map[string]int64 // guarded by mu
}

func (b *bans) set(user string, until int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if until == 0 {
		delete(b.until, user)
		return
	}
	b.until[user] = until
}

// keepLoop is the keeper's goroutine, ended by Close.
func (k *Keeper) keepLoop() {
	defer close(k.ended)
	var letters []letter
	for stopping := false; !stopping; {
		<-k.wake
		letters = k.mailbox.Take(letters)
		for i := range letters {
			if letters[i].stop {
				stopping = true
				continue
			}
			k.requests.Add(1)
			if lists(&letters[i].request) {
				k.commit() // pages are read from the store
			}
			k.decide(&letters[i])
			if len(k.view.changes) >= storedAtOnce {
				k.commit()
			}
		}
		k.commit()
		for i := range letters {
			k.mailbox.Release(letters[i].size)
		}
		clear(letters)
		k.out.Send()
	}
}

func (k *Keeper) decide(l *letter) {
	before := len(k.view.changes)
	v := k.verdict(&l.request)
	if k.view.err != nil {
		k.cfg.Log.Error("members can't be read", "room", l.request.Room, "err", k.view.err)
		k.view.err = nil
		k.view.undo(before)
		v = refuse(proto.ErrInternal, "The members can't be read; ask again later.")
	} else if v.refusal != nil && len(k.view.changes) > before {
		panic("BUG: a request was refused after it had changed something")
	}
	if k.cfg.Notices && len(k.view.changes) > before {
		k.view.changes[before].Notices = v.notices
	}
	k.decided = append(k.decided, decided{*l, v, len(k.view.changes) - before})
}

func (k *Keeper) verdict(r *handoff.MemberRequest) verdict {
	switch r.Kind {
	case handoff.Enter:
		return k.enter(r)
	case handoff.CreateRoom:
		return k.create(r)
	case handoff.ConfigureRoom:
		return k.configure(r)
	case handoff.ChangeMember:
		return k.change(r)
	case handoff.ListMembers:
		return k.listMembers(r)
	case handoff.ListRooms:
		return k.listRooms(r)
	case handoff.SetNotify:
		return k.setNotify(r)
	case handoff.SetDevice:
		return k.setDevice(r)
	}
	panic(fmt.Sprintf("BUG: a request of the kind %d", r.Kind))
}

// commit stores what was decided, and tells it.
func (k *Keeper) commit() {
	all := k.decided
	k.decided = nil
	if err := k.store(); err != nil {
		k.commitNothing(all, err)
	}
	for i := range all {
		k.tell(&all[i])
	}
	clear(all)
	k.decided = all[:0]
}

func (k *Keeper) store() error {
	if len(k.view.changes) == 0 {
		return nil
	}
	if err := k.cfg.Store.Update(k.view.changes); err != nil {
		return err
	}
	k.failing = false
	k.stored.Add(int64(len(k.view.changes)))
	for _, c := range k.view.changes {
		if c.Family == RoomBan && c.Room == "" {
			k.bans.set(c.User, c.Until)
		}
	}
	k.view.stored()
	return nil
}

// commitNothing is for a store that fails. What rests on changes that did not happen is decided anew, without them: who is a member
// and only wants to enter need not suffer.
func (k *Keeper) commitNothing(all []decided, err error) {
	if !k.failing {
		k.failing = true
		k.cfg.Log.Error("changes of members can't be stored, and are refused", "err", err)
	}
	k.view.forget()
	for i := range all {
		d := &all[i]
		if d.changes == 0 {
			l := d.letter
			k.decide(&l)
			*d = k.decided[0]
			k.decided = nil
		}
		if d.changes > 0 {
			k.refused.Add(1)
			d.verdict = refuse(proto.ErrLogUnavailable, "The log can't be written; nothing was changed.")
		}
		k.view.forget()
	}
}
