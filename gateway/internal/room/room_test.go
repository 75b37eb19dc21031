package room

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	"rookery/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeLog commits when the test says so.
type fakeLog struct {
	mu        sync.Mutex
	full      error // what Append answers
	records   map[string][]storage.Record
	waiting   []storage.Record
	committed func(n int, err error)
	appended  chan struct{}
	recent    []storage.Record
	begin     uint64          // of every room; 0: 1
	lost      map[uint64]bool // numbers that can't be read, in every room
}

func newFakeLog() *fakeLog {
	return &fakeLog{records: map[string][]storage.Record{}, appended: make(chan struct{}, 1000)}
}

func (l *fakeLog) Epoch() uint64 { return 0x7f3a }

func (l *fakeLog) Head(room string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.records[room]))
}

// Place has the room that was appended to last behind all others.
func (l *fakeLog) Place(room string) int64 { return int64(l.Head(room)) }
func (l *fakeLog) End() int64              { return 1 << 40 }

func (l *fakeLog) Begin(string) uint64 { return max(1, l.begin) }

// damage gives the error for a lost record, with those beside it.
func (l *fakeLog) damage(room string, seq uint64) error {
	first, last := seq, seq
	for l.lost[first-1] {
		first--
	}
	for l.lost[last+1] {
		last++
	}
	return &storage.DamagedError{Room: room, First: first, Last: last, Err: &storage.CorruptionError{Path: "log", Err: errors.New("rotten")}}
}

func (l *fakeLog) Open(committed func(n int, err error)) Producer {
	l.committed = committed
	return l
}

func (l *fakeLog) Append(r storage.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full != nil {
		return l.full
	}
	l.waiting = append(l.waiting, r)
	l.appended <- struct{}{}
	return nil
}

// commit ends the n oldest appends.
func (l *fakeLog) commit(n int, err error) {
	l.mu.Lock()
	if err == nil {
		for _, r := range l.waiting[:n] {
			l.records[r.Room] = append(l.records[r.Room], r)
		}
	}
	l.waiting = l.waiting[n:]
	l.mu.Unlock()
	l.committed(n, err)
}

func (l *fakeLog) refuse(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.full = err
}

func (l *fakeLog) ReadAfter(room string, after uint64, limit storage.PageLimit, fn func(storage.Record) bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	after = max(after, l.Begin(room)-1)
	for i := int(after); i < len(l.records[room]) && i < int(after)+limit.Records; i++ {
		if l.lost[uint64(i+1)] {
			return l.damage(room, uint64(i+1))
		}
		if !lend(l.records[room][i], fn) {
			break
		}
	}
	return nil
}

func (l *fakeLog) ReadBefore(room string, before uint64, limit storage.PageLimit, fn func(storage.Record) bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if before == 0 {
		before = uint64(len(l.records[room])) + 1
	}
	for i := int(before) - 2; i >= int(l.Begin(room))-1 && i > int(before)-2-limit.Records; i-- {
		if l.lost[uint64(i+1)] {
			return l.damage(room, uint64(i+1))
		}
		if !lend(l.records[room][i], fn) {
			break
		}
	}
	return nil
}

// lend passes a record as the log does: a view into a buffer that belongs to another as soon as fn returns.
func lend(r storage.Record, fn func(storage.Record) bool) bool {
	buffer := slices.Concat([]byte(r.From), []byte(r.Key), r.Body)
	from, key := buffer[:len(r.From)], buffer[len(r.From):len(r.From)+len(r.Key)]
	r.From, r.Key, r.Body = unsafe.String(unsafe.SliceData(from), len(from)), unsafe.String(unsafe.SliceData(key), len(key)), buffer[len(r.From)+len(r.Key):]
	again := fn(r)
	for i := range buffer {
		buffer[i] = 0xdb
	}
	return again
}

func (l *fakeLog) Newest() time.Time {
	if len(l.recent) == 0 {
		return time.Time{}
	}
	return time.UnixMilli(l.recent[len(l.recent)-1].At)
}

func (l *fakeLog) Recent(since time.Time, _ int, fn func(storage.Record) bool) error {
	for _, r := range l.recent {
		if r.At >= since.UnixMilli() {
			fn(r)
		}
	}
	return nil
}

// bench is one shard with the mailboxes of two loops.
type bench struct {
	t     *testing.T
	log   *fakeLog
	rooms *Rooms
	loops []*handoff.Mailbox[handoff.Event]
	rings []chan struct{}
	queue [][]handoff.Event
}

func start(t *testing.T, log *fakeLog, change func(*Config)) *bench {
	b := &bench{t: t, log: log, queue: make([][]handoff.Event, 2)}
	for range 2 {
		ring := make(chan struct{}, 1)
		loop := handoff.NewMailbox[handoff.Event](1 << 20)
		loop.Listen(func() {
			select {
			case ring <- struct{}{}:
			default:
			}
		})
		b.loops, b.rings = append(b.loops, loop), append(b.rings, ring)
	}
	cfg := Config{Log: log, Loops: b.loops, Shards: 1, Readers: 1}
	if change != nil {
		change(&cfg)
	}
	var err error
	if b.rooms, err = Start(cfg); err != nil {
		t.Fatal(err)
	}
	return b
}

// next is the next event of a loop.
func (b *bench) next(loop int) handoff.Event {
	b.t.Helper()
	for len(b.queue[loop]) == 0 {
		select {
		case <-b.rings[loop]:
		case <-time.After(10 * time.Second):
			b.t.Fatalf("loop %d was told nothing", loop)
		}
		b.queue[loop] = b.loops[loop].Take(nil)
	}
	e := b.queue[loop][0]
	b.queue[loop] = b.queue[loop][1:]
	b.loops[loop].Release(e.Size)
	return e
}

func (b *bench) must(loop int, kind handoff.EventKind, id, seq uint64) handoff.Event {
	b.t.Helper()
	e := b.next(loop)
	if e.Kind != kind || e.ID != id || e.Seq != seq {
		b.t.Fatalf("loop %d was told %+v, want kind %d, id %d, seq %d", loop, e, kind, id, seq)
	}
	return e
}

func (b *bench) send(c handoff.Command) {
	b.t.Helper()
	if !b.rooms.Send(c) {
		b.t.Fatal("the shard's mailbox is full")
	}
}

func (b *bench) publish(loop uint16, id uint64, key string) {
	b.t.Helper()
	b.send(handoff.Command{
		Kind: handoff.Publish, From: handoff.Handle{Loop: loop, Slot: 1}, ID: id,
		Room: "lobby", User: "alice", Key: key, Content: []byte{0x2a, 1, 'x'},
	})
}

func (b *bench) join(loop uint16, id uint64) {
	b.t.Helper()
	b.send(handoff.Command{Kind: handoff.Join, From: handoff.Handle{Loop: loop}, ID: id, Room: "lobby"})
	e := b.next(int(loop))
	if e.Kind != handoff.Joined || e.ID != id {
		b.t.Fatalf("join was answered with %+v", e)
	}
}

// wait waits until the log was given n records.
func (b *bench) wait(n int) {
	b.t.Helper()
	for range n {
		select {
		case <-b.log.appended:
		case <-time.After(10 * time.Second):
			b.t.Fatal("the log was given nothing")
		}
	}
}

func TestNothingIsVisibleBeforeItIsCommitted(t *testing.T) {
	b := start(t, newFakeLog(), nil)
	defer b.rooms.Close()
	b.join(0, 1)
	b.publish(0, 2, "")
	b.wait(1)
	// Asked after the publish, answered before it is committed.
	b.join(1, 3)
	b.log.commit(1, nil)
	b.must(0, handoff.Published, 2, 1)
	if e := b.must(0, handoff.Delivery, 0, 1); string(e.Message.Frame(proto.JSON)) == "" || e.Message.From != "alice" {
		t.Errorf("delivered %+v", e.Message)
	}
	b.must(1, handoff.Delivery, 0, 1)
}

func TestLoopsWithoutMembersAreToldNothing(t *testing.T) {
	b := start(t, newFakeLog(), nil)
	defer b.rooms.Close()
	b.join(1, 1)
	b.send(handoff.Command{Kind: handoff.Gone, From: handoff.Handle{Loop: 1}, Room: "lobby"})
	b.publish(0, 3, "")
	b.wait(1)
	b.log.commit(1, nil)
	b.must(0, handoff.Published, 3, 1)
	b.join(1, 4) // what comes first shows that no delivery was before it
}

func TestRefusedPublishLeavesNoGap(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want proto.ErrorCode
	}{
		{"queue full", storage.ErrFull, proto.ErrOverloaded},
		{"closed", storage.ErrClosed, proto.ErrDraining},
		{"fault", &storage.FaultError{Op: "write", Path: "x", Err: errors.New("no space")}, proto.ErrLogUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, newFakeLog(), nil)
			defer b.rooms.Close()
			b.log.refuse(c.err)
			b.publish(0, 1, "k")
			if e := b.must(0, handoff.Refused, 1, 0); e.Code != c.want || e.Text == "" {
				t.Fatalf("refused with %v", e)
			}
			b.log.refuse(nil)
			b.publish(0, 2, "k")
			b.wait(1)
			b.log.commit(1, nil)
			b.must(0, handoff.Published, 2, 1)
		})
	}
}

func TestFailedCommitIsNotAcknowledged(t *testing.T) {
	b := start(t, newFakeLog(), nil)
	defer b.rooms.Close()
	for id := uint64(1); id <= 3; id++ {
		b.publish(0, id, fmt.Sprint("k", id))
	}
	b.wait(3)
	b.log.commit(1, nil)
	b.log.commit(2, &storage.FaultError{Op: "sync", Path: "x", Err: errors.New("i/o error")})
	b.must(0, handoff.Published, 1, 1)
	for id := uint64(2); id <= 3; id++ {
		if e := b.must(0, handoff.Refused, id, 0); e.Code != proto.ErrLogUnavailable {
			t.Fatalf("refused with %v", e.Code)
		}
	}
	// The keys of what failed are free, the one of what was committed is not.
	b.publish(0, 4, "k1")
	b.must(0, handoff.Published, 4, 1)
	b.publish(0, 5, "k2")
	b.wait(1)
	b.log.commit(1, nil)
	b.must(0, handoff.Published, 5, 2)
	if got := b.rooms.Stats(); got.Rooms != 0 || got.Published != 2 || got.RefusedLog != 2 || got.Duplicates != 1 {
		t.Errorf("stats: %+v", got)
	}
}

func TestRetryInFlightGetsTheSameAnswer(t *testing.T) {
	b := start(t, newFakeLog(), nil)
	defer b.rooms.Close()
	b.publish(0, 1, "k")
	b.publish(1, 2, "k")
	b.publish(0, 3, "other")
	b.wait(2)
	b.log.commit(2, nil)
	first := b.must(0, handoff.Published, 1, 1)
	if again := b.must(1, handoff.Published, 2, 1); again.At != first.At {
		t.Errorf("times differ: %d and %d", first.At, again.At)
	}
	b.must(0, handoff.Published, 3, 2)
}

func TestRetriesInFlightAreBounded(t *testing.T) {
	b := start(t, newFakeLog(), nil)
	defer b.rooms.Close()
	const sent = maxRetries + 5
	for id := range uint64(1 + sent) {
		b.publish(0, id, "k")
	}
	for range sent - maxRetries {
		if e := b.next(0); e.Kind != handoff.Refused || e.Code != proto.ErrOverloaded {
			t.Fatalf("told %+v", e)
		}
	}
	b.wait(1)
	b.log.commit(1, nil)
	for id := range uint64(1 + maxRetries) {
		b.must(0, handoff.Published, id, 1)
	}
}

// TestRetryKeysComeBackFromTheLog: also with a clock that has gone far ahead since, or a log that nobody has written to for long.
func TestRetryKeysComeBackFromTheLog(t *testing.T) {
	log := newFakeLog()
	log.recent = []storage.Record{{Room: "lobby", Seq: 7, At: 123, From: "alice", Key: "k"}}
	b := start(t, log, nil)
	defer b.rooms.Close()
	b.publish(0, 1, "k")
	if e := b.must(0, handoff.Published, 1, 7); e.At != 123 {
		t.Errorf("answered with %+v", e)
	}
}

func TestPublishIsPushedBackWhileALoopIsFull(t *testing.T) {
	b := start(t, newFakeLog(), nil)
	defer b.rooms.Close()
	b.loops[1].PutAlways(handoff.Event{Kind: handoff.Tick}, 1<<20)
	b.publish(0, 1, "")
	if e := b.must(0, handoff.Refused, 1, 0); e.Code != proto.ErrOverloaded || !e.Code.Retry {
		t.Fatalf("refused with %v", e.Code)
	}
	b.loops[1].Release(1 << 20)
	b.publish(0, 2, "")
	b.wait(1)
	b.log.commit(1, nil)
	b.must(0, handoff.Published, 2, 1)
}

func TestTimesOfARoomDoNotRunBackwards(t *testing.T) {
	var mu sync.Mutex
	now := time.UnixMilli(1000)
	b := start(t, newFakeLog(), func(c *Config) {
		c.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
	})
	defer b.rooms.Close()
	b.join(0, 9)
	b.publish(1, 1, "")
	b.wait(1)
	mu.Lock()
	now = time.UnixMilli(500)
	mu.Unlock()
	b.publish(1, 2, "")
	b.wait(1)
	b.log.commit(2, nil)
	b.must(1, handoff.Published, 1, 1)
	if e := b.must(1, handoff.Published, 2, 2); e.At != 1000 {
		t.Errorf("the second message is at %d, the first at 1000", e.At)
	}
}

func TestCloseWaitsForFlights(t *testing.T) {
	b := start(t, newFakeLog(), nil)
	b.publish(0, 1, "")
	b.wait(1)
	closed := make(chan struct{})
	go func() {
		b.rooms.Close()
		close(closed)
	}()
	select {
	case <-closed:
		t.Fatal("closed with a publish in flight")
	case <-time.After(20 * time.Millisecond):
	}
	b.log.commit(1, nil)
	<-closed
	b.must(0, handoff.Published, 1, 1)
}

func TestJoinSaysWhetherThePositionIsKnown(t *testing.T) {
	log := newFakeLog()
	log.records["lobby"] = make([]storage.Record, 5)
	b := start(t, log, nil)
	defer b.rooms.Close()
	for i, c := range []struct {
		after uint64
		epoch string
		want  bool
	}{
		{0, "", true}, {5, "7f3a", true}, {3, "7f3a", true},
		{6, "7f3a", false}, {3, "7f3b", false},
	} {
		b.send(handoff.Command{
			Kind: handoff.Join, From: handoff.Handle{Loop: 0, Slot: uint32(i)}, ID: uint64(i),
			Room: "lobby", HasAfter: true, After: c.after, Epoch: c.epoch,
		})
		if e := b.must(0, handoff.Joined, uint64(i), 5); e.Recovered != c.want || e.After != c.after {
			t.Errorf("after %d of epoch %q: %+v", c.after, c.epoch, e)
		}
	}
}

func TestReplayIsAscendingAndBounded(t *testing.T) {
	log := newFakeLog()
	for seq := range uint64(2000) {
		log.records["lobby"] = append(log.records["lobby"], storage.Record{Room: "lobby", Seq: seq + 1, At: 1, From: "a", Body: []byte{0x2a, 1, 'x'}})
	}
	b := start(t, log, nil)
	defer b.rooms.Close()
	if !b.rooms.Read(handoff.Read{Kind: handoff.Replay, Room: "lobby", Position: 10}) {
		t.Fatal("the queue is full")
	}
	e := b.must(0, handoff.Page, 0, 10+replayMessages)
	want := uint64(11)
	for rest := e.Frames[handoff.Headroom:]; len(rest) > 0; want++ {
		var frame []byte
		var err error
		if frame, rest, err = proto.Next(proto.Binary, rest); err != nil {
			t.Fatal(err)
		}
		if seq := frameSeq(t, frame); seq != want {
			t.Fatalf("message %d stands where %d should", seq, want)
		}
	}
	if want != 11+replayMessages {
		t.Errorf("the page ends before %d", want)
	}
}
