package loop

import (
	"errors"
	"net/netip"
	"slices"

	"rookery/gateway/internal/framing"
)

// ProxyProtocol says whether proxies begin their connections with a header of the PROXY protocol.
type ProxyProtocol uint8

const (
	// NoProxyProtocol: a header is as unknown as any other bytes.
	NoProxyProtocol ProxyProtocol = iota
	// OptionalProxyProtocol: a header is read where there is one. Then each proxy has to be one that sends it, or one that speaks
	// HTTP: through a third, which passes on what comes, a stranger could send it.
	OptionalProxyProtocol
	// RequiredProxyProtocol: what comes without one is refused.
	RequiredProxyProtocol
)

// trusts reports whether a peer is a proxy of ours, whose word about who is behind it is believed: its address is listed, or it has
// none, as at a Unix socket. Limits of addresses do not hold for one: everybody comes through it.
func (r *Rules) trusts(from netip.Addr) bool {
	return !from.IsValid() || slices.ContainsFunc(r.Proxies, func(p netip.Prefix) bool { return p.Contains(from) })
}

// introduce reads the PROXY protocol's header of a proxy's connection.
func (l *Loop) introduce(c *conn, in []byte) int {
	client, n, err := framing.ReadProxyHeader(in)
	switch {
	case errors.Is(err, framing.ErrNoProxyHeader) && l.engine.rules.Load().ProxyProtocol != RequiredProxyProtocol:
		c.phase = sniffing
		return l.sniff(c, in)
	case err != nil:
		l.deny(c, deniedHandshake, err)
		l.abort(c)
		return 0
	case n > 0:
		c.phase = sniffing
		if client.IsValid() {
			l.attribute(c, client, client)
		}
	}
	return n
}

var (
	errProxyStranger = errors.New("a PROXY protocol header of an address that proxy.trusted has not in it")
	errProxyOff      = errors.New("a PROXY protocol header, and proxy.protocol is off")
	errProxySecond   = errors.New("a PROXY protocol header where none belongs: a second one, or through a second proxy of which proxy.trusted knows")
)

// strayHeader says what is wrong with a header of the PROXY protocol that nobody has asked for, nil if it is none.
func (l *Loop) strayHeader(c *conn, in []byte) error {
	rules := l.engine.rules.Load()
	switch {
	case !framing.HasProxyHeader(in):
		return nil
	case !rules.trusts(peerAddr(c.sock)):
		return errProxyStranger
	case rules.ProxyProtocol == NoProxyProtocol:
		return errProxyOff
	}
	return errProxySecond
}

// forwarded takes the client of a request from its X-Forwarded-For, if it comes from a proxy. Each request on a kept connection may be
// of somebody else.
func (l *Loop) forwarded(c *conn, head []byte) {
	rules := l.engine.rules.Load()
	peer := peerAddr(c.sock)
	if !rules.trusts(peer) {
		return
	}
	client := framing.ForwardedFor(head, rules.trusts)
	if !client.IsValid() {
		client = peer
	}
	l.attribute(c, peer, client)
}

// attribute says that peer, who is a client or another proxy, is behind a connection, and that it is client who speaks. From here on all
// limits of addresses are the client's, and what was counted for whom it was taken for before is not any more.
func (l *Loop) attribute(c *conn, peer, client netip.Addr) {
	if remoteAddr(c.sock) == client && peerAddr(c.sock) == peer {
		return
	}
	o := &origin{peer: peer, address: client, weight: c.weight()}
	if c.secure {
		o.records = c.records()
	}
	c.sock.SetSafeContext(o)
	if c.refused != refusedNot {
		return
	}
	l.engine.admission.exit(c.address)
	if c.refused, c.address = l.enterFrom(client, false); c.refused == refusedNot {
		return
	}
	l.engine.admitted.Add(-1)
	if l.engine.refused.Add(1) > RefusalReserve {
		c.refused = refusedFlood
		l.abort(c)
		return
	}
	l.deny(c, denialByRefusal(c.refused), nil)
}
