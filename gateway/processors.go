package gateway

import (
	"os"
	"runtime"
)

// spareProcessors is how many more processors Go's scheduler has than it would take, see ManageProcessors. A second one makes the tail a little
// shorter yet, and a delivery of a busy server a fifth dearer: threads look for work that the loops would have come to themselves.
const spareProcessors = 1

// ManageProcessors gives Go's scheduler a processor more than it would take. It is of the whole process, as ManageMemory is, and is called
// once, before the server is made. GOMAXPROCS, where set, holds instead. Where a cgroup's quota gives less than the machine has there is
// none to spare: it would only use the quota up earlier.
//
// An event loop that waits for its sockets keeps its processor until the runtime's monitor takes it. With a loop for each none is left over
// then, so nobody is woken for what a loop has just handed to a shard: that runs when the loop yields before it waits. But each 61st time
// the scheduler gives the processor back to who has yielded instead. The loop then waited with a message behind it, which the monitor, who
// sleeps for ten milliseconds where little happens, or the next message freed: one message in thirty came five milliseconds late on two
// processors that were idle. See docs/adr/0032-a-processor-to-spare.md, and in Go's runtime/proc.go findRunnable and retake.
func ManageProcessors() {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) == runtime.NumCPU() {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + spareProcessors)
	}
}

// realProcessors is how many of Go's processors can run at a time.
func realProcessors() int { return min(runtime.NumCPU(), runtime.GOMAXPROCS(0)) }
