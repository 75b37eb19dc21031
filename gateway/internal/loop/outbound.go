package loop

import (
	"time"
	"unsafe"

	"github.com/gobwas/ws"
	"github.com/valyala/bytebufferpool"
	"golang.org/x/sys/unix"

	"rookery/gateway/internal/framing"
	"rookery/gateway/internal/handoff"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// outbox is what a connection is to be sent at the end of this turn. Most have one piece,
// shared with other members of a room; only more than one are copied together.
type outbox struct {
	conn   *conn
	first  []byte
	joined *bytebufferpool.ByteBuffer
}

func (o *outbox) size() int {
	if o.joined != nil {
		return o.joined.Len()
	}
	return len(o.first)
}

// write adds bytes as they go over the wire. They must not change before the flush.
func (l *Loop) write(c *conn, b []byte) {
	if c.sock == nil || c.phase == closing || len(b) == 0 {
		return
	}
	if c.traced {
		l.traceOut(c, b)
	}
	l.add(c, b)
}

func (l *Loop) add(c *conn, b []byte) {
	if c.out == 0 {
		l.dirty = append(l.dirty, outbox{conn: c, first: b})
		c.out = int32(len(l.dirty))
		return
	}
	o := &l.dirty[c.out-1]
	if o.joined == nil {
		o.joined = bytebufferpool.Get()
		_, _ = o.joined.Write(o.first)
	}
	_, _ = o.joined.Write(b)
	l.fullest = max(l.fullest, o.joined.Len())
}

// frames adds frames as they stand in a stream of the connection's codec, with Headroom in
// front of them; over WebSocket they become one message. They belong to the loop now.
func (l *Loop) frames(c *conn, b []byte) {
	switch {
	case c.sock == nil:
	case c.events:
		l.write(c, l.eventsOf(c, b[handoff.Headroom:]))
	case c.stream:
		l.write(c, b[handoff.Headroom:])
	default:
		l.write(c, framing.Seal(b, handoff.Headroom, opCode(c.codec)))
	}
}

// share is frames for what others are given too: they must not change, and are not the loop's.
func (l *Loop) share(c *conn, b []byte) {
	switch {
	case c.sock == nil || c.phase == closing:
	case c.events:
		l.write(c, l.eventsOf(c, b))
	case c.stream:
		l.write(c, b)
	case c.traced: // whoever looks is shown whole messages
		l.frames(c, append(make([]byte, handoff.Headroom, handoff.Headroom+len(b)), b...))
	default:
		l.add(c, framing.AppendHeader(make([]byte, 0, framing.MaxHeaderSize), opCode(c.codec), len(b)))
		l.add(c, b)
	}
}

// reply sends one frame to one connection.
func (l *Loop) reply(c *conn, f *v1.ServerFrame) {
	codec := c.codec
	if codec == proto.Undecided {
		codec = proto.Binary
	}
	if f.Id == ofServer {
		f.Id = 0 // no client has asked
	}
	l.frames(c, proto.AppendServerFrame(make([]byte, handoff.Headroom, 128), codec, f))
}

// fail answers a request with an error.
func (l *Loop) fail(c *conn, id uint64, code proto.ErrorCode, text string) {
	l.counted.Errors[errorIndex[code]].Add(1)
	l.reply(c, code.Frame(id, text))
}

// failFor answers a request with an error that says when to try again.
func (l *Loop) failFor(c *conn, id uint64, code proto.ErrorCode, text string, wait time.Duration) {
	l.counted.Errors[errorIndex[code]].Add(1)
	f := code.Frame(id, text)
	ms := uint32((wait + time.Millisecond - 1) / time.Millisecond) // not a moment too early
	f.GetError().RetryAfterMs = &ms
	l.reply(c, f)
}

// failWith answers a request with the error of an event.
func (l *Loop) failWith(c *conn, e *handoff.Event) {
	if e.At > 0 {
		l.failFor(c, e.ID, e.Code, e.Text, time.Duration(e.At)*time.Millisecond)
		return
	}
	l.fail(c, e.ID, e.Code, e.Text)
}

func (l *Loop) control(c *conn, op ws.OpCode, payload []byte) {
	l.write(c, append(framing.AppendHeader(nil, op, len(payload)), payload...))
}

func opCode(c proto.Codec) ws.OpCode {
	if c == proto.JSON {
		return ws.OpText
	}
	return ws.OpBinary
}

// flush gives every connection what was added for it, in one write each.
func (l *Loop) flush() {
	for i := 0; i < len(l.dirty); i++ {
		o := l.dirty[i]
		l.dirty[i] = outbox{}
		o.conn.out = 0
		if o.conn.sock != nil {
			l.empty(&o)
		}
		if o.joined != nil {
			bytebufferpool.Put(o.joined)
		}
	}
	l.dirty = l.dirty[:0]
	l.fullest = 0
}

// flushMany is flush for a walk through the table that writes to everybody: what waits for it is memory.
func (l *Loop) flushMany() {
	if len(l.dirty) >= atOnce {
		l.flush()
	}
}

// empty gives a connection what is in its outbox. A fault of ours with its socket is its own: the others are given theirs.
func (l *Loop) empty(o *outbox) {
	defer l.caught(o.conn.handle)
	b := o.first
	if o.joined != nil {
		b = o.joined.B
	}
	l.send(o.conn, b)
	l.endEvents(o.conn)
}

// send writes to the socket, in records if the connection has them.
func (l *Loop) send(c *conn, b []byte) {
	if b = l.seal(c, b); len(b) > 0 {
		l.transmit(c, b)
	}
}

// transmit writes to the socket. What it does not take gnet copies, and the connection is
// backed up until that has left. An error is gnet's to find: it is given what was not written.
func (l *Loop) transmit(c *conn, b []byte) {
	l.counted.Writes.Add(1)
	l.counted.BytesOut.Add(int64(len(b)))
	// Of who is not backed up gnet holds nothing. It is not asked: what it would look at is not in the processor's cache.
	if !c.backed || c.sock.OutboundBuffered() == 0 {
		if b = b[l.put(c.sock.Fd(), b):]; len(b) == 0 {
			return
		}
	}
	// A failing write closes the connection before it returns.
	if _, err := c.sock.Write(b); err != nil || c.sock == nil {
		return
	}
	waiting := c.sock.OutboundBuffered()
	if waiting == 0 {
		return
	}
	l.buffered(c, waiting)
	if waiting > l.cfg.OutboundBytes {
		c.closed = proto.CloseOutboundFull.Code
		l.abort(c)
		return
	}
	if !c.backed {
		l.backUp(c)
	}
}

// backUp has a connection wait until its socket takes bytes again.
func (l *Loop) backUp(c *conn) {
	c.backed = true
	l.counted.Full.Add(1)
	c.took = l.now
	l.hurry(c)
	l.await(c)
}

// put writes what a socket takes at once, and gives the number of bytes; 0 for an error, too.
//
// The Go runtime is not told of the call, which does not block. Of one that it is told of its monitor takes the processor away after 20
// microseconds, as many as a write to loopback takes, and gives it to another thread: a loop that writes all the time loses its
// processor all the time, and the monitor never sleeps.
func put(fd int, b []byte) int {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0
	}
	return int(n)
}

// buffered notes how much of a connection's outbound waits.
func (l *Loop) buffered(c *conn, waiting int) {
	l.counted.Buffered.Add(int64(waiting) - int64(c.buffered))
	if uint32(waiting) < c.buffered {
		c.took = l.now
	}
	c.buffered = uint32(waiting)
}
