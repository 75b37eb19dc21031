package gateway

import (
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// reservation holds an address from New until gnet listens on it. gnet binds one listener
// for each loop: with port 0 each would get a port of its own, and an address that
// somebody else has would be noticed only after the log was opened.
type reservation struct {
	addr string // with the real port
	fd   int
}

// reserve binds without listening, so no connection is ever queued here. SO_REUSEPORT lets
// gnet's listeners, and another rookery, bind the same.
func reserve(address string) (reservation, error) {
	resolved, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return reservation{}, err
	}
	family, sockaddr := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: resolved.Port})
	if ip := resolved.IP.To4(); ip != nil {
		family, sockaddr = unix.AF_INET, &unix.SockaddrInet4{Port: resolved.Port, Addr: [4]byte(ip)}
	} else if resolved.IP != nil {
		sockaddr = &unix.SockaddrInet6{Port: resolved.Port, Addr: [16]byte(resolved.IP.To16())}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil && resolved.IP == nil {
		// No IPv6 on this machine.
		sockaddr = &unix.SockaddrInet4{Port: resolved.Port}
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return reservation{}, err
	}
	bind := func() error {
		for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
				return err
			}
		}
		return unix.Bind(fd, sockaddr)
	}
	if err := bind(); err != nil {
		unix.Close(fd)
		return reservation{}, err
	}
	port := resolved.Port
	if bound, err := unix.Getsockname(fd); err == nil {
		switch b := bound.(type) {
		case *unix.SockaddrInet4:
			port = b.Port
		case *unix.SockaddrInet6:
			port = b.Port
		}
	}
	host, _, _ := net.SplitHostPort(address)
	return reservation{addr: net.JoinHostPort(host, strconv.Itoa(port)), fd: fd}, nil
}

// release gives the address up; gnet has it by then.
func (r *reservation) release() {
	if r.fd >= 0 {
		unix.Close(r.fd)
		r.fd = -1
	}
}
