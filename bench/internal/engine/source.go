package engine

import (
	"fmt"
	"net"
	"net/netip"
)

// Sources are the addresses that connections come from, in turn. Each has as many ports for a target as net.ipv4.ip_local_port_range holds,
// 28,232 of them unless it was changed.
type Sources struct {
	ranges []netip.Prefix
	sizes  []int
	total  int
}

// widest is how many addresses of one range are used at most.
const widest = 1 << 16

// ParseSources reads addresses (10.0.0.7), ranges (127.0.0.0/16) and interfaces (eth0, all of its addresses).
func ParseSources(texts []string) (*Sources, error) {
	s := &Sources{}
	for _, text := range texts {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			s.add(prefix)
		} else if address, err := netip.ParseAddr(text); err == nil {
			s.add(netip.PrefixFrom(address, address.BitLen()))
		} else if err := s.addInterface(text); err != nil {
			return nil, fmt.Errorf("source %q is no address, no range like 127.0.0.0/16, and %w", text, err)
		}
	}
	return s, nil
}

func (s *Sources) addInterface(name string) error {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return fmt.Errorf("no interface of this host: %w", err)
	}
	addresses, err := device.Addrs()
	if err != nil {
		return fmt.Errorf("the addresses of that interface can't be read: %w", err)
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && !prefix.Addr().IsLinkLocalUnicast() {
			s.add(netip.PrefixFrom(prefix.Addr(), prefix.Addr().BitLen()))
		}
	}
	return nil
}

// add takes a range without its first and last address, which a network may have other uses for.
func (s *Sources) add(prefix netip.Prefix) {
	size := 1
	if bits := prefix.Addr().BitLen() - prefix.Bits(); bits > 0 {
		size = max(1, 1<<min(bits, 16)-2)
	}
	s.ranges = append(s.ranges, prefix)
	s.sizes = append(s.sizes, min(size, widest))
	s.total += min(size, widest)
}

// Count is the number of addresses; 0: the kernel chooses.
func (s *Sources) Count() int { return s.total }

// Pick gives the address for connection number i of the run, the zero Addr for the kernel's choice.
func (s *Sources) Pick(i int) netip.Addr {
	if s.total == 0 {
		return netip.Addr{}
	}
	i %= s.total
	for k, prefix := range s.ranges {
		if i < s.sizes[k] {
			if s.sizes[k] == 1 {
				return prefix.Addr()
			}
			return offset(prefix.Masked().Addr(), i+1)
		}
		i -= s.sizes[k]
	}
	return netip.Addr{}
}

// offset gives the address n behind a.
func offset(a netip.Addr, n int) netip.Addr {
	raw := a.AsSlice()
	for i := len(raw) - 1; i >= 0 && n > 0; i-- {
		n += int(raw[i])
		raw[i] = byte(n)
		n >>= 8
	}
	moved, _ := netip.AddrFromSlice(raw) // has the length of an address
	return moved
}
