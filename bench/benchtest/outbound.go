package benchtest

import (
	"bytes"
	"container/heap"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// maxWrite is about what goes into one write, and one WebSocket message.
const maxWrite = 64 << 10

// item is something on its way to a client. Its fields belong to the queue once it is pushed.
type item struct {
	kind    ws.OpCode // over WebSocket
	alone   bool      // in a message of its own; else frames of Rookery share one
	payload []byte

	delivery bool
	last     bool             // nothing is sent after it
	counts   [2]*atomic.Int64 // what it adds to when it is sent, nil for nothing

	due   time.Time
	order uint64
	index int // in the heap, -1 when it is not there any more
}

func (i *item) size() int { return len(i.payload) + 128 }

func (i *item) count(by int64) {
	for _, n := range i.counts {
		if n != nil {
			n.Add(by)
		}
	}
}

// outbound is what waits for one connection, by the time at which it is due; what is due at the same
// time goes in the order in which it came. Safe for concurrent use.
type outbound struct {
	// Set at construction.
	limit int           // of bytes
	wake  chan struct{} // a token: there is something new

	mu       sync.Mutex // guards all below; taken under Server.mu or alone
	items    itemHeap
	order    uint64
	bytes    int
	finished bool // nothing more is taken
	full     bool // it has grown over its limit
}

func newOutbound(limit int) *outbound { return &outbound{limit: limit, wake: make(chan struct{}, 1)} }

// push queues items to be sent after a delay.
func (o *outbound) push(delay time.Duration, items ...*item) {
	o.pushBefore(nil, nil, delay, items...)
}

// pushBefore is push, but what is held, queued earlier for later, comes right behind the items, and then
// counts as swapped. One that was sent meanwhile, or nil, stays as it is.
func (o *outbound) pushBefore(held *item, swapped *atomic.Int64, delay time.Duration, items ...*item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.finished {
		return
	}
	due := time.Now().Add(delay)
	for _, i := range items {
		o.order++
		i.due, i.order = due, o.order
		heap.Push(&o.items, i)
		o.bytes += i.size()
	}
	if held != nil && held.index >= 0 {
		o.order++
		held.due, held.order, held.counts[1] = due, o.order, swapped
		heap.Fix(&o.items, held.index)
	}
	if o.bytes > o.limit {
		o.finished, o.full = true, true
		o.items = nil
	}
	o.ring()
}

// finish has the writer send what is due now, and end.
func (o *outbound) finish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.finished = true
	o.ring()
}

func (o *outbound) ring() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take moves what is due into batch, with so many deliveries at most (negative: no limit). If there is
// nothing, wait is the time to the next item, 0 for none; ended says that none will come.
func (o *outbound) take(batch []*item, deliveries int) (_ []*item, wait time.Duration, ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	for size := 0; len(o.items) > 0 && size < maxWrite; {
		next := o.items[0]
		if next.due.After(now) || next.delivery && deliveries == 0 {
			break
		}
		heap.Pop(&o.items)
		o.bytes -= next.size()
		size += len(next.payload)
		batch = append(batch, next)
		if next.delivery {
			deliveries--
		}
		if next.last {
			break
		}
	}
	if len(batch) == 0 && len(o.items) > 0 {
		wait = o.items[0].due.Sub(now)
	}
	return batch, wait, o.finished && len(batch) == 0
}

// overflowed says whether too much waited.
func (o *outbound) overflowed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.full
}

// writeLoop sends what is due. It is started by serveLoop, which ends it with finish and waits for written.
func (c *conn) writeLoop(written chan<- struct{}) {
	defer close(written)
	deliveries := c.server.faults.CloseAfter
	limited := deliveries > 0
	if !limited {
		deliveries = -1
	}
	var batch []*item
	var wire []byte
	for {
		// Before taking, too: a batch that waits at the gate would no longer be in the queue, where it can be exchanged.
		if c.socket.gate.wait() != nil {
			return
		}
		var wait time.Duration
		var ended bool
		batch, wait, ended = c.out.take(batch[:0], deliveries)
		switch {
		case ended && c.out.overflowed():
			c.server.tally.overflowed.Add(1)
			c.socket.reset()
			return
		case ended:
			return
		case len(batch) == 0:
			c.out.sleep(wait)
			continue
		}
		wire = c.wire(wire[:0], batch)
		// Before the write: a test that has received a delivery finds it counted.
		for _, i := range batch {
			i.count(1)
			if i.delivery && limited {
				deliveries--
			}
		}
		if _, err := c.socket.Write(wire); err != nil {
			for _, i := range batch {
				i.count(-1)
			}
			c.socket.reset() // the reader may not have noticed
			return
		}
		if limited && deliveries == 0 {
			c.server.tally.closed.Add(1)
			c.socket.waitUntilTaken()
			c.socket.reset()
			return
		}
		if batch[len(batch)-1].last {
			return
		}
		clear(batch)
	}
}

// sleep waits for something new, but for wait at most if that is not 0.
func (o *outbound) sleep(wait time.Duration) {
	if wait == 0 {
		<-o.wake
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-o.wake:
	case <-timer.C:
	}
}

// wire is how a batch goes over the connection. As the real server does, frames that go together share a message.
func (c *conn) wire(dst []byte, batch []*item) []byte {
	if c.stream {
		for _, i := range batch {
			dst = append(dst, i.payload...)
		}
		return dst
	}
	for len(batch) > 0 {
		n := 1
		size := len(batch[0].payload)
		for ; !batch[0].alone && n < len(batch) && !batch[n].alone; n++ {
			size += len(batch[n].payload)
		}
		out := bytes.NewBuffer(dst)
		header := ws.Header{Fin: true, OpCode: batch[0].kind, Length: int64(size)}
		if err := ws.WriteHeader(out, header); err != nil {
			panic("BUG: a header that can't be written to memory: " + err.Error())
		}
		dst = out.Bytes()
		for _, i := range batch[:n] {
			dst = append(dst, i.payload...)
		}
		batch = batch[n:]
	}
	return dst
}

// item is the last word of the server to c.
func (e *closing) item(c *conn) *item {
	if c.stream {
		frame := &v1.ServerFrame{Op: &v1.ServerFrame_Close{Close: &v1.Close{Code: uint32(e.code.Code), Reason: e.reason}}}
		return &item{payload: proto.AppendServerFrame(nil, proto.Binary, frame), last: true}
	}
	body := ws.NewCloseFrameBody(ws.StatusCode(e.code.Code), e.reason)
	return &item{kind: ws.OpClose, alone: true, payload: body, last: true}
}

// waitUntilTaken returns when the peer's kernel has everything, a second later at the latest: a reset
// throws away what it has not.
func (s *gatedSocket) waitUntilTaken() {
	raw, err := s.SyscallConn()
	if err != nil {
		return // it is closed
	}
	for end := time.Now().Add(goodbye); time.Now().Before(end); time.Sleep(time.Millisecond) {
		left := 0
		err := raw.Control(func(fd uintptr) { left, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
		if err != nil || left == 0 {
			return
		}
	}
}

// itemHeap is for container/heap.
type itemHeap []*item

func (h itemHeap) Len() int { return len(h) }

func (h itemHeap) Less(i, j int) bool {
	if h[i].due.Equal(h[j].due) {
		return h[i].order < h[j].order
	}
	return h[i].due.Before(h[j].due)
}

func (h itemHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *itemHeap) Push(x any) {
	i := x.(*item)
	i.index = len(*h)
	*h = append(*h, i)
}

func (h *itemHeap) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	last.index = -1
	return last
}
