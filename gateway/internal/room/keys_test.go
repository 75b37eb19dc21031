package room

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

func frameSeq(t *testing.T, frame []byte) uint64 {
	t.Helper()
	var f v1.ServerFrame
	if err := proto.DecodeServerFrame(&f, proto.Binary, frame); err != nil {
		t.Fatal(err)
	}
	return f.GetMessage().GetSeq()
}

func TestRetryKeysAreForgottenAfterTheWindow(t *testing.T) {
	k := newRetryKeys(time.Second, 100)
	k.remember("r", "u", "old", outcome{1, 0}, 1000*time.Millisecond)
	k.remember("r", "u", "edge", outcome{2, 0}, 1001*time.Millisecond)
	k.remember("r", "u", "new", outcome{3, 0}, 2001*time.Millisecond)
	for key, want := range map[string]bool{"old": false, "edge": true, "new": true} {
		if _, ok := k.find(k.hash("r", "u", key)); ok != want {
			t.Errorf("%s: remembered %v, want %v", key, ok, want)
		}
	}
	if k.held.Load() != 2 || k.evicted.Load() != 0 {
		t.Errorf("held %d, evicted %d", k.held.Load(), k.evicted.Load())
	}
}

func TestRetryKeysAreBoundedInNumber(t *testing.T) {
	k := newRetryKeys(time.Hour, 100)
	for i := range 5000 {
		k.remember("r", "u", fmt.Sprint(i), outcome{uint64(i), 1}, 0)
	}
	if k.held.Load() != 100 || k.evicted.Load() != 4900 || len(k.tables[0].ring) > 100 {
		t.Errorf("held %d, evicted %d, ring of %d", k.held.Load(), k.evicted.Load(), len(k.tables[0].ring))
	}
	for i := range 5000 {
		if _, ok := k.find(k.hash("r", "u", fmt.Sprint(i))); ok != (i >= 4900) {
			t.Fatalf("key %d: remembered %v", i, ok)
		}
	}
}

func TestRetryKeysKeepRoomUserAndKeyApart(t *testing.T) {
	k := newRetryKeys(time.Hour, 100)
	seen := map[keyHash]string{}
	for _, s := range [][3]string{{"a", "b", "c"}, {"ab", "", "c"}, {"a", "bc", ""}, {"a", "b", "c\x00"}, {"a", "c", "b"}} {
		h := k.hash(s[0], s[1], s[2])
		if other, ok := seen[h]; ok {
			t.Errorf("%q and %q are one key", s, other)
		}
		seen[h] = fmt.Sprint(s)
	}
}

// TestRetryKeysAndTheWallClock: what a message is dated says nothing of how long its key has been remembered.
func TestRetryKeysAndTheWallClock(t *testing.T) {
	day := (24 * time.Hour).Milliseconds()
	k := newRetryKeys(time.Minute, 100)
	k.remember("r", "u", "before", outcome{1, day}, time.Second)
	k.remember("r", "u", "the clock is ahead", outcome{2, 2 * day}, 2*time.Second)
	k.remember("r", "u", "and back", outcome{3, day}, 3*time.Second)
	for seq, key := range []string{"before", "the clock is ahead", "and back"} {
		if o, ok := k.find(k.hash("r", "u", key)); !ok || o.seq != uint64(seq+1) {
			t.Errorf("%s: remembered %v, %v", key, ok, o)
		}
	}
	k.remember("r", "u", "a minute later", outcome{4, day}, 62*time.Second+time.Millisecond)
	if held := k.held.Load(); held != 2 {
		t.Errorf("%d keys are held a minute later, want 2", held)
	}
}

// TestRetryKeysAgainstAMap does random publishes, some with a key again, in time that goes on at random, and compares with a plain map.
func TestRetryKeysAgainstAMap(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, most := range []int{1, 7, 16, 100, 3 * tableKeys} {
		k := newRetryKeys(time.Second, most)
		type known struct {
			outcome
			when time.Duration
		}
		oracle := map[keyHash]known{}
		var order []keyHash
		hash := func(n int) keyHash { // many have one place in the index
			return keyHash{uint64(n%500) << 54, uint64(n)}
		}
		now, space := time.Duration(0), 2*most+50
		for i := range 20_000 {
			if rng.IntN(500) == 0 {
				now += time.Duration(rng.Int64N(int64(2 * time.Second)))
			}
			now += time.Duration(rng.Int64N(int64(time.Second) / int64(most)))
			h := hash(rng.IntN(space))
			o := outcome{uint64(i), rng.Int64()}
			k.add(h, o, now)
			oracle[h] = known{o, now}
			if order = append(order, h); len(k.tables) == 1 {
				h := order[len(order)-1-rng.IntN(min(len(order), most))]
				if got, ok := k.find(h); oracle[h].when >= now-k.window && (!ok || got != oracle[h].outcome) {
					t.Fatalf("publish %d: of the newest %d one is known %v, %v, want %v", i, most, ok, got, oracle[h])
				}
			}
			for n := range 20 {
				h := hash(rng.IntN(space))
				if n == 0 {
					h = hash(space) // never there
				}
				got, ok := k.find(h)
				want, there := oracle[h]
				// What is older than the window may be known still, as long as its table has no new key.
				due := there && want.when >= now-k.window
				if ok && got != want.outcome || !ok && due && k.evicted.Load() == 0 {
					t.Fatalf("publish %d of %d at most: known %v, %v, want %v", i, most, ok, got, want)
				}
			}
			if held := k.held.Load(); held < 1 || held > int64(len(k.tables)*k.tables[0].max) {
				t.Fatalf("publish %d: %d keys are held, want %d at most", i, held, most)
			}
		}
		held := 0
		for h := range oracle {
			if _, ok := k.find(h); ok {
				held++
			}
		}
		if held != int(k.held.Load()) {
			t.Errorf("of %d at most %d are found, %d are counted", most, held, k.held.Load())
		}
	}
}
