package benchtest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"rookery/proto"
)

// preface is what raw TCP begins with; its last byte is the version.
const preface = "ROOKERY\x01"

// refusal is what RefuseConnect says.
const refusal = "the test asks for a refusal"

// acceptLoop is started by New and ends with Close.
func (s *Server) acceptLoop() {
	defer s.running.Done()
	for {
		accepted, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// No descriptor is free, mostly: those who wait in the kernel come in when one is.
			select {
			case <-s.done:
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		s.accept(accepted.(*net.TCPConn))
	}
}

func (s *Server) accept(socket *net.TCPConn) {
	c := &conn{
		server: s,
		socket: &gatedSocket{TCPConn: socket, gate: s.gate},
		out:    newOutbound(s.config.Queue),
		rooms:  map[string]*member{},
	}
	c.in = bufio.NewReader(c.socket)
	s.mu.Lock()
	s.accepted++
	number := s.accepted
	closed := s.closed
	if !closed {
		s.conns[c] = struct{}{}
		s.running.Add(1)
	}
	s.mu.Unlock()
	if closed {
		c.socket.reset()
		return
	}
	s.tally.accepted.Add(1)
	if every(s.faults.ResetConnect, number) {
		s.tally.connectsReset.Add(1)
		s.forget(c)
		c.socket.reset()
		return
	}
	go c.serveLoop(every(s.faults.RefuseConnect, number))
}

// forget takes a connection that has ended off the list of those that Close waits for.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.running.Done()
}

// open reads what a connection begins with and answers it. It returns false for one that
// is not let in, which has been told so.
func (c *conn) open(refuse bool) bool {
	start, err := c.in.Peek(len(preface))
	if err != nil {
		return false
	}
	if c.server.config.Mode == Rookery && strings.HasPrefix(string(start), preface[:len(preface)-1]) {
		return c.openStream(string(start), refuse)
	}
	if !strings.HasPrefix(string(start), "GET ") {
		return false
	}
	return c.openWebSocket(refuse)
}

// openStream begins raw TCP.
func (c *conn) openStream(start string, refuse bool) bool {
	if _, err := c.in.Discard(len(preface)); err != nil {
		return false
	}
	c.stream = true
	c.codec = proto.Binary
	end := &closing{proto.CloseVersion, "this server speaks version 1"}
	switch {
	case refuse:
		end = &closing{proto.CloseOverloaded, refusal}
		c.server.tally.connectsRefused.Add(1)
	case start == preface:
		return true
	}
	// It goes past the queue: the connection has no writer yet. Who does not take it is not let in either.
	_, _ = c.socket.Write(end.item(c).payload)
	return false
}

// openWebSocket answers the handshake of RFC 6455.
func (c *conn) openWebSocket(refuse bool) bool {
	upgrader := ws.Upgrader{
		OnRequest: func(target []byte) error {
			path, _, _ := strings.Cut(string(target), "?")
			switch {
			case refuse:
				return ws.RejectConnectionError(ws.RejectionStatus(http.StatusServiceUnavailable),
					ws.RejectionHeader(ws.HandshakeHeaderString("Retry-After: 1\r\n")),
					ws.RejectionReason(refusal))
			case c.server.config.Mode == Rookery && path != "/ws":
				return ws.RejectConnectionError(ws.RejectionStatus(http.StatusNotFound),
					ws.RejectionReason("WebSocket is at /ws"))
			}
			return nil
		},
		Protocol: func(name []byte) bool {
			switch {
			case c.server.config.Mode != Rookery:
				return false
			case string(name) == proto.SubprotocolBinary:
				c.codec = proto.Binary
			case string(name) == proto.SubprotocolJSON:
				c.codec = proto.JSON
			}
			return c.codec != proto.Undecided
		},
		// Before the answer, as all that counts: who has read it gets what others send from then on.
		OnBeforeUpgrade: func() (ws.HandshakeHeader, error) {
			if c.server.config.Mode != Rookery {
				c.enterRelay()
			}
			return nil, nil
		},
	}
	// Before the answer is written: whoever has read it finds it counted.
	if refuse {
		c.server.tally.connectsRefused.Add(1)
	}
	_, err := upgrader.Upgrade(struct {
		io.Reader
		io.Writer
	}{c.in, c.socket})
	return err == nil
}
