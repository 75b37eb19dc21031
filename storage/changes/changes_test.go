package changes

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"rookery/storage"
	"rookery/storage/commitlog"
	"rookery/storage/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// readFacts reads the bodies of these tests: words, "react 3 +", "unreact 3 +", "edit 3", "delete 3", "pin 3", "unpin 3",
// "thread 3", "mention bob", each of which may be there once. Anything else says nothing.
func readFacts(body []byte) (f Facts, says bool) {
	words := strings.Fields(string(body))
	for len(words) >= 2 {
		seq, _ := strconv.ParseUint(words[1], 10, 64)
		switch words[0] {
		case "react", "unreact":
			f.Target, f.Op, f.Reaction, f.Remove = seq, OpReact, words[2], words[0] == "unreact"
			words = words[1:]
		case "edit":
			f.Target, f.Op = seq, OpEdit
		case "delete":
			f.Target, f.Op = seq, OpDelete
		case "pin", "unpin":
			f.Target, f.Op, f.Remove = seq, OpPin, words[0] == "unpin"
		case "future":
			f.Target = seq
		case "thread":
			f.Thread = seq
		case "mention":
			f.Mentions = append(f.Mentions, words[1])
		default:
			return f, false
		}
		words, says = words[2:], true
	}
	return f, says
}

// bench is a log with its index.
type bench struct {
	t     *testing.T
	dir   string
	log   *commitlog.Log
	index *Index
	say   func(room, user, body string)
	lines strings.Builder
}

func start(t *testing.T, dir string) *bench {
	t.Helper()
	b := &bench{t: t, dir: dir}
	var err error
	if b.log, err = commitlog.Open(commitlog.Config{
		Dir: dir, FS: vfs.Disk(), SegmentBytes: 16 << 10, Sync: commitlog.SyncNever, Logger: slog.New(slog.DiscardHandler),
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.log.Close() })
	done := make(chan error, 1)
	producer := b.log.NewProducer(func(_ int, err error) { done <- err })
	b.say = func(room, user, body string) {
		t.Helper()
		err := producer.Append(storage.Record{Room: room, Seq: b.log.Head(room) + 1, At: 1, From: user, Body: []byte(body)})
		if err == nil {
			err = <-done
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (b *bench) open() *bench {
	b.t.Helper()
	index, err := Open(b.config())
	if err != nil {
		b.t.Fatal(err)
	}
	b.index = index
	return b
}

func (b *bench) config() Config {
	return Config{Log: b.log, Dir: filepath.Join(b.dir, "changes"), Read: readFacts, Logger: slog.New(slog.NewTextHandler(&b.lines, nil))}
}

func (b *bench) close() {
	b.t.Helper()
	if err := b.index.Close(); err != nil {
		b.t.Fatal(err)
	}
	if err := b.log.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// kill ends the index as the death of the process does: nothing is said in the files.
func (b *bench) kill() {
	b.t.Helper()
	close(b.index.stop)
	<-b.index.ended
	if err := b.index.tree.Close(); err != nil {
		b.t.Fatal(err)
	}
	if err := b.log.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// state gives what was done to a message, as words.
func (b *bench) state(room string, seq uint64) string {
	b.t.Helper()
	if err := b.index.Wait(); err != nil {
		b.t.Fatal(err)
	}
	var text string
	err := b.index.View(room, func(v *View) error {
		s, ok := v.State(seq)
		if !ok {
			text = "untouched"
			return nil
		}
		text = fmt.Sprintf("r%d e%d@%d d%d p%d t%d@%d", s.Revision, s.Edits, s.Edit, s.Deleted, s.Pinned, s.Replies, s.LastReply)
		for _, r := range s.Reactions {
			text += fmt.Sprintf(" %s%d%v", r.Reaction, r.Users, v.Users(seq, r.Reaction, 2))
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}

func (b *bench) want(room string, seq uint64, want string) {
	b.t.Helper()
	if got := b.state(room, seq); got != want {
		b.t.Errorf("message %d of %s is %q, want %q", seq, room, got, want)
	}
}

func TestStates(t *testing.T) {
	b := start(t, t.TempDir()).open()
	defer b.close()
	for _, words := range []string{
		"hello", "hello mention", "mention bob thread 1", // 3
		"edit 1 mention carol", "react 1 +", "react 1 +", // 6: the same user again
		"edit 1", "pin 1", "react 2 x", "unreact 2 x", "unreact 2 x", // 11
		"delete 3", "react 3 +", "edit 3", "thread 1", "future 1", "edit 99",
	} {
		b.say("r", "alice", words)
	}
	b.say("r", "bob", "react 1 +")
	b.say("r", "carol", "react 1 +")
	b.say("other", "alice", "hello")
	b.say("\x01catalog", "rookery", "edit 1")
	b.want("r", 1, "r19 e2@7 d0 p8 t2@15 +3[alice bob]")
	b.want("r", 2, "r11 e0@0 d0 p0 t0@0")
	b.want("r", 3, "r12 e0@0 d12 p0 t0@0")
	b.want("r", 99, "untouched") // a change of what comes later
	b.want("other", 1, "untouched")
	b.want("\x01catalog", 1, "untouched")

	err := b.index.View("r", func(v *View) error {
		for _, c := range []struct {
			name string
			got  []uint64
			want []uint64
		}{
			{"thread", v.Thread(1, Range{Most: 9}), []uint64{3, 15}},
			{"thread, descending", v.Thread(1, Range{Most: 9, Descending: true}), []uint64{15, 3}},
			{"thread, before", v.Thread(1, Range{Position: 15, Most: 9, Descending: true}), []uint64{3}},
			{"thread, after", v.Thread(1, Range{Position: 3, Most: 9}), []uint64{15}},
			{"thread, one", v.Thread(1, Range{Most: 1}), []uint64{3}},
			{"no thread", v.Thread(2, Range{Most: 9, Descending: true}), nil},
			{"pins", v.Pins(Range{Most: 9}), []uint64{1}},
			{"mentions of bob", v.Mentions("bob", Range{Most: 9}), []uint64{3}},
			{"mentions of carol, by an edit", v.Mentions("carol", Range{Most: 9, Descending: true}), []uint64{1}},
			{"mentions of nobody", v.Mentions("nobody", Range{Most: 9, Descending: true}), nil},
		} {
			if !slices.Equal(c.got, c.want) {
				t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestWhatALifeLeaves: however the one before ended, the next one has it all, and makes the index again only where it can't be
// believed.
func TestWhatALifeLeaves(t *testing.T) {
	flip := func(at int64) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, "changes.db")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[at] ^= 1
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	mark := func(text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "changes.mark"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		kill    bool
		between func(t *testing.T, dir string)
		again   string // why, "" is not
	}{
		"a clean end":           {},
		"killed":                {kill: true},
		"the machine went down": {kill: true, between: mark("in use another\n"), again: "the machine went down"},
		"no mark":               {between: remove("changes.mark"), again: "no mark"},
		"nonsense for a mark":   {between: mark("?"), again: "checksum"},
		"no tree":               {between: remove("changes.db")},
		"a tree that can't be read": {between: func(t *testing.T, dir string) {
			remove("changes.db")(t, dir)
			if err := os.Mkdir(filepath.Join(dir, "changes.db"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, again: "is a directory"},
		"a flipped bit in a page":  {between: flip(9000), again: "checksum"},
		"killed, no tree any more": {kill: true, between: remove("changes.db")},
		"killed, all pages broken": {kill: true, between: func(t *testing.T, dir string) {
			for page := int64(2); page < 5; page++ {
				flip(page*4096+8)(t, dir) // what kind of page it is
			}
		}, again: "damaged"},
		"killed, both metas broken": {kill: true, between: func(t *testing.T, dir string) { flip(20)(t, dir); flip(4096+20)(t, dir) }, again: "mismatch"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := start(t, dir).open()
			b.say("r", "alice", "hello")
			b.say("r", "alice", "react 1 +")
			b.want("r", 1, "r2 e0@0 d0 p0 t0@0 +1[alice]")
			if c.kill {
				b.say("r", "alice", "edit 1") // committed, and perhaps not in the index
				b.kill()
			} else {
				b.close()
			}
			if c.between != nil {
				c.between(t, filepath.Join(dir, "changes"))
			}
			b = start(t, dir)
			b.say("r", "alice", "react 1 x") // before the index is opened: it is behind
			b.open()
			defer b.close()
			want := "r3 e0@0 d0 p0 t0@0 +1[alice] x1[alice]"
			if c.kill {
				want = "r4 e1@3 d0 p0 t0@0 +1[alice] x1[alice]"
			}
			b.want("r", 1, want)
			if again := b.index.Stats().Rebuilt == 1; again != (c.again != "") || !strings.Contains(b.lines.String(), c.again) {
				t.Errorf("made again: %v, want %q; said\n%s", again, c.again, b.lines.String())
			}
		})
	}
}

// TestMarkOfTheSameLife: an index that was killed and is opened in the same run of the kernel has its mark already. It is left alone, since
// there may be no room for another on the disk that the server was killed on.
func TestMarkOfTheSameLife(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir).open()
	b.say("r", "alice", "hello")
	b.kill()
	before, err := os.Stat(filepath.Join(dir, "changes", "changes.mark"))
	if err != nil {
		t.Fatal(err)
	}
	b = start(t, dir).open()
	defer b.close()
	after, err := os.Stat(filepath.Join(dir, "changes", "changes.mark"))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("the mark was written again")
	}
}

// TestMarkOnAFullDisk: where there is no room for another mark the old one is written over, and the index is not made again, now or
// after the next death.
func TestMarkOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir).open()
	b.say("r", "alice", "hello")
	b.close()
	next := filepath.Join(dir, "changes", "changes.mark.tmp")
	if err := os.Symlink("/dev/full", next); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b = start(t, dir).open()
		if n := b.index.Stats().Rebuilt; n != 0 || b.lines.Len() > 0 {
			t.Errorf("made again %d times; said\n%s", n, b.lines.String())
		}
		b.kill()
	}
}

// TestOfAnotherLog: an index that was copied to another log, or is ahead of its own, is not believed.
func TestOfAnotherLog(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	b := start(t, one).open()
	b.say("r", "alice", "hello")
	b.say("r", "alice", "delete 1")
	b.want("r", 1, "r2 e0@0 d2 p0 t0@0")
	b.close()
	if err := os.CopyFS(filepath.Join(two, "changes"), os.DirFS(filepath.Join(one, "changes"))); err != nil {
		t.Fatal(err)
	}
	b = start(t, two)
	b.say("r", "alice", "hello")
	b.open()
	defer b.close()
	b.want("r", 1, "untouched")
	if !strings.Contains(b.lines.String(), "of another log") {
		t.Errorf("said %s", b.lines.String())
	}
}

// TestDamageWhileItRuns: a value that is wrong is not given; the index is made again, and then it is right.
func TestDamageWhileItRuns(t *testing.T) {
	b := start(t, t.TempDir()).open()
	defer b.close()
	b.say("r", "alice", "hello")
	b.say("r", "alice", "delete 1")
	b.want("r", 1, "r2 e0@0 d2 p0 t0@0")
	// Behind the back of followLoop, which has nothing to do.
	if err := b.index.tree.Update(func(tx *bolt.Tx) error {
		key := withSeq(nameKey("r"), 1)
		value := slices.Clone(tx.Bucket(bucketStates).Get(key))
		value[len(value)-1] ^= 1
		return tx.Bucket(bucketStates).Put(key, value)
	}); err != nil {
		t.Fatal(err)
	}
	err := b.index.View("r", func(v *View) error {
		if _, ok := v.State(1); ok {
			t.Error("a damaged state was given")
		}
		return nil
	})
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("the damage is told as %v", err)
	}
	b.want("r", 1, "r2 e0@0 d2 p0 t0@0")
	if n := b.index.Stats().Rebuilt; n != 1 {
		t.Errorf("it was made again %d times", n)
	}
	// And what comes next is applied to the new one.
	b.say("r", "alice", "hello")
	b.say("r", "alice", "edit 3")
	b.want("r", 3, "r4 e1@4 d0 p0 t0@0")
}

// TestRetentionSweeps: what retention took leaves the index, and what is left does not change.
func TestRetentionSweeps(t *testing.T) {
	b := start(t, t.TempDir()).open()
	defer b.close()
	for range 50 {
		for _, room := range []string{"a", "b", "c"} {
			b.say(room, "alice", "mention bob thread 1")
			b.say(room, "alice", fmt.Sprint("react ", b.log.Head(room), " +"))
			b.say(room, "alice", fmt.Sprint("pin ", b.log.Head(room)-1))
		}
	}
	before := b.state("a", 148)
	for _, room := range []string{"a", "b", "c"} {
		if err := b.log.Trim(room, 140); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 { // each looks at two rooms
		b.say("d", "alice", "mention bob")
		b.want("d", 99, "untouched")
	}
	b.want("a", 148, before)
	b.want("a", 1, "untouched")
	if err := b.index.View("b", func(v *View) error {
		for name, bucket := range map[string][]byte{
			"states": bucketStates, "reacted": bucketReacted, "pins": bucketPins, "mentioned": bucketMentioned,
		} {
			c := v.tx.Bucket(bucket).Cursor()
			for key, _ := c.Seek(v.room); key != nil && strings.HasPrefix(string(key), string(v.room)); key, _ = c.Next() {
				if seq := lastSeq(key[:nameBytes+8]); seq < 140 {
					t.Errorf("%s still has message %d", name, seq)
				}
			}
		}
		if got := v.Mentions("bob", Range{Most: 999}); len(got) != 3 || got[0] < 140 {
			t.Errorf("mentions are %v", got)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// TestReadersWaitForWhatIsCommitted: many read and one writes; nobody misses what was committed before the question.
func TestReadersWaitForWhatIsCommitted(t *testing.T) {
	b := start(t, t.TempDir()).open()
	defer b.close()
	b.say("r", "alice", "hello")
	var running sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		running.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				head := b.log.Head("r")
				if err := b.index.Wait(); err != nil {
					t.Error(err)
					return
				}
				if err := b.index.View("r", func(v *View) error {
					if s, _ := v.State(1); s.Revision < head && head > 1 {
						t.Errorf("revision %d after %d was committed", s.Revision, head)
					}
					return nil
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 500 {
		b.say("r", "alice", "edit 1")
	}
	close(stop)
	running.Wait()
}

func TestStateEncoding(t *testing.T) {
	key := []byte("key")
	s := State{1, 2, 3, 4, 5, 6, 1 << 40, []Count{{"+1", 9}, {"", 1}}}
	b := s.encode(key)
	got, err := decodeState(key, b)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(s) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := decodeState([]byte("kez"), b); !errors.Is(err, errState) {
		t.Errorf("under another key: %v", err)
	}
	for i := range b {
		if _, err := decodeState(key, b[:i]); err == nil {
			t.Errorf("cut to %d bytes it is taken", i)
		}
		wrong := slices.Clone(b)
		wrong[i] ^= 4
		if _, err := decodeState(key, wrong); err == nil {
			t.Errorf("with byte %d flipped it is taken", i)
		}
	}
}

// TestChangesAreCounted: of any part of a room, how many numbers are changes; also when retention has taken the first ones, and when
// the index is made again from what is left.
func TestChangesAreCounted(t *testing.T) {
	b := start(t, t.TempDir()).open()
	bodies := []string{"a", "react 1 +", "b", "edit 3", "future 1", "react 1 +", "c", "delete 1"}
	for _, room := range []string{"other", "room", "zoo"} {
		for _, body := range bodies {
			b.say(room, "alice", body)
		}
	}
	b.say("quiet", "alice", "a")
	check := func(when string, from uint64) {
		t.Helper()
		if err := b.index.Wait(); err != nil {
			t.Fatal(err)
		}
		err := b.index.View("room", func(v *View) error {
			for after := from; after <= 9; after++ {
				for last := from; last <= 9; last++ {
					want := uint64(0)
					for seq := after + 1; seq <= min(last, 8); seq++ {
						if strings.Contains(bodies[seq-1], " ") {
							want++
						}
					}
					if got := v.Changes(after, last); got != want {
						t.Errorf("%s: %d changes behind %d up to %d, want %d", when, got, after, last, want)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.index.View("quiet", func(v *View) error {
			if n := v.Changes(0, 1); n != 0 {
				t.Errorf("%s: %d changes in a room without one", when, n)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	check("at first", 0)
	if err := b.log.Trim("room", 4); err != nil {
		t.Fatal(err)
	}
	for range 4 { // a commit of the index looks at two rooms
		b.say("zoo", "alice", "mention bob")
		if err := b.index.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	check("after retention", 3)
	b.kill()
	if err := os.Remove(filepath.Join(b.dir, "changes", "changes.db")); err != nil {
		t.Fatal(err)
	}
	b = start(t, b.dir).open()
	check("made again", 3)
	b.close()
}
