package loop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/panjf2000/gnet/v2"

	"rookery/internal/records"
)

// origin is where a connection comes from, if that is not its socket's peer, and its TLS. gnet keeps it as the connection's safe
// context, so that the others, which are most, have no room for it. It is replaced, never changed. Where the kernel has the records, and the socket
// says who is there, that context is the weight alone.
type origin struct {
	peer    netip.Addr      // who is at the other end, as whoever accepted the connection or the PROXY protocol said
	address netip.Addr      // whom it speaks for; another where peer is a proxy, too
	records *records.Stream // nil without TLS of ours
	weight  *weight         // nil without TLS of the kernel; see barren.go
}

var (
	errEnded   = errors.New("the loops have ended")
	errDropped = errors.New("the peer has left")
)

// Enter gives a loop a connection that was accepted elsewhere, of an address that whoever accepted it vouches for, invalid if that
// is a Unix socket's. The socket is the loop's as if gnet had accepted it; c is closed, also when Enter fails, and must have
// nothing read ahead. It is a *net.TCPConn or a *net.UnixConn, and until Enter returns a socket of ours has a second descriptor. It
// waits for Run to begin, and for a turn of the loop. Safe for concurrent use.
func (e *Engine) Enter(c net.Conn, from netip.Addr) error {
	return e.enter(c, from, originOf(from, nil))
}

// EnterSecure is Enter for a connection with TLS, whose handshake is over. Without a Stream the kernel has its records, and the address is that of its
// socket.
func (e *Engine) EnterSecure(c net.Conn, from netip.Addr, s *records.Stream) error {
	if s == nil {
		return e.enter(c, from, &weight{})
	}
	return e.enter(c, from, originOf(from, s))
}

func originOf(from netip.Addr, s *records.Stream) *origin {
	from = from.Unmap()
	return &origin{peer: from, address: from, records: s}
}

func (e *Engine) enter(c net.Conn, from netip.Addr, of any) error {
	fault := func(err error) error { return fmt.Errorf("give a connection of %v to a loop: %w", from, err) }
	select {
	case <-e.booted:
	case <-e.ended:
	}
	select {
	case <-e.ended: // perhaps both
		c.Close()
		return fault(errEnded)
	default:
	}
	if c.RemoteAddr() == nil {
		// It was reset. To take it for one of a Unix socket, whose peers are trusted, would be worse than to let it go.
		c.Close()
		return fault(errDropped)
	}
	if socket, ok := c.(*net.TCPConn); ok {
		// As gnet's listeners have it; package net has set 15 seconds. A socket that is broken is found so by the loop.
		_ = socket.SetKeepAliveConfig(KeepAlive(e.cfg.Heartbeat))
	}
	ctx := gnet.NewContext(context.Background(), of)
	e.entering.Lock()
	entered, err := e.gnet.Register(gnet.NewNetConnContext(ctx, c))
	e.entering.Unlock()
	if err != nil {
		c.Close()
		return fault(err)
	}
	// The channel is closed behind the result, when gnet has closed c; without one, if gnet could not do with it.
	result := gnet.RegisteredResult{Err: errDropped}
	for more := true; more; {
		var r gnet.RegisteredResult
		select {
		case r, more = <-entered:
			if more {
				result = r
			}
		case <-e.ended: // gnet forgets what it is to do then
			c.Close()
			return fault(errEnded)
		}
	}
	if result.Err != nil {
		return fault(result.Err)
	}
	return nil
}

// tlsOf says whose records a connection has: the loop's, the kernel's, or none.
func tlsOf(g gnet.Conn) (ours, kernel bool) {
	switch context := g.SafeContext().(type) {
	case *weight:
		return false, true
	case *origin:
		return context.records != nil, context.weight != nil
	}
	return false, false
}

// remoteAddr is whom a connection speaks for: as a proxy or whoever let it in said, or else by its socket. IPv4 as such, and invalid for
// a Unix socket of which nobody said it.
func remoteAddr(g gnet.Conn) netip.Addr {
	if o, ok := g.SafeContext().(*origin); ok {
		return o.address
	}
	return socketAddr(g)
}

// peerAddr is who speaks on a connection, be it for others.
func peerAddr(g gnet.Conn) netip.Addr {
	if o, ok := g.SafeContext().(*origin); ok {
		return o.peer
	}
	return socketAddr(g)
}

func socketAddr(g gnet.Conn) netip.Addr {
	if held, is := g.(*lifted); is {
		return held.socket
	}
	a, ok := g.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	from, _ := netip.AddrFromSlice(a.IP)
	return from.Unmap()
}

// addressText is an address for others, "" if it is not known.
func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
