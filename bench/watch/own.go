package watch

import (
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"rookery/bench/result"
)

// LoopClock measures how much of the time an event loop runs, or a queue is not empty. The loop says when it wakes and when it goes to
// sleep; another goroutine reads, also while the loop is in the middle of something long. A loop
// that is awake but waits for a processor counts as running: it has work that is not done.
type LoopClock struct {
	begun time.Time // before the loop's first time, and never changed
	// state is, asleep, how long the loop ran in all, and awake, that less the time at which it woke, in nanoseconds from
	// begun. The second is always negative, so one word says both and no reader sees half of a change.
	state atomic.Int64
}

// NewLoopClock is asleep.
func NewLoopClock(now time.Time) *LoopClock {
	return &LoopClock{begun: now.Add(-time.Nanosecond)} // so that even a loop that never slept is below zero
}

// Wake says that the loop has something to do. Only the loop may call it, or whoever holds the lock of the queue, and not twice in a row.
func (c *LoopClock) Wake(now time.Time) { c.state.Add(-int64(now.Sub(c.begun))) }

// Sleep says that the loop is about to wait. Only the loop may call it, after Wake.
func (c *LoopClock) Sleep(now time.Time) { c.state.Add(int64(now.Sub(c.begun))) }

// Ran is how long the loop ran until now, in all. Everyone may call it.
func (c *LoopClock) Ran(now time.Time) time.Duration {
	state := c.state.Load()
	if state < 0 {
		state += int64(now.Sub(c.begun))
	}
	return time.Duration(state)
}

// Own is a worker's look at its own process. One goroutine may use it.
type Own struct {
	root        fs.FS
	loop, queue *LoopClock

	// What the next second grows from.
	at             time.Time
	cpu            time.Duration
	ran, queuedFor time.Duration
	waited         map[string]time.Duration
}

// NewOwn begins with now. The clocks are that of this process's loop and that of its handshakes that wait; nil: it has none.
func NewOwn(now time.Time, loop, queue *LoopClock) *Own {
	return newOwn(os.DirFS("/"), now, loop, queue)
}

func newOwn(root fs.FS, now time.Time, loop, queue *LoopClock) *Own {
	o := &Own{root: root, loop: loop, queue: queue}
	o.Second(now)
	return o
}

// Second gives what this process used since the one before. It reads one small file for each thread.
func (o *Own) Second(now time.Time) result.Client {
	took := now.Sub(o.at)
	o.at = now
	cpu := cpuOfThisProcess()
	c := result.Client{
		CPUSeconds:      (cpu - o.cpu).Seconds(),
		RunDelaySeconds: o.waitedSince().Seconds(),
		MemoryBytes:     residentBytes(o.root),
	}
	o.cpu = cpu
	c.BusiestLoop, o.ran = o.loop.share(o.ran, now, took)
	c.HandshakesWaited, o.queuedFor = o.queue.share(o.queuedFor, now, took)
	return c
}

// share is how much of the time that it took until now the loop ran, which had run for before until then.
func (c *LoopClock) share(before time.Duration, now time.Time, took time.Duration) (share float64, ran time.Duration) {
	if c == nil {
		return 0, 0
	}
	ran = c.Ran(now)
	if took <= 0 {
		return 0, ran
	}
	// The loop may have read the time a little after the caller did.
	return min(1, float64(ran-before)/float64(took)), ran
}

// cpuOfThisProcess is user and system time of all threads, ended ones too. The kernel has it in microseconds or
// better, where /proc has hundredths.
func cpuOfThisProcess() time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// residentBytes reads statm, which is off by some pages of each processor since the kernel counts in batches. The
// exact smaps_rollup walks every page of the process with its map locked, so the look would
// grow with what is looked at.
func residentBytes(root fs.FS) int64 {
	const resident = 1
	pages := parseNumbers(readText(root, "proc/self/statm"))
	if len(pages) <= resident {
		return 0
	}
	return pages[resident] * int64(os.Getpagesize())
}

// waitedSince adds up over all threads: /proc/self/schedstat is of the first thread only. What a thread waited that
// ended within the second is not seen.
func (o *Own) waitedSince() time.Duration {
	const tasks = "proc/self/task"
	entries, err := fs.ReadDir(o.root, tasks)
	if err != nil {
		return 0
	}
	var sum time.Duration
	waited := make(map[string]time.Duration, len(entries))
	for _, entry := range entries {
		_, w, err := parseSchedstat(readText(o.root, tasks+"/"+entry.Name()+"/schedstat"))
		if err != nil {
			continue // it ended between the two reads
		}
		waited[entry.Name()] = w
		// A number that was used again begins anew.
		if before := o.waited[entry.Name()]; w >= before {
			w -= before
		}
		sum += w
	}
	o.waited = waited
	return sum
}
