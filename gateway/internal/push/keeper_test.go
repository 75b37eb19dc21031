package push

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rookery/gateway/internal/handoff"
)

// TestSummary: one for a user, of all rooms, when the message is due and not before.
func TestSummary(t *testing.T) {
	keep(t, func(c *Config) { c.Text = true }, func(t *testing.T, w *world, k *Keeper) {
		w.join("group:a", "ann", "ben")
		w.join("group:b", "ann", "cleo")
		w.publish("group:a", "ben")
		w.publish("group:b", "cleo", "ann")
		w.publish("group:a", "ben")
		time.Sleep(testAfter - time.Second)
		if all := w.taken(); len(all) != 0 {
			t.Fatalf("before it was due %+v were told", all)
		}
		later()
		all := w.taken()
		if len(all) != 1 {
			t.Fatalf("%d summaries, want one: %+v", len(all), all)
		}
		s := all[0]
		messages, mentions := s.Messages()
		if s.User != "ann" || messages != 3 || mentions != 1 || !slices.Equal(roomsOf(s), []string{"group:a", "group:b"}) || s.More {
			t.Errorf("the summary is %+v", s)
		}
		if s.Newest.From == "" || s.Newest.Text != "text "+s.Newest.From || s.Attempt != 1 || !strings.HasPrefix(s.ID, "push_") {
			t.Errorf("the newest message is %+v", s.Newest)
		}
		if st := k.Stats(); st.Sent != 1 || st.Queued != 0 || st.Behind != 0 || st.Bytes != 0 {
			t.Errorf("counted %+v", st)
		}
	})
}

// TestWhoIsNotTold: the author, who has received it, who was no member yet, who is none any more, whom the level keeps from it.
func TestWhoIsNotTold(t *testing.T) {
	for name, c := range map[string]struct {
		before, after func(w *world) // it was published, it was due
		told          bool
	}{
		"as it is":          {told: true},
		"delivered":         {before: func(w *world) { w.change("group:a", "ann", func(m *Member) { m.Delivered = 1 }) }},
		"earlier delivered": {before: func(w *world) { w.change("group:a", "ann", func(m *Member) { m.Delivered = 0 }) }, told: true},
		"joined later":      {before: func(w *world) { w.change("group:a", "ann", func(m *Member) { m.From = 1 }) }},
		"left":              {before: func(w *world) { w.locked(func() { delete(w.members["group:a"], "ann") }) }},
		"none":              {before: func(w *world) { w.change("group:a", "ann", func(m *Member) { m.Level = handoff.NotifyNone }) }},
		"mentions only":     {before: func(w *world) { w.change("group:a", "ann", func(m *Member) { m.Level = handoff.NotifyMentions }) }},
		"deleted":           {before: func(w *world) { w.locked(func() { w.deleted[place{"group:a", 1}] = true }) }},
	} {
		t.Run(name, func(t *testing.T) {
			keep(t, nil, func(t *testing.T, w *world, _ *Keeper) {
				w.join("group:a", "ann", "ben")
				w.publish("group:a", "ben")
				if c.before != nil {
					c.before(w)
				}
				later()
				if all := w.taken(); (len(all) == 1) != c.told || len(all) > 1 {
					t.Errorf("told %+v", all)
				}
			})
		})
	}
}

// TestWindow: what comes within the window is gathered, and cancelled when it is read elsewhere.
func TestWindow(t *testing.T) {
	keep(t, nil, func(t *testing.T, w *world, k *Keeper) {
		w.join("group:a", "ann", "ben")
		w.publish("group:a", "ben")
		later()
		first := w.taken()
		if len(first) != 1 {
			t.Fatalf("first %+v", first)
		}
		for range 3 {
			w.publish("group:a", "ben")
			time.Sleep(40 * time.Second)
		}
		if all := w.taken(); len(all) != 0 {
			t.Fatalf("within the window %+v", all)
		}
		time.Sleep(testWindow)
		second := w.taken()
		if len(second) != 1 || second[0].Rooms[0] != (Room{"group:a", 3, 0, 2, 4}) {
			t.Fatalf("second %+v", second)
		}
		if apart := second[0].at.Sub(first[0].at); apart < testWindow || apart > testWindow+longestTurn {
			t.Errorf("the summaries are %v apart", apart)
		}
		w.publish("group:a", "ben")
		w.publish("group:a", "ben")
		later()
		w.change("group:a", "ann", func(m *Member) { m.Delivered = 6 })
		time.Sleep(2 * testWindow)
		if all := w.taken(); len(all) != 0 || k.Stats().Cancelled != 1 {
			t.Errorf("read elsewhere, and told %+v; %+v", all, k.Stats())
		}
		// A window in which nothing happened is over: the next is at once again.
		w.publish("group:a", "ben")
		later()
		if all := w.taken(); len(all) != 1 {
			t.Errorf("after a rest %+v", all)
		}
		time.Sleep(2 * testWindow)
		if st := k.Stats(); st.Users != 0 || st.Bytes != 0 {
			t.Errorf("kept for nobody: %+v", st)
		}
	})
}

// TestPartly: what was received or deleted while it was gathered is not counted.
func TestPartly(t *testing.T) {
	keep(t, nil, func(t *testing.T, w *world, _ *Keeper) {
		w.join("group:a", "ann", "ben")
		w.publish("group:a", "ben")
		later()
		w.taken()
		for range 5 {
			w.publish("group:a", "ben", "ann")
		}
		later()
		w.change("group:a", "ann", func(m *Member) { m.Delivered = 3 })
		w.locked(func() { w.deleted[place{"group:a", 6}] = true })
		time.Sleep(testWindow)
		if all := w.taken(); len(all) != 1 || all[0].Rooms[0] != (Room{"group:a", 2, 2, 4, 5}) {
			t.Errorf("told %+v", all)
		}
	})
}

// TestLargeRoom: beyond the bound only who is mentioned is told, and of these messages only.
func TestLargeRoom(t *testing.T) {
	keep(t, nil, func(t *testing.T, w *world, _ *Keeper) {
		for i := range 21 {
			w.join("group:a", fmt.Sprint("u", i))
		}
		w.change("group:a", "u3", func(m *Member) { m.Level = handoff.NotifyNone })
		w.publish("group:a", "u0")
		w.publish("group:a", "u0", "u1", "u3", "stranger", "u0")
		w.publish("group:a", "u0")
		later()
		if all := w.taken(); len(all) != 1 || all[0].User != "u1" || all[0].Rooms[0] != (Room{"group:a", 1, 1, 2, 2}) {
			t.Errorf("told %+v", all)
		}
	})
}

// TestMany: a summary names the newest and says that there are more.
func TestMany(t *testing.T) {
	keep(t, nil, func(t *testing.T, w *world, _ *Keeper) {
		w.join("group:a", "ann", "ben")
		for range maxSeqs + 50 {
			w.publish("group:a", "ben")
		}
		later()
		if all := w.taken(); len(all) != 1 || !all[0].More || all[0].Rooms[0] != (Room{"group:a", maxSeqs, 0, 51, maxSeqs + 50}) {
			t.Errorf("told %+v", all)
		}
		for i := range maxConversations + 5 {
			room := fmt.Sprint("group:r", i)
			w.join(room, "ann", "ben")
			w.publish(room, "ben")
		}
		later()
		time.Sleep(testWindow)
		if all := w.taken(); len(all) != 1 || len(all[0].Rooms) != maxConversations {
			t.Errorf("told of %d conversations in %d summaries", len(all[0].Rooms), len(all))
		}
	})
}

// TestBounds: what waits to be due is bounded by reading on later, what is gathered by dropping.
func TestBounds(t *testing.T) {
	keep(t, func(c *Config) { c.PendingBytes, c.WaitingBytes = 2000, 4000 }, func(t *testing.T, w *world, k *Keeper) {
		w.join("group:a", "ann", "ben")
		for range 40 {
			w.publish("group:a", "ben")
		}
		later()
		time.Sleep(2 * testWindow)
		told := 0
		for _, s := range w.taken() {
			n, _ := s.Messages()
			told += n
		}
		if told != 40 {
			t.Errorf("told of %d messages, want 40", told)
		}
		for i := range 60 {
			w.join("group:b", fmt.Sprint("user", i))
			if i < 10 {
				w.join("group:b"+fmt.Sprint(i), "ben", fmt.Sprint("user", i), fmt.Sprint("more", i), fmt.Sprint("other", i), fmt.Sprint("third", i))
				w.publish("group:b"+fmt.Sprint(i), "ben")
			}
		}
		later()
		st := k.Stats()
		if st.Dropped == 0 || len(w.taken())+int(st.Dropped) != 40 {
			t.Errorf("told and dropped are not all: %+v", st)
		}
	})
}

// TestNobodyToTell: users without a device take no room from those who have one.
func TestNobodyToTell(t *testing.T) {
	keep(t, func(c *Config) { c.RoomMembers, c.WaitingBytes = 200, 100*conversationBytes }, func(t *testing.T, w *world, k *Keeper) {
		w.without = "stranger"
		for room := range 3 * roomsTogether {
			name := fmt.Sprint("group:", room)
			w.join(name, "ben", fmt.Sprint("stranger", room))
			if room%64 == 63 {
				w.join(name, fmt.Sprint("user", room))
			}
			w.publish(name, "ben")
		}
		later()
		if all := w.taken(); len(all) != 3 || k.Stats().Dropped != 0 || k.Stats().Bytes != 0 {
			t.Errorf("%d were told, want 3: %+v", len(all), k.Stats())
		}
	})
}

// conversationBytes is what one of these tests takes, about.
const conversationBytes = 150

// TestRestart: what is gathered, queued and not due yet is there after the end of the process, and told once.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.join("group:a", "ann", "ben")
		w.publish("group:a", "ben") // before push was there
		k := w.start(t, dir, nil)
		again := func() {
			shut(t, k)
			time.Sleep(time.Second)
			k = w.start(t, dir, nil)
		}
		later()
		if all := w.taken(); len(all) != 0 {
			t.Fatalf("told of what was there before: %+v", all)
		}
		w.publish("group:a", "ben")
		time.Sleep(10 * time.Second)
		again()
		later()
		if all := w.taken(); len(all) != 1 {
			t.Fatalf("not due at the restart: %+v", all)
		}
		w.publish("group:a", "ben")
		later()
		again()
		time.Sleep(testWindow)
		if all := w.taken(); len(all) != 1 || all[0].Rooms[0].First != 3 {
			t.Fatalf("gathered at the restart: %+v", all)
		}
		time.Sleep(2 * testWindow)
		w.locked(func() { w.outcome = func(*Summary) Outcome { return Outcome{Verdict: Retry, Err: errRefused} } })
		w.publish("group:a", "ben")
		later()
		again()
		w.locked(func() { w.outcome = nil })
		time.Sleep(time.Hour)
		if all := w.taken(); len(all) != 1 || all[0].Attempt < 2 {
			t.Fatalf("queued at the restart: %+v", all)
		}
		shut(t, k)

		// Another history of the log: begun at its end, with nothing of the old one.
		w.publish("group:a", "ben")
		k = w.start(t, dir, func(c *Config) { c.History = "1-2" })
		later()
		if all := w.taken(); len(all) != 0 {
			t.Errorf("told of another history: %+v", all)
		}
		shut(t, k)
	})
}

// TestOld: what was sent more than a day ago tells nobody, as after an import, and a clock that is ahead holds nothing up.
func TestOld(t *testing.T) {
	keep(t, nil, func(t *testing.T, w *world, _ *Keeper) {
		w.join("group:a", "ann", "ben")
		w.join("group:b", "cleo", "ben")
		w.locked(func() {
			now := time.Now().UnixMilli()
			w.messages = append(w.messages,
				Message{0, "group:a", 1, now - (25 * time.Hour).Milliseconds(), "ben", nil},
				Message{10, "group:b", 1, now + time.Hour.Milliseconds(), "ben", nil})
		})
		later()
		if all := w.taken(); len(all) != 1 || all[0].User != "cleo" {
			t.Errorf("told %+v", all)
		}
	})
}

// TestTrouble: what can't be read is decided later, and nobody is told twice or not at all.
func TestTrouble(t *testing.T) {
	keep(t, nil, func(t *testing.T, w *world, _ *Keeper) {
		w.join("group:a", "ann", "ben", "cleo")
		w.publish("group:a", "ben")
		w.locked(func() { w.broken = errRefused })
		later()
		if all := w.taken(); len(all) != 0 {
			t.Fatalf("told %+v", all)
		}
		w.locked(func() { w.broken = nil })
		later()
		all := w.taken()
		if len(all) != 2 || all[0].Rooms[0].Messages != 1 || all[1].Rooms[0].Messages != 1 {
			t.Errorf("told %+v", all)
		}
	})
}

// TestFile: one that is damaged or of a newer program is refused, with what to do.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "push.db")
	if err := os.WriteFile(path, []byte("no tree at all, but long enough for a look at its first page"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld()
	_, err := Start(Config{Log: w, Directory: w, Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "move it away") || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged file: %v", err)
	}
}

// TestDamage: a file with pages that are lost is an error at the start, and never the end of the process.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "push.db")
	w := newWorld()
	cfg := Config{Log: w, Directory: w, Dir: dir, Logger: slog.New(slog.DiscardHandler)}
	k, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page, refused := os.Getpagesize(), 0
	for at := 0; at < len(whole); at += page {
		for name, damaged := range map[string][]byte{
			"ones":  slices.Concat(whole[:at], bytes.Repeat([]byte{0xff}, page), whole[at+page:]),
			"short": whole[:at],
		} {
			cfg.Dir = t.TempDir()
			if err := os.WriteFile(filepath.Join(cfg.Dir, "push.db"), damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			k, err := Start(cfg)
			if err == nil {
				_ = k.Close() // it may find the damage
				continue
			}
			if refused++; !strings.Contains(err.Error(), cfg.Dir) {
				t.Errorf("%s at %d: the error does not name the file: %v", name, at, err)
			}
		}
	}
	if refused == 0 {
		t.Error("nothing was found to be damaged")
	}
}
