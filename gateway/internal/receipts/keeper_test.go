package receipts

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// fakeStore keeps standings in a map and fails on demand.
type fakeStore struct {
	mu     sync.Mutex
	at     map[place]Standing
	calls  int
	broken bool
	bad    string // the room whose standings can't be read
}

var errDisk = errors.New("the disk is gone")

func (s *fakeStore) Standing(room, user string) (Standing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[place{room, user}], nil
}

func (s *fakeStore) Standings(room string, fn func(string, Standing) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if room == s.bad {
		return errDisk
	}
	for at, standing := range s.at {
		if at.room == room && !fn(at.user, standing) {
			break
		}
	}
	return nil
}

func (s *fakeStore) Advance(changes []Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.broken {
		return errDisk
	}
	for _, c := range changes {
		s.at[place{c.Room, c.User}] = c.To
	}
	return nil
}

func (s *fakeStore) setBroken(broken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = broken
}

// rig is a keeper with one loop's mailbox, inside a synctest bubble.
type rig struct {
	t      *testing.T
	store  *fakeStore
	keeper *Keeper
	loop   *handoff.Mailbox[handoff.Event]
	log    strings.Builder
}

// begin starts a keeper; every room's head is 1,000.
func begin(t *testing.T, change func(*Config)) *rig {
	r := &rig{t: t, store: &fakeStore{at: map[place]Standing{}}, loop: handoff.NewMailbox[handoff.Event](1 << 20)}
	cfg := Config{
		Store: r.store, Head: func(string) uint64 { return 1000 }, Loops: []*handoff.Mailbox[handoff.Event]{r.loop},
		Log: slog.New(slog.NewTextHandler(&r.log, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	r.keeper = Start(cfg)
	return r
}

func (r *rig) mark(id uint64, user string, delivered, read uint64) {
	r.t.Helper()
	r.markIn("r", id, user, delivered, read)
}

func (r *rig) markIn(room string, id uint64, user string, delivered, read uint64) {
	r.t.Helper()
	if !r.keeper.Mark(handoff.Mark{ID: id, Room: room, User: user, Delivered: delivered, Read: read}) {
		r.t.Fatal("the mark was not taken")
	}
}

func (r *rig) ask(id uint64, room, user string) {
	r.t.Helper()
	if !r.keeper.Mark(handoff.Mark{ID: id, Room: room, User: user, Ask: true}) {
		r.t.Fatal("the question was not taken")
	}
}

// told waits and gives what the loop was sent since, one line each.
func (r *rig) told(wait time.Duration) (lines []string) {
	r.t.Helper()
	time.Sleep(wait)
	synctest.Wait()
	for _, e := range r.loop.Take(nil) {
		r.loop.Release(e.Size)
		var frame []byte
		switch e.Kind {
		case handoff.Ephemeral:
			if !e.Message.Ephemeral || e.Message.Room != e.Room {
				r.t.Errorf("members of %q are told %+v", e.Room, e.Message)
			}
			frame = e.Message.Frame(proto.Binary)
		case handoff.Marked, handoff.Told:
			if e.Frames == nil {
				lines = append(lines, fmt.Sprintf("%d refused %s", e.ID, e.Code.Name))
				continue
			}
			frame = e.Frames[handoff.Headroom:]
		case handoff.Refused:
			lines = append(lines, fmt.Sprintf("%d refused %s", e.ID, e.Code.Name))
			continue
		default:
			continue // what a test put there itself
		}
		one, rest, err := proto.Next(proto.Binary, frame)
		if err != nil || len(rest) > 0 {
			r.t.Fatalf("%v, %d bytes behind the frame", err, len(rest))
		}
		var f v1.ServerFrame
		if err := proto.DecodeServerFrame(&f, proto.Binary, one); err != nil {
			r.t.Fatal(err)
		}
		if f.GetReceipts() != nil && e.Room != f.GetReceipts().Room {
			r.t.Errorf("the answer of %q is said to be of %q: it is not to reach who was removed from the room", f.GetReceipts().Room, e.Room)
		}
		switch op := f.Op.(type) {
		case *v1.ServerFrame_Marked:
			lines = append(lines, fmt.Sprintf("%d marked %d %d", f.Id, op.Marked.Delivered, op.Marked.Read))
		case *v1.ServerFrame_Receipt:
			lines = append(lines, fmt.Sprintf("%s %d %d", op.Receipt.User, op.Receipt.Delivered, op.Receipt.Read))
		case *v1.ServerFrame_Receipts:
			told, own := op.Receipts, op.Receipts.GetOwn()
			s := fmt.Sprintf("%d users %d, own %d %d, named %d", f.Id, told.Users, own.GetDelivered(), own.GetRead(), len(told.Receipts))
			for _, c := range told.Counts {
				s += fmt.Sprintf(", %d: %d %d", c.Seq, c.Delivered, c.Read)
			}
			lines = append(lines, s)
		default:
			r.t.Fatalf("a frame of another kind: %v", &f)
		}
	}
	return lines
}

func (r *rig) want(wait time.Duration, what string, want ...string) {
	r.t.Helper()
	if got := r.told(wait); strings.Join(got, "\n") != strings.Join(want, "\n") {
		r.t.Errorf("%s: told\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// inBubble runs a test with a clock of its own, and ends the keeper.
func inBubble(t *testing.T, change func(*Config), test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, change)
		test(t, r)
		r.keeper.Close()
	})
}

func TestMarksGatherAndMoveForward(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.mark(0, "ann", 5, 0)
		r.mark(1, "ann", 7, 6)
		r.mark(0, "ann", 3, 2)
		r.want(900*time.Millisecond, "before the second is over")
		r.want(200*time.Millisecond, "after it", "1 marked 7 6", "ann 7 6")
		if r.store.calls != 1 {
			t.Errorf("stored %d times, want once", r.store.calls)
		}
		// Read means delivered, and nothing goes back.
		r.mark(2, "ann", 1, 9)
		r.want(2*time.Second, "read further", "2 marked 9 9", "ann 9 9")
		r.mark(3, "ann", 8, 8)
		r.want(2*time.Second, "an old mark is answered and nobody told", "3 marked 9 9")
		if r.store.calls != 2 {
			t.Errorf("stored %d times, want twice", r.store.calls)
		}
		if s := r.keeper.Stats(); s.Marks != 5 || s.Stored != 2 || s.Refused != 0 {
			t.Errorf("counted %+v", s)
		}
	})
}

func TestMarkBeyondTheHeadIsRefused(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.mark(1, "ann", 1001, 0)
		r.mark(0, "ann", 0, 1001)
		r.want(2*time.Second, "beyond", "1 refused bad_request", "0 refused bad_request")
		r.mark(2, "ann", 1000, 1000)
		r.want(2*time.Second, "at the head", "2 marked 1000 1000", "ann 1000 1000")
	})
}

// TestAFailingStoreLosesNoMark: who asked is told, and the mark is stored when the disk is back.
func TestAFailingStoreLosesNoMark(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.store.setBroken(true)
		r.mark(1, "ann", 5, 5)
		r.mark(0, "bob", 6, 0)
		r.want(5*time.Second, "the disk is gone", "1 refused log_unavailable")
		if n := strings.Count(r.log.String(), errDisk.Error()); n != 1 {
			t.Errorf("logged %d times:\n%s", n, r.log.String())
		}
		r.store.setBroken(false)
		got := r.told(2 * time.Second)
		if len(got) != 2 || !strings.Contains(strings.Join(got, ","), "ann 5 5") || !strings.Contains(strings.Join(got, ","), "bob 6 0") {
			t.Errorf("told %q when the disk was back", got)
		}
	})
}

// TestClosingStores: what waits is stored and answered before the end.
func TestClosingStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, nil)
		r.mark(1, "ann", 5, 0)
		r.keeper.Close()
		r.want(0, "closed", "1 marked 5 0", "ann 5 0")
	})
}

// all adds the counts of the messages up to one: everybody has those.
func all(line string, upTo uint64, counts string) string {
	for seq := floor(1000); seq <= upTo; seq++ {
		line += fmt.Sprintf(", %d: %s", seq, counts)
	}
	return line
}

func TestLargeRoomIsToldCounts(t *testing.T) {
	inBubble(t, func(c *Config) { c.Named = 2 }, func(t *testing.T, r *rig) {
		r.mark(0, "ann", 1000, 999)
		r.mark(0, "bob", 1000, 0)
		if got := r.told(2 * time.Second); len(got) != 2 {
			t.Errorf("two users: told %q", got)
		}
		r.mark(0, "cid", 998, 998)
		r.want(2*time.Second, "a third one", all("0 users 3, own 0 0, named 0", 997, "3 2")+", 998: 3 2, 999: 2 1, 1000: 2 0")
		r.mark(0, "cid", 999, 999)
		r.mark(0, "dan", 3, 3) // long ago: a user, but in no count
		got := r.told(2 * time.Second)
		if len(got) != 1 || got[0] != all("0 users 4, own 0 0, named 0", 999, "3 2")+", 1000: 2 0" {
			t.Errorf("two moved: told %q", got)
		}
	})
}

func TestQuestions(t *testing.T) {
	inBubble(t, func(c *Config) { c.Named = 2 }, func(t *testing.T, r *rig) {
		ask := func(id uint64, user string) {
			t.Helper()
			r.ask(id, "r", user)
		}
		ask(1, "ann")
		r.want(0, "nobody has marked", "1 users 0, own 0 0, named 0")
		r.mark(0, "ann", 1000, 0)
		ask(2, "ann")
		r.want(0, "what is not stored is not told", "2 users 0, own 0 0, named 0")
		r.told(2 * time.Second)
		ask(3, "ann")
		ask(4, "bob")
		r.want(0, "one has", "3 users 1, own 1000 0, named 1", "4 users 1, own 0 0, named 1")
		r.mark(0, "bob", 999, 999)
		r.mark(0, "cid", 999, 999)
		r.told(2 * time.Second)
		ask(5, "bob")
		r.want(0, "too many to be named", all("5 users 3, own 999 999, named 0", 998, "3 2")+", 999: 3 2, 1000: 1 0")
	})
}

// TestBounds: what can't wait is refused, and a loop that has too much is not told.
func TestBounds(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		for id := range uint64(maxAnswers + 1) {
			r.mark(id+1, "ann", 1, 1)
		}
		r.want(0, "one more than may wait", fmt.Sprintf("%d refused overloaded", maxAnswers+1))
		r.told(2 * time.Second)
		r.loop.PutAlways(handoff.Event{Kind: handoff.Tick, Size: 1 << 20}, 1<<20)
		r.mark(7, "ann", 2, 2)
		got := r.told(2 * time.Second)
		if len(got) != 1 || got[0] != "7 marked 2 2" || r.keeper.Stats().Untold != 1 {
			t.Errorf("a full loop was told %q, %d times not", got, r.keeper.Stats().Untold)
		}
	})
	inBubble(t, func(c *Config) { c.MailboxBytes = 1 }, func(t *testing.T, r *rig) {
		refused := false
		for range 1_000_000 { // the keeper takes them out meanwhile
			if refused = !r.keeper.Mark(handoff.Mark{Room: "r", User: "u", Read: 1}); refused {
				break
			}
		}
		if !refused || r.keeper.Stats().Refused == 0 {
			t.Errorf("a mailbox of 1 byte was never full, %d refusals counted", r.keeper.Stats().Refused)
		}
	})
}

// TestNobodyIsToldTheSameTwice: a large room hears of a mark only if that changes something for it.
func TestNobodyIsToldTheSameTwice(t *testing.T) {
	inBubble(t, func(c *Config) { c.Named = 1 }, func(t *testing.T, r *rig) {
		r.mark(0, "ann", 1000, 1000)
		r.mark(0, "bob", 1, 1)
		if got := r.told(2 * time.Second); !strings.HasPrefix(got[len(got)-1], "0 users 2") {
			t.Errorf("told %q", got)
		}
		r.mark(1, "bob", 2, 2)
		r.want(2*time.Second, "of a message that is counted no more", "1 marked 2 2")
		r.mark(2, "bob", 1000, 2)
		if got := r.told(2 * time.Second); len(got) != 2 {
			t.Errorf("told %q", got)
		}
	})
}

// TestARoomThatCannotBeRead holds up no other.
func TestARoomThatCannotBeRead(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.store.bad = "bad"
		r.markIn("bad", 1, "ann", 5, 5)
		r.markIn("good", 2, "ann", 6, 6)
		got := r.told(2 * time.Second)
		slices.Sort(got)
		if strings.Join(got, ", ") != "1 refused log_unavailable, 2 marked 6 6, ann 6 6" {
			t.Errorf("told %q", got)
		}
		r.ask(3, "bad", "ann")
		r.want(0, "a question about it", "3 refused internal")
	})
}

// TestQuestionsHoldUpNoMark: what is due is stored in the middle of many questions.
func TestQuestionsHoldUpNoMark(t *testing.T) {
	inBubble(t, func(c *Config) { c.Named = 1 }, func(t *testing.T, r *rig) {
		r.mark(0, "ann", 1, 1)
		r.told(2 * time.Second)
		r.keeper.cfg.Interval = time.Nanosecond // owned by the keeper, which sleeps
		r.mark(1, "ann", 2, 2)
		for range 1000 {
			r.ask(2, "r", "bob")
		}
		got := r.told(time.Second)
		if at := slices.Index(got, "1 marked 2 2"); at < 0 || at == len(got)-1 && len(got) > 1 {
			t.Errorf("of %d answers the mark's came as number %d", len(got), at)
		}
	})
}

// TestManyRooms: the censuses that are not kept are counted again, and the others stay right.
func TestManyRooms(t *testing.T) {
	inBubble(t, func(c *Config) { c.Named = 2 }, func(t *testing.T, r *rig) {
		for i := range maxCensuses + 500 {
			r.ask(1, fmt.Sprint("made up ", i), "eve")
		}
		r.told(0)
		if n := len(r.keeper.censuses); n > maxCensuses {
			t.Errorf("%d censuses are kept", n)
		}
		for round := range 3 {
			for i := range 200 {
				r.markIn("large", 0, fmt.Sprint("user ", round*200+i), 1000, uint64(round))
				r.markIn(fmt.Sprint("small ", round, i), 0, "ann", 1, 1)
			}
			r.told(2 * time.Second)
		}
		r.ask(2, "large", "nobody")
		want := all("2 users 600, own 0 0, named 0", 1000, "600 0")
		if got := r.told(0); len(got) != 1 || got[0] != want {
			t.Errorf("told %q\nwant  %q", got, want)
		}
	})
}

// TestAgainstPlainModel: whatever is marked in whatever order and with whatever failures, everybody stands at the most of
// their marks, a receipt is never behind an earlier one, and the counts of a large room are those of the standings.
func TestAgainstPlainModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var top atomic.Uint64
	top.Store(1)
	inBubble(t, func(c *Config) {
		c.Named = 5
		c.Head = func(string) uint64 { return top.Load() }
	}, func(t *testing.T, r *rig) {
		model, last := map[string]Standing{}, map[string]Standing{}
		for step := range 2000 {
			r.store.setBroken(rng.IntN(4) == 0)
			synctest.Wait()
			head := top.Add(rng.Uint64N(4))
			users := 3 + step/100
			for range rng.IntN(5) {
				user := fmt.Sprint("u", rng.IntN(users))
				s := Standing{rng.Uint64N(head + 1), rng.Uint64N(head + 1)}
				if rng.IntN(3) == 0 {
					s.Delivered = head
				}
				r.mark(0, user, s.Delivered, s.Read)
				if s != (Standing{}) {
					model[user] = model[user].beyond(s)
				}
			}
			for _, line := range r.told(time.Duration(rng.IntN(1500)) * time.Millisecond) {
				var user string
				var s Standing
				if n, _ := fmt.Sscanf(line, "u%s %d %d", &user, &s.Delivered, &s.Read); n != 3 {
					continue
				}
				if s.Delivered < last[user].Delivered || s.Read < last[user].Read {
					t.Fatalf("step %d: %s went from %v to %v", step, user, last[user], s)
				}
				last[user] = s
			}
		}
		r.store.setBroken(false)
		r.told(3 * time.Second)
		head := top.Load()
		r.keeper.Mark(handoff.Mark{ID: 9, Room: "r", User: "u0", Ask: true})
		got := r.told(0)
		want := fmt.Sprintf("9 users %d, own %d %d, named 0", len(model), model["u0"].Delivered, model["u0"].Read)
		for seq := floor(head); seq <= head; seq++ {
			delivered, read := 0, 0
			for _, s := range model {
				if s.Delivered >= seq {
					delivered++
				}
				if s.Read >= seq {
					read++
				}
			}
			if delivered > 0 {
				want += fmt.Sprintf(", %d: %d %d", seq, delivered, read)
			}
		}
		if len(got) != 1 || got[0] != want {
			t.Errorf("told %q\nwant  %q", got, want)
		}
		for user, s := range model {
			if r.store.at[place{"r", user}] != s {
				t.Errorf("%s stands at %v, want %v", user, r.store.at[place{"r", user}], s)
			}
		}
	})
}
