package gateway

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listeners that gnet does not have, by the settings that give their addresses.
const (
	adminListener     = "admin"
	secureListenIn    = "tls.listen"
	challengeListenIn = "tls.acme.http"
	socketListener    = "proxy.socket"
)

// handed are further descriptors of those listeners, for whoever takes over: with them a socket, and who waits in its queue, outlives
// the listener of this process.
type handed map[string]int

// hold keeps a descriptor of a listener; nil is none.
func (h handed) hold(setting string, l net.Listener) error {
	if l == nil {
		return nil
	}
	fd, err := descriptorOf(l)
	if err != nil {
		return fmt.Errorf("hold on to the listener of the setting %s: %w", setting, err)
	}
	h[setting] = fd
	return nil
}

// holdListeners keeps descriptors of all that there are.
func (s *Server) holdListeners() error {
	err := errors.Join(s.handed.hold(adminListener, s.admin), s.handed.hold(secureListenIn, s.secure.listener),
		s.handed.hold(challengeListenIn, s.secure.challenges))
	if s.socket != nil {
		err = errors.Join(err, s.handed.hold(socketListener, s.socket.listener))
	}
	return err
}

// list gives settings and descriptors in one order.
func (h handed) list() (settings []string, descriptors []int) {
	for _, setting := range slices.Sorted(maps.Keys(h)) {
		settings, descriptors = append(settings, setting), append(descriptors, h[setting])
	}
	return settings, descriptors
}

// close lets them go. A second call does nothing.
func (h handed) close() {
	for setting, fd := range h {
		unix.Close(fd)
		delete(h, setting)
	}
}

// inheritListeners makes listeners of descriptors, which stay the caller's.
func inheritListeners(settings []string, descriptors []int) (listeners map[string]net.Listener, err error) {
	listeners = map[string]net.Listener{}
	defer func() {
		if err != nil {
			closeAll(listeners)
		}
	}()
	if len(settings) != len(descriptors) {
		return nil, fmt.Errorf("%d listeners came with %d descriptors", len(settings), len(descriptors))
	}
	for i, setting := range settings {
		if listeners[setting], err = listenerOf(descriptors[i]); err != nil {
			return nil, fmt.Errorf("take the listener of the setting %s: %w", setting, err)
		}
	}
	return listeners, nil
}

func closeAll(listeners map[string]net.Listener) {
	for _, l := range listeners {
		if l != nil {
			l.Close()
		}
	}
}

// listener is the one of a setting that came from the server before, nil if none did.
func (in *inheritance) listener(setting string) net.Listener {
	if in == nil {
		return nil
	}
	return in.listeners[setting]
}

// listenerOf makes a listener of a descriptor, which stays the caller's.
func listenerOf(fd int) (net.Listener, error) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(own), "listener")
	defer file.Close()
	return net.FileListener(file)
}

// descriptorOf is another descriptor of a listener. File would do it, but make the socket a blocking one.
func descriptorOf(l net.Listener) (fd int, err error) {
	raw, err := l.(syscall.Conn).SyscallConn()
	if err != nil {
		return -1, err
	}
	var failed error
	err = raw.Control(func(own uintptr) { fd, failed = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(err, failed)
}
