package framing

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

var (
	// ErrNoProxyHeader means that the bytes are something else.
	ErrNoProxyHeader = errors.New("no PROXY protocol header is in front: have the proxy send one, or let proxy.protocol be optional")

	errProxyLine    = errors.New("the PROXY protocol header of version 1 is none: it is PROXY, TCP4 or TCP6, two addresses and two ports, or UNKNOWN, and CRLF within 107 bytes")
	errProxyVersion = errors.New("the PROXY protocol header has neither version 1 nor 2")
	errProxyCommand = errors.New("the PROXY protocol header of version 2 has a command that is neither LOCAL nor PROXY")
	errProxyFamily  = errors.New("the PROXY protocol header of version 2 has an address family or a transport that is not in the specification")
	errProxyBlock   = errors.New("the PROXY protocol header of version 2 is shorter than its addresses")
	errProxyLength  = errors.New("the PROXY protocol header of version 2 is over 4 KiB: have the proxy send fewer or shorter TLVs")
)

const (
	proxyLineStart = "PROXY "
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	// maxProxyLine is the longest header of version 1 with its CRLF.
	maxProxyLine = 107
	// maxProxyBlock bounds those of version 2. The format has room for 64 KiB, of which addresses take 216 bytes; with the TLVs that
	// proxies send, a certificate's name among them, some hundred.
	maxProxyBlock = 4 << 10
	// proxyFixed is signature, version and command, family and transport, and length.
	proxyFixed = len(proxySignature) + 4
)

// HasProxyHeader reports whether bytes begin as a PROXY protocol header does.
func HasProxyHeader(in []byte) bool {
	return bytes.HasPrefix(in, []byte(proxyLineStart)) || bytes.HasPrefix(in, []byte(proxySignature))
}

// ReadProxyHeader reads the PROXY protocol's header, version 1 or 2, with which a proxy says whose connection it is. n is its length,
// 0 without an error when more bytes are needed. client is invalid where the proxy names nobody: it speaks for itself, as for a
// health check, or does not know, or the client came by a socket that has no address.
func ReadProxyHeader(in []byte) (client netip.Addr, n int, err error) {
	switch {
	case bytes.HasPrefix(in, []byte(proxyLineStart)):
		return proxyLine(in)
	case bytes.HasPrefix(in, []byte(proxySignature)):
		return proxyBlock(in)
	case strings.HasPrefix(proxyLineStart, string(in[:min(len(in), len(proxyLineStart))])),
		strings.HasPrefix(proxySignature, string(in[:min(len(in), len(proxySignature))])):
		return netip.Addr{}, 0, nil
	}
	return netip.Addr{}, 0, ErrNoProxyHeader
}

// proxyLine is version 1: "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n".
func proxyLine(in []byte) (client netip.Addr, n int, err error) {
	end := bytes.IndexByte(in[:min(len(in), maxProxyLine)], '\n')
	if end < 0 {
		if len(in) >= maxProxyLine {
			return netip.Addr{}, 0, errProxyLine
		}
		return netip.Addr{}, 0, nil
	}
	line, found := strings.CutSuffix(string(in[:end]), "\r")
	if !found {
		return netip.Addr{}, 0, errProxyLine
	}
	n = end + 1
	fields := strings.Split(line, " ")
	if fields[1] == "UNKNOWN" {
		return netip.Addr{}, n, nil // whatever follows says nothing
	}
	if len(fields) != 6 || !isPort(fields[4]) || !isPort(fields[5]) {
		return netip.Addr{}, 0, errProxyLine
	}
	from, fromErr := netip.ParseAddr(fields[2])
	to, toErr := netip.ParseAddr(fields[3])
	family := map[string]int{"TCP4": 32, "TCP6": 128}[fields[1]]
	if fromErr != nil || toErr != nil || from.BitLen() != family || to.BitLen() != family || from.Zone() != "" {
		return netip.Addr{}, 0, errProxyLine
	}
	return from.Unmap(), n, nil
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && strconv.FormatUint(port, 10) == text
}

// proxyBlock is version 2, binary. What is wrong in its fixed part is told before the rest is there.
func proxyBlock(in []byte) (client netip.Addr, n int, err error) {
	if len(in) < proxyFixed {
		return netip.Addr{}, 0, nil
	}
	version, command := in[12]>>4, in[12]&0xf
	n = proxyFixed + int(binary.BigEndian.Uint16(in[14:]))
	switch {
	case version != 2:
		return netip.Addr{}, 0, errProxyVersion
	case command > 1:
		return netip.Addr{}, 0, errProxyCommand
	case n > maxProxyBlock:
		return netip.Addr{}, 0, errProxyLength
	}
	local := command == 0
	// Family and transport in one byte: unspecified, or IPv4, IPv6 or Unix as a stream or datagrams. The protocol's text has LOCAL
	// accepted whatever they are, and a connection of another kind dropped.
	size, ok := map[byte]int{0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}[in[13]]
	switch {
	case !local && !ok:
		return netip.Addr{}, 0, errProxyFamily
	case !local && n < proxyFixed+size:
		return netip.Addr{}, 0, errProxyBlock
	case len(in) < n:
		return netip.Addr{}, 0, nil
	case local:
		return netip.Addr{}, n, nil
	}
	addresses := in[proxyFixed:n] // and behind them TLVs, of which none is of use here
	switch size {
	case 12:
		client = netip.AddrFrom4([4]byte(addresses))
	case 36:
		client = netip.AddrFrom16([16]byte(addresses)).Unmap()
	}
	return client, n, nil
}
