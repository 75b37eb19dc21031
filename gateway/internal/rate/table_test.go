package rate

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const second = int64(time.Second)

// rounding is what 2,000 times a nanosecond more or less may add up to, with some room.
const rounding = 20 * time.Microsecond

func ask(t *Table, name string, r Rate, amount float64) []Ask {
	return []Ask{{t.Text(User, Publish, name), r, amount}}
}

// TestABucket against the plain model of one: a number that grows with time up to the burst.
func TestABucket(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		table := NewTable()
		r := PerSecond(float64(1+random.IntN(100)), float64(1+random.IntN(50)))
		level, now := r.burst, int64(random.IntN(1000))
		for range 2000 {
			step := int64(random.IntN(int(second / 20)))
			now += step
			level = min(r.burst, level+float64(step)/1e9*r.perSecond)
			amount := float64(1 + random.IntN(3))
			needed := min(amount, r.burst)
			_, wait := table.Take(now, ask(table, "alice", r, amount))
			missing := time.Duration((needed - level) / r.perSecond * 1e9)
			if (wait > 0) != (missing > 0) && max(wait, missing) > rounding {
				t.Fatalf("seed %d: %v of %v there, %v asked for: wait %v", seed, level, r.burst, amount, wait)
			}
			if wait <= 0 {
				level -= needed
				continue
			}
			if d := wait - missing; d < -rounding || d > rounding {
				t.Fatalf("seed %d: told to wait %v, want %v", seed, wait, missing)
			}
			// What was told is exact: not a moment before, and then.
			if random.IntN(4) == 0 {
				if _, early := table.Take(now+int64(wait)-1000, ask(table, "alice", r, amount)); early <= 0 {
					t.Fatalf("seed %d: let in a microsecond early", seed)
				}
				level = min(r.burst, level+wait.Seconds()*r.perSecond) - needed
				now += int64(wait)
				if _, late := table.Take(now, ask(table, "alice", r, amount)); late > 0 {
					t.Fatalf("seed %d: after the wait, wait %v more", seed, late)
				}
			}
		}
	}
}

func TestAllOrNothing(t *testing.T) {
	table := NewTable()
	fast, slow, slower := PerSecond(100, 10), PerSecond(1, 1), PerSecond(0.1, 1)
	asks := []Ask{{table.Text(User, Publish, "a"), fast, 1}, {table.Text(Room, Publish, "r"), slow, 1}, {table.Text(Address, Publish, "x"), slower, 1}}
	if short, wait := table.Take(0, asks); short != -1 || wait != 0 {
		t.Fatalf("full buckets: %d, %v", short, wait)
	}
	for range 50 {
		if short, wait := table.Take(0, asks); short != 2 || wait != 10*time.Second {
			t.Fatalf("the slowest bucket says when: %d, %v", short, wait)
		}
	}
	n := 0
	for ; n < 100; n++ {
		if _, wait := table.Take(0, asks[:1]); wait > 0 {
			break
		}
	}
	if n != 9 {
		t.Errorf("what was refused took from the first bucket: %d are left of 9", n)
	}
}

func TestBucketsAreApart(t *testing.T) {
	table := NewTable()
	once := PerSecond(0.001, 1)
	keys := []Key{
		table.Text(User, Publish, "a"), table.Text(User, Publish, "b"), table.Text(User, Join, "a"),
		table.Text(Room, Publish, "a"), table.Text(Address, Publish, "a"), table.Bytes(Address, Publish, []byte("b")),
	}
	for i, k := range keys {
		if _, wait := table.Take(0, []Ask{{k, once, 1}}); wait > 0 {
			t.Errorf("bucket %d was used by another", i)
		}
		if _, wait := table.Take(0, []Ask{{k, once, 1}}); wait == 0 {
			t.Errorf("bucket %d has no bound", i)
		}
	}
}

// TestAFasterRateHoldsAtOnce: who was limited to one in hours does not wait for hours when the operator lifts it.
func TestAFasterRateHoldsAtOnce(t *testing.T) {
	table := NewTable()
	for range 7 {
		table.Take(0, ask(table, "a", PerSecond(0.0001, 7), 1))
	}
	if _, wait := table.Take(0, ask(table, "a", PerSecond(10, 5), 1)); wait != time.Second/10 {
		t.Errorf("wait %v, want a tenth of a second", wait)
	}
}

// TestManyNamesTakeNoMemory, and those who are limited stay so as long as there is room.
func TestManyNamesTakeNoMemory(t *testing.T) {
	table := NewTable()
	r := PerSecond(10, 5)
	for range 5 {
		table.Take(0, ask(table, "limited", r, 5))
	}
	names := make([][]Ask, 1<<10)
	for i := range names {
		names[i] = ask(table, fmt.Sprint(i), r, 1)
	}
	i := 0
	if n := testing.AllocsPerRun(5000, func() { table.Take(0, names[i%len(names)]); i++ }); n != 0 {
		t.Errorf("%v allocations for a name", n)
	}
	for i := range 200_000 {
		// Each comes once a minute, so its bucket is full when the next thousand are there.
		table.Take(int64(i)*second/2e5, ask(table, fmt.Sprint("attacker ", i), r, 1))
	}
	if n := table.Evicted(); n == 0 {
		t.Error("200,000 buckets in a second fit into a table of 65,536")
	}
	before := table.Evicted()
	for i := range 50_000 { // a tenth of the rate: now buckets are full before their place is needed
		table.Take(100*second+int64(i)*second/1e4, ask(table, fmt.Sprint("slow ", i), r, 1))
	}
	if n := table.Evicted() - before; n != 0 {
		t.Errorf("%d buckets were forgotten though there was room for full ones", n)
	}
}

func TestClaims(t *testing.T) {
	rules := Rules{Raise: 3}
	rules.Of[User][Publish] = PerSecond(20, 40)
	for _, c := range []struct {
		claim float32
		want  Rate
	}{
		{0, PerSecond(20, 40)}, {5, PerSecond(5, 10)}, {40, PerSecond(40, 80)}, {1000, PerSecond(60, 120)}, {0.1, PerSecond(0.1, 1)},
	} {
		got := rules.ForUser(Publish, &Claims{Publish: c.claim})
		if d := got.perSecond - c.want.perSecond; d < -1e-6 || d > 1e-6 || got.burst-c.want.burst > 1e-4 || c.want.burst-got.burst > 1e-4 {
			t.Errorf("a claim of %v gives %v, want %v", c.claim, got, c.want)
		}
	}
	if got := rules.ForUser(Join, &Claims{Join: 3}); got.None() {
		t.Error("a claim does not lower what has no limit")
	}
	if got := (&Rules{}).ForUser(Join, nil); !got.None() {
		t.Error("nothing is a limit")
	}
}

func TestConcurrentTakersShareABucket(t *testing.T) {
	table := NewTable()
	r := PerSecond(0.0001, 1000)
	var taken atomic.Int64
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			asks := ask(table, "a", r, 1)
			for range 1000 {
				if _, wait := table.Take(0, asks); wait <= 0 {
					taken.Add(1)
				}
			}
		})
	}
	running.Wait()
	if n := taken.Load(); n != 1000 {
		t.Errorf("%d were taken of 1000", n)
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		scope, operation string
		ok               bool
	}{
		{"user", "publish", true}, {"address", "open", true}, {"room", "join", true}, {"user", "bytes", true},
		{"user", "open", false}, {"room", "connect", false}, {"ip", "open", false}, {"user", "other", false}, {"user", "", false},
	} {
		if _, _, err := Parse(c.scope, c.operation); (err == nil) != c.ok {
			t.Errorf("%s %s: %v", c.scope, c.operation, err)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	table := NewTable()
	r := PerSecond(1e9, 1e9)
	asks := []Ask{{table.Text(User, Publish, "a"), r, 1}, {table.Text(User, Bytes, "a"), r, 100}, {table.Text(Room, Publish, "r"), r, 1}}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		table.Take(int64(i), asks)
	}
}
