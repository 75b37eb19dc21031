package gateway

import (
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Listeners of one address share what comes to it by a hash. When one of them is closed, what waits in its queue is lost, unless the
// kernel moves it (net.ipv4.tcp_migrate_req). So before the old listeners are closed nothing new comes to them: a filter of four instructions picks
// among the others.

// steer gives all new connections of the address to the listeners that came after the first ones of it, which are this process's.
func (s *Server) steer(first, then int) error {
	listener, err := listenerOn(s.public.addr)
	if err != nil {
		return err
	}
	const random = 0xfffff000 + 56 // SKF_AD_OFF + SKF_AD_RANDOM of linux/filter.h
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: random},
		{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: uint32(then)},
		{Code: unix.BPF_ALU | unix.BPF_ADD | unix.BPF_K, K: uint32(first)},
		{Code: unix.BPF_RET | unix.BPF_A},
	}
	if err := unix.SetsockoptSockFprog(listener, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &unix.SockFprog{
		Len: uint16(len(program)), Filter: &program[0],
	}); err != nil {
		return fmt.Errorf("steer new connections to other listeners: %w", err)
	}
	return nil
}

// unsteer ends what another process's steer began. What it left behind picks listeners that are not there any more, which the kernel takes for no choice
// at all; but with other numbers of listeners some would be preferred.
func (s *Server) unsteer() error {
	listener, err := listenerOn(s.public.addr)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(listener, unix.SOL_SOCKET, unix.SO_DETACH_REUSEPORT_BPF, 0); err != nil && err != unix.ENOENT {
		return fmt.Errorf("steer new connections no more: %w", err)
	}
	return nil
}

// listenerOn looks for a listener of this process: gnet gives only the first.
func listenerOn(address string) (fd int, err error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return -1, err
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1, fmt.Errorf("look for the listeners: %w", err)
	}
	for _, entry := range open {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listens == 0 {
			continue
		}
		// Listeners at another address with the same port are none of gnet's.
		if shared, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT); err != nil || shared == 0 {
			continue
		}
		bound, err := unix.Getsockname(fd)
		if err != nil {
			continue
		}
		var its int
		switch a := bound.(type) {
		case *unix.SockaddrInet4:
			its = a.Port
		case *unix.SockaddrInet6:
			its = a.Port
		}
		if strconv.Itoa(its) == port {
			return fd, nil
		}
	}
	return -1, fmt.Errorf("no listener of this process is on %s", address)
}
