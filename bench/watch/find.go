package watch

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"rookery/bench/plan"
)

// lookUpTimeout bounds how long a name server may take.
const lookUpTimeout = 2 * time.Second

// findServer looks for the server's processes. It always gives one, which says why it is not seen if it is not.
func findServer(ctx context.Context, root fs.FS, p plan.Server) *server {
	s := &server{root: root}
	switch {
	case p.PID < 0:
		s.unseen = "the server's process was not looked for, since the plan says so"
		return s
	case p.PID > 0:
		s.add(p.PID)
		if len(s.processes) == 0 {
			s.unseen = fmt.Sprintf("there is no process %d that can be read on this host", p.PID)
		}
		return s
	}
	var addresses []netip.AddrPort
	remote := ""
	for _, target := range p.Targets {
		found, err := resolve(ctx, target)
		if err != nil {
			s.unseen = fmt.Sprintf("the server's process was not found: %v", err)
			return s
		}
		for _, address := range found {
			if isOurs(address.Addr()) {
				addresses = append(addresses, address)
			} else {
				remote = target
			}
		}
	}
	if len(addresses) == 0 {
		s.unseen = fmt.Sprintf("the server's process is not seen: %s is not an address of this host", remote)
		return s
	}
	inodes := listenersOn(root, addresses)
	if len(inodes) == 0 {
		s.unseen = fmt.Sprintf("the server's process is not seen: no process of this network namespace listens on %s",
			addresses[0])
		return s
	}
	pids, hidden := ownersOf(root, inodes)
	for _, pid := range pids {
		s.add(pid)
	}
	if len(s.processes) == 0 {
		s.unseen = fmt.Sprintf("the server's process is not seen: %s is listened on, but by none whose descriptors this user may list "+
			"(%d are closed to it): run as the server's user or as root, or name the process by its number", addresses[0], hidden)
	}
	return s
}

// resolve gives the addresses that a target stands for.
func resolve(ctx context.Context, target string) ([]netip.AddrPort, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("target %q: %w", target, err)
	}
	text := u.Port()
	if text == "" {
		text = map[string]string{"ws": "80", "http": "80", "wss": "443", "https": "443"}[u.Scheme]
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("target %q has no port", target)
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return nil, fmt.Errorf("target %q: %w", target, err)
	}
	addresses := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		addresses[i] = netip.AddrPortFrom(ip.Unmap(), uint16(port))
	}
	return addresses, nil
}

// isOurs says whether an address is one of this host's.
func isOurs(ip netip.Addr) bool {
	if ip.IsLoopback() || ip.IsUnspecified() {
		return true
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(addresses, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr().Unmap() == ip
	})
}

// listener is a listening socket.
type listener struct {
	address netip.AddrPort
	inode   string
}

// listenersOn gives the inodes of the sockets that connections to the addresses reach. One that is bound to an
// address takes what is for it before one that is bound to all.
func listenersOn(root fs.FS, addresses []netip.AddrPort) map[string]bool {
	all := append(parseListeners(readText(root, "proc/net/tcp")), parseListeners(readText(root, "proc/net/tcp6"))...)
	inodes := map[string]bool{}
	for _, to := range addresses {
		exact, wide := []string{}, []string{}
		for _, l := range all {
			switch ip := l.address.Addr(); {
			case l.address.Port() != to.Port():
			case ip == to.Addr() || to.Addr().IsUnspecified():
				exact = append(exact, l.inode)
			case ip.IsUnspecified() && (ip.Is6() || to.Addr().Is4()): // one of IPv6 takes IPv4 too
				wide = append(wide, l.inode)
			}
		}
		if len(exact) == 0 {
			exact = wide
		}
		for _, inode := range exact {
			inodes[inode] = true
		}
	}
	return inodes
}

// parseListeners reads /proc/net/tcp or tcp6.
func parseListeners(text string) []listener {
	const local, state, inode, listening = 1, 3, 9, "0A"
	var all []listener
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) <= inode || f[state] != listening {
			continue
		}
		if address, ok := parseHexAddress(f[local]); ok {
			all = append(all, listener{address, f[inode]})
		}
	}
	return all
}

// parseHexAddress reads "0100007F:1F90": words of four bytes, each as the processor has it in memory, which is
// the least byte first on what Go and Linux share besides s390x.
func parseHexAddress(text string) (netip.AddrPort, bool) {
	host, portText, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(host)
	port, errPort := strconv.ParseUint(portText, 16, 16)
	if err != nil || errPort != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for word := range slices.Chunk(b, 4) {
		slices.Reverse(word)
	}
	ip, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(ip.Unmap(), uint16(port)), ok
}

// ownersOf gives the processes that have one of the sockets open, and how many could not be looked into. Several may
// share one: by SO_REUSEPORT, or by a fork.
func ownersOf(root fs.FS, inodes map[string]bool) (pids []int, hidden int) {
	entries, err := fs.ReadDir(root, "proc")
	if err != nil {
		return nil, 0
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		descriptors, err := fs.ReadDir(root, inProc(pid, "fd"))
		if err != nil {
			hidden++
			continue
		}
		for _, d := range descriptors {
			link, err := fs.ReadLink(root, inProc(pid, "fd", d.Name()))
			if inode, found := strings.CutPrefix(link, "socket:["); err == nil && found && inodes[strings.TrimSuffix(inode, "]")] {
				pids = append(pids, pid)
				break
			}
		}
	}
	slices.SortFunc(pids, cmp.Compare[int])
	return pids, hidden
}
