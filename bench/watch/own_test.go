package watch

import (
	"math"
	"os"
	"runtime"
	"strconv"
	"testing"
	"testing/fstest"
	"time"
)

// host is a file system with these files.
func host(files map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return root
}

func near(got, want float64) bool { return math.Abs(got-want) < 1e-9 }

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

func TestLoopClock(t *testing.T) {
	c := NewLoopClock(start)
	is := func(now, want float64) {
		t.Helper()
		if got := c.Ran(at(now)).Seconds(); !near(got, want) {
			t.Errorf("after %v s it ran %v s, want %v", now, got, want)
		}
	}
	is(0, 0)
	c.Wake(at(0)) // in the very moment of its making
	is(0.5, 0.5)
	c.Sleep(at(1))
	is(5, 1)
	c.Wake(at(6))
	is(6, 1)
	is(8, 3) // in the middle
	is(9, 4)
	c.Sleep(at(10))
	is(10, 5)
	is(20, 5)
}

func TestOwnSeconds(t *testing.T) {
	page := int64(os.Getpagesize())
	root := host(map[string]string{
		"proc/self/statm":             "1000 300 200 10 0 500 0\n",
		"proc/self/task/10/schedstat": "5 1000000000 3\n",
		"proc/self/task/11/schedstat": "5 2000000000 3\n",
	})
	queue, busy := NewLoopClock(start), NewLoopClock(start)
	o := newOwn(root, start, busy, queue)

	busy.Wake(at(0))
	queue.Wake(at(0))
	queue.Sleep(at(0.25))
	root["proc/self/task/10/schedstat"].Data = []byte("5 1500000000 4\n") // half a second more
	root["proc/self/task/11/schedstat"].Data = []byte("5 250000000 4\n")  // another thread with its number
	root["proc/self/task/12/schedstat"] = &fstest.MapFile{Data: []byte("5 100000000 1\n")}
	got := o.Second(at(1))
	if !near(got.BusiestLoop, 1) || !near(got.HandshakesWaited, 0.25) || !near(got.RunDelaySeconds, 0.85) || got.MemoryBytes != 300*page {
		t.Errorf("the first second was %+v", got)
	}

	busy.Sleep(at(1.5))
	delete(root, "proc/self/task/12/schedstat")
	got = o.Second(at(2))
	if !near(got.BusiestLoop, 0.5) || got.HandshakesWaited != 0 || got.RunDelaySeconds != 0 {
		t.Errorf("the second was %+v", got)
	}
	if got = o.Second(at(2)); got.BusiestLoop != 0 {
		t.Errorf("no time at all gave %+v", got)
	}
}

// TestOwnProcess reads the real one: memory and the processor time of what it did in between.
func TestOwnProcess(t *testing.T) {
	o := NewOwn(time.Now(), nil, nil)
	before := cpuOfThisProcess()
	for sum := 0; cpuOfThisProcess()-before < 20*time.Millisecond; sum++ {
		runtime.KeepAlive(strconv.Itoa(sum))
	}
	got := o.Second(time.Now())
	if got.CPUSeconds < 0.02 || got.MemoryBytes < 1<<20 || got.RunDelaySeconds < 0 {
		t.Errorf("this process: %+v", got)
	}
}
