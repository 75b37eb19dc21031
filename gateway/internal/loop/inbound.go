package loop

import (
	"bytes"
	"errors"
	"time"

	"github.com/gobwas/ws"
	"github.com/panjf2000/gnet/v2"

	"rookery/gateway/internal/framing"
	"rookery/proto"
)

// traffic is called when a connection has sent something. gnet calls again only when more
// arrives, so everything that is whole is worked off; what is half stays in gnet's buffer
// (HTTP heads, TCP frames) or in the decoder (WebSocket).
func (l *Loop) traffic(c *conn) (action gnet.Action) { return l.workOff(c, nil) }

// turnToRead is traffic, and a turn where so much was read since the last one that the bell, which waits in line with the sockets, is late for it.
func (l *Loop) turnToRead(c *conn) gnet.Action {
	sock := c.sock
	action := l.traffic(c)
	if l.requests < mostRead || action != gnet.None {
		return action // one that made us panic is closed before anything else is done
	}
	l.line.passed(time.Now(), l.bell.rung.Load())
	switch l.work(); {
	case l.ended:
		return gnet.Shutdown
	case c.sock != sock:
		return gnet.Close // see workOff
	}
	return action
}

// goOn is workOff outside of gnet's callbacks, where nobody else closes a connection that made us panic. One that has another socket
// afterwards is kept for its last word.
func (l *Loop) goOn(c *conn, kept []byte) {
	sock := c.sock
	if l.workOff(c, kept) == gnet.Close && c.sock == sock {
		l.abort(c)
	}
}

// workOff is traffic, behind frames that were kept of an earlier message.
func (l *Loop) workOff(c *conn, kept []byte) (action gnet.Action) {
	defer func() {
		if r := recover(); r != nil {
			l.panicked(c, r)
			action = gnet.Close
		}
	}()
	sock := c.sock
	l.hear(c)
	l.whole = false
	if len(kept) > 0 {
		l.eachFrame(c, kept)
	}
	ended := l.open(c)
	l.judge(c, ended) // before what came with it, which may end the connection in its own way
	for c.sock != nil {
		in := l.received(c)
		if len(in) == 0 {
			break
		}
		n := l.inbound(c, in)
		l.counted.BytesIn.Add(int64(n))
		if n == 0 || c.sock == nil {
			break
		}
		l.discard(c, n)
		if c.kernel {
			c.given(n)
		}
		if c.out != 0 && l.dirty[c.out-1].size() > gatherBytes {
			l.flush() // what pipelined requests ask for is bounded by what the peer takes
		}
	}
	if c.sock != nil {
		l.keepPlain(c)
		l.halfFrame(c)
	}
	l.flush()
	if ended != nil && c.sock != nil {
		l.abort(c) // TLS has said its own last word about it
	}
	if c.sock != sock {
		return gnet.Close // it is, be the socket kept for a last word; gnet takes that as a stale event and stops
	}
	l.pump()
	if l.lagging.len() > 0 {
		l.ring() // who joined with a position is given what follows in a turn
	}
	return gnet.None
}

// inbound works off the front of in and returns how much, 0 if more bytes are needed.
func (l *Loop) inbound(c *conn, in []byte) int {
	if c.paused() {
		l.pause(c)
		return 0
	}
	switch c.phase {
	case introducing:
		return l.introduce(c, in)
	case sniffing:
		return l.sniff(c, in)
	case requesting:
		return l.request(c, in)
	case receiving:
		return l.receive(c, in)
	case delivering:
		l.holdBack(c)
		return 0
	case answering:
		return len(in) // a body, or a next request: the connection ends with the answer
	case closing:
		l.farewell(c, in)
		return len(in)
	}
	switch {
	case c.events:
		return len(in) // its answer never ends, so a next request has none
	case c.stream:
		return l.inboundStream(c, in)
	}
	return l.inboundWebSocket(c, in)
}

func (l *Loop) sniff(c *conn, in []byte) int {
	switch framing.Sniff(in) {
	case framing.HTTP:
		c.phase = requesting
		return l.request(c, in)
	case framing.TCP:
		c.stream, c.codec = true, proto.Binary
		c.phase = opened
		if c.refused != refusedNot {
			l.close(c, c.refused.closeCode(), "")
			return len(in)
		}
		l.deadline(c, l.cfg.HandshakeTimeout)
		return len(proto.Preface)
	case framing.UnsupportedVersion:
		c.stream, c.codec = true, proto.Binary
		c.phase = opened
		l.close(c, proto.CloseVersion, "this server speaks version 1 of the raw TCP framing")
		return len(in)
	case framing.Unknown:
		if !framing.FromBrowser(in) {
			l.deny(c, deniedHandshake, l.strayHeader(c, in))
		}
		l.abort(c)
	}
	return 0
}

func (l *Loop) inboundStream(c *conn, in []byte) (n int) {
	for c.phase != closing && c.sock != nil {
		if c.paused() {
			return n
		}
		frame, size, err := framing.DecodeTCP(in[n:], l.cfg.MessageBytes)
		if err != nil {
			code := proto.CloseBadFrame
			if errors.Is(err, framing.ErrFrameTooLarge) {
				code = proto.CloseTooBig
			}
			l.close(c, code, err.Error())
			return len(in)
		}
		if size == 0 {
			return n
		}
		l.whole = true
		l.frame(c, frame)
		n += size
	}
	return len(in)
}

func (l *Loop) inboundWebSocket(c *conn, in []byte) int {
	total := len(in)
	for c.phase != closing && c.sock != nil {
		if c.paused() {
			return total - len(in)
		}
		m, n, err := c.decoder.Decode(in, l.cfg.MessageBytes)
		in = in[n:]
		if err != nil {
			var fault *framing.ProtocolError
			if errors.As(err, &fault) {
				l.close(c, proto.CloseCode{Code: fault.Code}, fault.Reason)
			}
			return total
		}
		if !m.Ready() {
			return total
		}
		l.message(c, m)
	}
	if c.phase == closing && c.sock != nil && len(in) > 0 {
		l.farewell(c, in)
	}
	return total
}

// message is one whole WebSocket message or control frame.
func (l *Loop) message(c *conn, m framing.Message) {
	switch m.Op {
	case ws.OpPing:
		l.control(c, ws.OpPong, m.Payload)
	case ws.OpPong:
		// Any byte is a sign of life, and was taken as one.
	case ws.OpClose:
		l.closedByPeer(c, m.Payload)
	default:
		l.whole = true
		if c.phase == echoing {
			l.write(c, append(framing.AppendHeader(nil, m.Op, len(m.Payload)), m.Payload...))
			return
		}
		l.data(c, m)
	}
}

// closedByPeer answers the peer's Close with its own code and lets the connection go.
// RFC 6455 5.5.1: "When sending a Close frame in response, the endpoint typically echos
// the status code it received." 7.1.1: the server closes the TCP connection first; it
// closes its half, so that what is still on its way to us can't turn the end into a reset.
func (l *Loop) closedByPeer(c *conn, payload []byte) {
	code, _, err := framing.ParseClose(payload)
	var fault *framing.ProtocolError
	if errors.As(err, &fault) {
		l.close(c, proto.CloseCode{Code: fault.Code}, fault.Reason)
		return
	}
	l.write(c, framing.AppendClose(nil, code, ""))
	l.lastWord(c)
}

// data is a text or binary message: frames, in the codec that was agreed or that the first
// message shows.
func (l *Loop) data(c *conn, m framing.Message) {
	codec := proto.Binary
	if m.Op == ws.OpText {
		codec = proto.JSON
	}
	if c.codec == proto.Undecided {
		c.codec = codec
	}
	if c.codec != codec {
		l.close(c, proto.CloseUnsupported, "this connection's frames are in the other kind of message: text for JSON, binary for Protocol Buffers")
		return
	}
	l.eachFrame(c, m.Payload)
}

// eachFrame is for the frames of a message.
func (l *Loop) eachFrame(c *conn, rest []byte) {
	for len(rest) > 0 && c.phase != closing && c.sock != nil {
		if c.paused() {
			c.asked().rest = bytes.Clone(rest)
			return
		}
		var frame []byte
		var err error
		if frame, rest, err = proto.Next(c.codec, rest); err != nil {
			l.close(c, proto.CloseBadFrame, err.Error())
			return
		}
		if c.codec == proto.JSON && len(bytes.TrimSpace(frame)) == 0 {
			continue
		}
		l.frame(c, frame)
	}
}

// halfFrame starts or stops the time limit of half a message. It starts anew when a whole
// one came before the half: a busy sender's reads nearly always end in the middle.
func (l *Loop) halfFrame(c *conn) {
	switch c.phase {
	case opened, connected, echoing:
	default:
		return
	}
	half := !c.paused() && (c.decoder.Pending() || c.stream && l.pending(c) > 0 || c.secure && (c.sock.InboundBuffered() > 0 || c.records().Half()))
	switch {
	case !half && c.half != 0:
		c.half = 0
	case half && (c.half == 0 || l.whole):
		c.half = l.now.add(l.cfg.FrameTimeout)
		l.hurry(c)
	}
}
