package loop

import (
	"container/heap"
	"time"

	"rookery/proto"
)

// gathering are the rooms with a gather window that have something for their members, by the moment at which the window closes.
// The others are fanned out at once, but while the loop paces itself: see load.pace.
type gathering []window

type window struct {
	room   *localRoom
	closes time.Time
}

func (g gathering) Len() int           { return len(g) }
func (g gathering) Less(i, j int) bool { return g[i].closes.Before(g[j].closes) }
func (g gathering) Swap(i, j int)      { g[i], g[j] = g[j], g[i] }
func (g *gathering) Push(w any)        { *g = append(*g, w.(window)) }
func (g *gathering) Pop() any {
	last := len(*g) - 1
	w := (*g)[last]
	(*g)[last] = window{}
	*g = (*g)[:last]
	return w
}

// gather has a room wait for a time, from its first message on.
func (l *Loop) gather(r *localRoom, pause time.Duration) {
	w := window{r, time.Now().Add(pause)}
	heap.Push(&l.gathering, w)
	if l.gathering[0] == w {
		l.ringIn(time.Until(w.closes))
	}
}

// gatherLess is for messages of a room that pend did count and that do not gather any more.
func (l *Loop) gatherLess(r *localRoom, messages []*proto.Encoded) {
	if r.window == 0 {
		return
	}
	for _, m := range messages {
		l.load.gathering -= int64(m.Size())
	}
}

// gathered makes the rooms busy whose windows have closed.
func (l *Loop) gathered() {
	if len(l.gathering) == 0 {
		return
	}
	for now := time.Now(); len(l.gathering) > 0; {
		if first := l.gathering[0]; first.closes.After(now) && !l.frozen {
			l.ringIn(first.closes.Sub(now))
			return
		}
		l.busy.push(heap.Pop(&l.gathering).(window).room)
	}
}
