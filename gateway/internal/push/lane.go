package push

import (
	"container/heap"
	"context"
	"time"
)

// Sender brings summaries to users. Its methods are called from several goroutines, Devices from keepLoop.
type Sender interface {
	// Devices names where a user is to be told; a sender that needs no devices gives one without a name.
	Devices(user string) ([]string, error)
	// Send makes one attempt, and ends with ctx.
	Send(ctx context.Context, s *Summary) Outcome
}

// Outcome is what has come of an attempt.
type Outcome struct {
	Verdict Verdict
	After   time.Duration // Retry: not before
	Err     error         // of all but Sent
	// Alone: a Retry that says nothing about other summaries, which may be taken.
	Alone bool
}

// Verdict says what an attempt means for the summary.
type Verdict uint8

const (
	Sent  Verdict = iota // it was taken
	Retry                // it may be taken later
	Final                // it never will be
	Gone                 // there is no such device any more
)

const (
	// laneWidth is how many attempts of a lane are made at the same time. Each is a descriptor that no connection gets.
	laneWidth = 4
	// patience is how many failures in a row make a lane rest.
	patience    = 3
	longestRest = 5 * time.Minute
)

// lane is the way to one sender. It belongs to keepLoop, but for jobs.
type lane struct {
	Destination
	jobs chan job

	items    map[itemName]*item
	waiting  itemHeap
	flying   int
	inFlight map[string]int // by user
	failures int            // in a row
	rest     int64          // no attempt before, Unix milliseconds

	// What has been logged, so that it is not again.
	stuck   bool // summaries can't be prepared
	blind   bool // devices can't be read
	refused bool // summaries are not taken
	dying   bool // they became dead letters
}

type itemName struct{ user, device string }

type job struct {
	item    *item
	summary Summary
}

type landing struct {
	lane    *lane
	item    *item
	outcome Outcome
}

func newLane(d Destination) *lane {
	return &lane{
		Destination: d, jobs: make(chan job, laneWidth), items: make(map[itemName]*item), inFlight: make(map[string]int),
	}
}

// sendLoop is started by Start, laneWidth for each lane, and ends with ctx.
func (k *Keeper) sendLoop(ctx context.Context, l *lane) {
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-l.jobs:
			outcome := l.Sender.Send(ctx, &j.summary)
			select {
			case k.landed <- landing{l, j.item, outcome}:
			case <-ctx.Done():
				return
			}
		}
	}
}

// open reports whether an attempt may be made now.
func (l *lane) open(now int64) bool {
	if l.OneHost && l.failures >= patience {
		return l.flying == 0 && now >= l.rest
	}
	return l.flying < laneWidth
}

// settle is after an attempt.
func (l *lane) settle(user string, o Outcome, now int64) {
	l.flying--
	if l.inFlight[user]--; l.inFlight[user] == 0 {
		delete(l.inFlight, user)
	}
	switch {
	case o.Verdict != Retry:
		l.failures = 0
		return
	case o.Alone:
		return
	}
	l.failures++
	if beyond := l.failures - patience; beyond >= 0 {
		l.rest = now + min(longestRest, time.Second<<min(beyond, 10)).Milliseconds()
	}
}

func (k *Keeper) laneOf(kind string) *lane {
	for _, l := range k.lanes {
		if l.Kind == kind {
			return l
		}
	}
	return nil
}

// itemHeap has the item that is due first in front, for container/heap.
type itemHeap []*item

var _ heap.Interface = (*itemHeap)(nil)

func (h itemHeap) Len() int           { return len(h) }
func (h itemHeap) Less(i, j int) bool { return h[i].Next < h[j].Next }

func (h itemHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *itemHeap) Push(x any) {
	it := x.(*item)
	it.index = len(*h)
	*h = append(*h, it)
}

// Pop implements heap.Interface.
func (h *itemHeap) Pop() any {
	last := len(*h) - 1
	it := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	it.index = -1
	return it
}
