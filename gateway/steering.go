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
// among the others, by their places in the kernel's list. There whoever listens stands behind those that are there.
//
// When a listener is closed the last of the list takes its place, and the list is shorter. What a filter picks behind its end goes to any listener at all: while
// the old ones are closed, one after the other, to one that is closed next. With fewer new ones than old the first of the list is given all instead, see closeEach.

// steer gives all new connections of the listener's address to some of the list: count of them, at random, behind the first ones.
func steer(listener, first, count int) error {
	const random = 0xfffff000 + 56 // SKF_AD_OFF + SKF_AD_RANDOM of linux/filter.h
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: random},
		{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: uint32(count)},
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

// unsteer ends what steer began before this server took over. What it left behind picks a listener that is not there any more, which the kernel
// takes for no choice at all; but with other numbers of listeners some would be preferred.
func (s *Server) unsteer() {
	listeners, err := listenersOn(s.public.addr)
	if err == nil {
		err = unix.SetsockoptInt(listeners[0], unix.SOL_SOCKET, unix.SO_DETACH_REUSEPORT_BPF, 0)
	}
	if err != nil && err != unix.ENOENT {
		s.log.Warn("new connections may be spread unevenly over the loops", "err", err)
	}
}

// listenersOn looks for the listeners of this process: gnet gives only the first.
func listenersOn(address string) (listeners []int, err error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, fmt.Errorf("look for the listeners: %w", err)
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
			listeners = append(listeners, fd)
		}
	}
	if len(listeners) == 0 {
		return nil, fmt.Errorf("no listener of this process is on %s", address)
	}
	return listeners, nil
}
