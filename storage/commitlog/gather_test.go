package commitlog

import (
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestGather(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		what        string
		records     int
		took, since time.Duration
		want        time.Duration
	}{
		{"the first commit of a log", 1000, ms, math.MaxInt64, 0},
		{"as many as come one by one", 1, ms, ms, 0},
		{"few in the time of one commit", manyRecords - 1, ms, ms, 0},
		{"many in it", manyRecords, ms, ms, gatherTime - ms},
		{"no fewer for the wait itself", 4 * manyRecords, ms, 4 * ms, gatherTime - ms},
		{"few in it, and many only since they were waited for", 4*manyRecords - 1, ms, 4 * ms, 0},
		{"many behind a slow sync", 10_000, gatherTime, gatherTime, 0},
		{"many behind a slower one", 10_000, time.Second, time.Second, 0},
		{"a commit that took no time", 10_000, 0, ms, 0},
	} {
		if got := gather(c.records, c.took, c.since); got != c.want {
			t.Errorf("%s: it waits for %v, want %v", c.what, got, c.want)
		}
	}
}

// TestBusyLogCommitsSeldom: many records a millisecond share a sync with those of the next ones, and who is alone waits for nobody.
func TestBusyLogCommitsSeldom(t *testing.T) {
	const syncTime, load = 500 * time.Microsecond, 100 * time.Millisecond
	for _, c := range []struct {
		what          string
		every         time.Duration // a record comes
		least, most   uint64        // syncs
		longestCommit time.Duration
	}{
		{"busy", 10 * time.Microsecond, 20, 30, 2*gatherTime + syncTime},
		{"idle", time.Millisecond, 100, 100, syncTime},
	} {
		synctest.Test(t, func(t *testing.T) {
			gate := newGateFS()
			go func() {
				for {
					select {
					case <-gate.entered:
						time.Sleep(syncTime)
						gate.leave <- nil
					case <-gate.open:
						return
					}
				}
			}()
			l := mustOpen(t, testConfig(gate))
			t.Cleanup(func() { close(gate.open) }) // runs before the Close of mustOpen
			before := l.Stats().Syncs
			w := newWriter(l)
			records := int(load / c.every)
			appended := make(chan time.Time, records)
			go func() {
				defer close(appended)
				for range records {
					appended <- time.Now()
					if err := w.append(w.record("room", "")); err != nil {
						t.Error(err)
						return
					}
					time.Sleep(c.every)
				}
			}()
			n, longest := 0, time.Duration(0)
			for at := range appended {
				n++
				if _, err := w.wait(n); err != nil {
					t.Fatal(err)
				}
				longest = max(longest, time.Since(at))
			}
			if syncs := l.Stats().Syncs - before; syncs < c.least || syncs > c.most {
				t.Errorf("%s: %d syncs for %d records in %v, want %d to %d", c.what, syncs, records, load, c.least, c.most)
			}
			if longest > c.longestCommit {
				t.Errorf("%s: a commit took %v, want at most %v", c.what, longest, c.longestCommit)
			}
		})
	}
}
