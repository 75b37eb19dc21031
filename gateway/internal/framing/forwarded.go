package framing

import (
	"bytes"
	"net/netip"
)

// longestHop is more than an address with its port has.
const longestHop = 64

// ForwardedFor gives the client of a request by the X-Forwarded-For fields of its head, whose lines HTTPHead has let pass: each proxy adds
// at the right whom it was asked by, so the right-most address that is not trusted is the last that somebody trusted has seen. What
// stands left of it anybody may have written. Where all are trusted it is the left-most. Invalid: the right-most is no address, or
// there is none. Where something else follows on trusted ones, it is the one that let it pass.
func ForwardedFor(head []byte, trusted func(netip.Addr) bool) (client netip.Addr) {
	// Several fields of a name are one list, RFC 9110 5.3.
	var list []byte
	_, fields, _ := bytes.Cut(head, []byte("\r\n"))
	for field := range bytes.SplitSeq(fields, []byte("\r\n")) {
		name, value, _ := bytes.Cut(field, []byte(":"))
		if bytes.EqualFold(name, []byte("X-Forwarded-For")) {
			list = append(append(list, ','), value...)
		}
	}
	for len(list) > 0 {
		comma := bytes.LastIndexByte(list, ',')
		hop := bytes.Trim(list[comma+1:], " \t")
		list = list[:max(comma, 0)]
		if len(hop) == 0 {
			continue // RFC 9110 5.6.1: empty elements of a list are ignored
		}
		address, ok := hopAddress(hop)
		if !ok {
			return client
		}
		client = address
		if !trusted(address) {
			return client
		}
	}
	return client
}

// hopAddress reads an address, with or without a port: some proxies write one.
func hopAddress(hop []byte) (netip.Addr, bool) {
	if len(hop) > longestHop {
		return netip.Addr{}, false
	}
	text := string(hop)
	if inner, found := bytes.CutPrefix(hop, []byte("[")); found && bytes.HasSuffix(inner, []byte("]")) {
		text = string(inner[:len(inner)-1])
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		withPort, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}, false
		}
		address = withPort.Addr()
	}
	return address.Unmap().WithZone(""), true
}
