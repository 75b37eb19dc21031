package members

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a store in maps. Guarded by mu.
type memory struct {
	mu      sync.Mutex
	records map[Key]Record
	lists   map[counted]map[string]Record
	fails   bool
	blind   bool          // reading fails
	waits   chan struct{} // each update takes one, if it is not nil
	updates int
}

var errDisk = errors.New("the disk is gone")

func newMemory() *memory {
	return &memory{records: make(map[Key]Record), lists: make(map[counted]map[string]Record)}
}

func (m *memory) Get(k Key) (Record, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.blind {
		return Record{}, false, errDisk
	}
	r, ok := m.records[k]
	return r, ok, nil
}

// ranges are the lists that a key is in.
func ranges(k Key) map[counted]string {
	switch k.Family {
	case RoomMember:
		return map[counted]string{{MembersOf, k.Room}: k.User, {RoomsOf, k.User}: k.Room}
	case RoomBan:
		return map[counted]string{{BannedFrom, k.Room}: k.User}
	}
	return nil
}

func (m *memory) List(list List, of, after string, fn func(string, Record) bool) error {
	m.mu.Lock()
	named, blind := maps.Clone(m.lists[counted{list, of}]), m.blind
	m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if name > after && !fn(name, named[name]) {
			break
		}
	}
	if blind {
		return errDisk
	}
	return nil
}

func (m *memory) Count(list List, of string) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.lists[counted{list, of}]), nil
}

func (m *memory) Update(changes []Change) error {
	if m.waits != nil {
		<-m.waits
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails {
		return errDisk
	}
	m.updates++
	for _, c := range changes {
		for at, name := range ranges(c.Key) {
			if m.lists[at] == nil {
				m.lists[at] = make(map[string]Record)
			}
			if m.lists[at][name] = c.Record; c.Gone {
				delete(m.lists[at], name)
			}
		}
		if m.records[c.Key] = c.Record; c.Gone {
			delete(m.records, c.Key)
		}
	}
	return nil
}

func (m *memory) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// rig is a keeper with one loop, whose events are looked at.
type rig struct {
	t      *testing.T
	keeper *Keeper
	store  *memory
	inbox  *handoff.Mailbox[handoff.Event]
	bell   chan struct{}
	events []handoff.Event
	now    time.Time // changed while nothing is asked
	lastID uint64
}

// kindOf: names say what they are.
func kindOf(room string) handoff.RoomKind {
	for kind := handoff.Open; kind <= handoff.Direct; kind++ {
		if len(room) > len(kind.String()) && room[:len(kind.String())+1] == kind.String()+":" {
			return kind
		}
	}
	return handoff.Plain
}

func newRig(t *testing.T, store *memory, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, store: store, now: time.UnixMilli(1_000_000), bell: make(chan struct{}, 1)}
	r.inbox = handoff.NewMailbox[handoff.Event](1 << 30)
	r.inbox.Listen(func() {
		select {
		case r.bell <- struct{}{}:
		default:
		}
	})
	cfg := Config{
		Store: store, Loops: []*handoff.Mailbox[handoff.Event]{r.inbox}, Kind: kindOf,
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return r.now },
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if r.keeper, err = Start(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

func (r *rig) close() {
	if r.keeper != nil {
		r.keeper.Close()
		r.keeper = nil
	}
}

// ask sends a request and returns its id.
func (r *rig) ask(m handoff.MemberRequest) uint64 {
	r.t.Helper()
	r.lastID++
	m.ID = r.lastID
	if !r.keeper.Ask(m) {
		r.t.Fatal("the keeper takes nothing")
	}
	return r.lastID
}

// answer waits for the answer to a request; what came before it is in events.
func (r *rig) answer(id uint64) handoff.Event {
	for seen := 0; ; {
		for ; seen < len(r.events); seen++ {
			if e := r.events[seen]; e.ID == id {
				r.events = slices.Delete(r.events, seen, seen+1)
				return e
			}
		}
		taken := r.inbox.Take(nil)
		if len(taken) == 0 {
			<-r.bell
		}
		r.events = append(r.events, taken...)
	}
}

// do asks and gives the frame that came, or the name of the error.
func (r *rig) do(m handoff.MemberRequest) (f *v1.ServerFrame, refused string) {
	r.t.Helper()
	e := r.answer(r.ask(m))
	if e.Code.Code != 0 {
		return nil, e.Code.Name
	}
	if e.Kind == handoff.Admitted {
		return nil, ""
	}
	f = &v1.ServerFrame{}
	frame, _, err := proto.Next(proto.Binary, e.Frames[handoff.Headroom:])
	if err == nil {
		err = proto.DecodeServerFrame(f, proto.Binary, frame)
	}
	if err != nil || f.Id != e.ID {
		r.t.Fatalf("answered with %v, %v", f, err)
	}
	return f, ""
}

// must is do for what has to come to a certain end: "" or the name of an error.
func (r *rig) must(m handoff.MemberRequest, want string) *v1.ServerFrame {
	r.t.Helper()
	f, refused := r.do(m)
	if refused != want {
		r.t.Fatalf("%s %s by %s: %q, want %q", m.Action, m.Room, m.User, refused, want)
	}
	return f
}

// told takes the events of a kind.
func (r *rig) told(kind handoff.EventKind) (some []handoff.Event) {
	r.events = slices.DeleteFunc(r.events, func(e handoff.Event) bool {
		if e.Kind == kind {
			some = append(some, e)
		}
		return e.Kind == kind
	})
	return some
}

// frameOf reads what an event has for connections.
func (r *rig) frameOf(e handoff.Event) *v1.ServerFrame {
	r.t.Helper()
	f := &v1.ServerFrame{}
	frame, _, err := proto.Next(proto.Binary, e.Message.Frame(proto.Binary))
	if err == nil {
		err = proto.DecodeServerFrame(f, proto.Binary, frame)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

func enter(room, user string) handoff.MemberRequest {
	return handoff.MemberRequest{Kind: handoff.Enter, Room: room, User: user}
}

func create(room, user string) handoff.MemberRequest {
	return handoff.MemberRequest{Kind: handoff.CreateRoom, Room: room, User: user}
}

func change(room, user, action, target string) handoff.MemberRequest {
	return handoff.MemberRequest{Kind: handoff.ChangeMember, Room: room, User: user, Action: action, Target: target}
}

func giveRole(room, user, target, role string) handoff.MemberRequest {
	m := change(room, user, "role", target)
	m.Role = role
	return m
}
