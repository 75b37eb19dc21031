package gateway

import (
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"

	"rookery/gateway/internal/loop"
)

// ProxyConfig says which proxies are in front and how they connect, docs/proxies.md.
type ProxyConfig struct {
	// Trusted are the networks, or single addresses, of proxies whose word about the address of a client is believed. Default none.
	// Who connects from there and is no proxy can claim any address.
	Trusted []string
	// Protocol says whether these proxies begin each connection with a header of the PROXY protocol, version 1 or 2. Default
	// ProxyProtocolOff: they name clients in X-Forwarded-For only.
	Protocol ProxyProtocol
	// Socket is the path of a Unix socket that is listened on besides, for proxies of this machine, which are trusted there. Default
	// empty, none.
	Socket string
	// SocketMode are the permissions of that socket, in octal. Default "0660". Who may write to it may connect.
	SocketMode string
}

// ProxyProtocol says what begins a connection of a trusted proxy.
type ProxyProtocol string

// What a trusted proxy begins with. From all others a header is refused.
const (
	ProxyProtocolOff      ProxyProtocol = "off"
	ProxyProtocolOptional ProxyProtocol = "optional"
	ProxyProtocolRequired ProxyProtocol = "required"
)

var proxyProtocols = map[ProxyProtocol]loop.ProxyProtocol{
	ProxyProtocolOff:      loop.NoProxyProtocol,
	ProxyProtocolOptional: loop.OptionalProxyProtocol,
	ProxyProtocolRequired: loop.RequiredProxyProtocol,
}

// networks are the trusted ones.
func (c ProxyConfig) networks() (networks []netip.Prefix, err error) {
	for _, text := range c.Trusted {
		network, err := parseNetwork(text)
		if err != nil {
			return nil, fmt.Errorf("has %q, which %w", text, err)
		}
		networks = append(networks, network)
	}
	return networks, nil
}

func parseNetwork(text string) (netip.Prefix, error) {
	const want = "; write an address like 10.0.0.1, or a network like 10.0.0.0/24"
	network, err := netip.ParsePrefix(text)
	if err != nil {
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("is no network%s", want)
		}
		network = netip.PrefixFrom(address, address.BitLen())
	}
	switch {
	case network.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("is an IPv4 address in IPv6%s", want)
	case network.Bits() == 0:
		return netip.Prefix{}, fmt.Errorf("is every address, so that everybody could claim any; name the proxies' network")
	case network != network.Masked():
		return netip.Prefix{}, fmt.Errorf("has address bits behind the network's; write %v, or %v for the one address", network.Masked(), network.Addr())
	}
	return network, nil
}

// longestSocketPath is what the kernel takes, 107 bytes, less the ending under which the socket is made.
const longestSocketPath = 107 - len(newSocketEnding)

// socketFault says why there can't be such a socket, "" if there can.
func (c ProxyConfig) socketFault() string {
	switch {
	case len(c.Socket) > longestSocketPath:
		return fmt.Sprintf("has %d bytes, and the path of a Unix socket has %d at most; choose a shorter one, like /run/rookery/socket",
			len(c.Socket), longestSocketPath)
	case strings.HasPrefix(c.Socket, "@"):
		return "is an abstract socket, which has no permissions; write the path of a file, like /run/rookery/socket"
	}
	return ""
}

func (c ProxyConfig) socketMode() (fs.FileMode, error) {
	mode, err := strconv.ParseUint(c.SocketMode, 8, 32)
	if err != nil || mode > 0o777 || len(c.SocketMode) < 3 {
		return 0, fmt.Errorf("is no set of permissions; write them in octal, like 0660")
	}
	return fs.FileMode(mode), nil
}

// validateProxy refuses what can't work, each fault at its setting.
func (c Config) validateProxy(refuse func(broken bool, reason string, names ...string)) {
	_, err := c.Proxy.networks()
	refuse(err != nil, fmt.Sprint(err), "proxy.trusted")
	refuse(c.Proxy.Protocol != ProxyProtocolOff && len(c.Proxy.Trusted) == 0 && c.Proxy.Socket == "",
		"is of no use, since no proxy is trusted; name them in proxy.trusted, or have them connect at proxy.socket", "proxy.protocol", "proxy.trusted")
	reason := c.Proxy.socketFault()
	refuse(reason != "", reason, "proxy.socket")
	_, err = c.Proxy.socketMode()
	refuse(err != nil, fmt.Sprint(err), "proxy.socket_mode")
}
