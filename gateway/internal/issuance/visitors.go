package issuance

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// visitors is a listener whose connections are bounded: a newcomer has another one make room, so that nobody who only holds places keeps the authority
// out. It is the one that was there first of those whose address has most. An authority asks at once and leaves with the answer; to drive it out as
// many as there are places have to come meanwhile, from as many addresses.
type visitors struct {
	net.Listener
	most int // one more is there while it makes room

	mu      sync.Mutex // guards all below
	present []*visitor // in the order in which they came
}

type visitor struct {
	net.Conn
	of   netip.Addr
	from *visitors
}

// Accept is http.Server's.
func (l *visitors) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	v := &visitor{conn, neighbourhood(conn.RemoteAddr()), l}
	l.mu.Lock()
	var leaving *visitor
	if len(l.present) >= l.most {
		leaving = l.choose()
	}
	l.present = append(l.present, v)
	l.mu.Unlock()
	if leaving != nil {
		leaving.Close()
	}
	return v, nil
}

// choose gives the one that makes room. With l.mu.
func (l *visitors) choose() *visitor {
	number := make(map[netip.Addr]int)
	for _, v := range l.present {
		number[v.of]++
	}
	chosen := l.present[0]
	for _, v := range l.present {
		if number[v.of] > number[chosen.of] {
			chosen = v
		}
	}
	return chosen
}

// Close may be called more than once: by who makes room for another, and by http.Server.
func (v *visitor) Close() error {
	v.from.mu.Lock()
	if i := slices.Index(v.from.present, v); i >= 0 {
		v.from.present = slices.Delete(v.from.present, i, i+1)
	}
	v.from.mu.Unlock()
	return v.Conn.Close()
}

// neighbourhood is an address, of IPv6 what one customer may have at most: /48. Few come here at a time, so who shares it loses nothing.
func neighbourhood(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	from := tcp.AddrPort().Addr().Unmap()
	if from.Is4() {
		return from
	}
	prefix, err := from.Prefix(48)
	if err != nil {
		return from
	}
	return prefix.Addr()
}
