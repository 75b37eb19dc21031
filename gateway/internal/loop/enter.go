package loop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/panjf2000/gnet/v2"

	"rookery/gateway/internal/records"
)

// origin is where a connection comes from, if that is not its socket's peer. gnet keeps it as the connection's safe context, so that
// the others, which are most, have no room for it.
type origin struct {
	address netip.Addr
	records *records.Stream // nil without TLS
}

func isSecure(g gnet.Conn) bool {
	o, ok := g.SafeContext().(*origin)
	return ok && o.records != nil
}

// Enter gives a loop a connection that was accepted elsewhere, of an address that whoever accepted it vouches for. The socket
// is the loop's as if gnet had accepted it; c is closed, also when Enter fails, and must have nothing read ahead. It is a
// *net.TCPConn or a *net.UnixConn, and a socket of ours needs a second descriptor for a moment. Only after Booted.
// Safe for concurrent use.
func (e *Engine) Enter(c net.Conn, from netip.Addr) error {
	return e.enter(c, &origin{address: from.Unmap()})
}

// EnterSecure is Enter for a connection with TLS, whose handshake is over.
func (e *Engine) EnterSecure(c net.Conn, from netip.Addr, s *records.Stream) error {
	return e.enter(c, &origin{address: from.Unmap(), records: s})
}

func (e *Engine) enter(c net.Conn, from *origin) error {
	ctx := gnet.NewContext(context.Background(), from)
	e.entering.Lock()
	entered, err := e.gnet.Register(gnet.NewNetConnContext(ctx, c))
	e.entering.Unlock()
	if err != nil {
		c.Close()
		return fmt.Errorf("give a connection of %v to a loop: %w", from.address, err)
	}
	select {
	case result := <-entered:
		err = result.Err
	case <-e.over: // gnet would never answer
		err = errors.New("the loops have ended")
	}
	if err != nil {
		return fmt.Errorf("give a connection of %v to a loop: %w", from.address, err)
	}
	return nil
}

// remoteAddr is who the peer is: as whoever let it in said, or else by its socket. IPv4 as such, and invalid for a Unix socket of
// which nobody said it.
func remoteAddr(g gnet.Conn) netip.Addr {
	if o, ok := g.SafeContext().(*origin); ok {
		return o.address
	}
	a, ok := g.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	from, _ := netip.AddrFromSlice(a.IP)
	return from.Unmap()
}
