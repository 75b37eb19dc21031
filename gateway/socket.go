package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"rookery/gateway/internal/accept"
	"rookery/gateway/internal/rate"
)

const (
	// socketAcceptors is how many connections of the Unix socket are being accepted at the same time. Each waits for a turn of a loop.
	socketAcceptors = 4
	// socketDescriptors are the listener, and for each that is being accepted the socket and the loop's duplicate.
	socketDescriptors = 1 + 2*socketAcceptors
	// newSocketEnding is that of the path under which a socket is made.
	newSocketEnding = ".new"
	// acceptPause is how long nothing is accepted after a fault, which would come again at once.
	acceptPause = 100 * time.Millisecond
)

// proxySocket is the Unix socket for proxies of this machine. gnet can't have it: a listener that is no TCP one turns SO_REUSEPORT off
// for all. So it is accepted here, and each connection given to a loop.
type proxySocket struct {
	// Set by listenSocket.
	listener *net.UnixListener
	path     string
	made     fs.FileInfo

	closing   chan struct{}
	acceptors sync.WaitGroup
	line      rate.Line
}

// listenSocket makes the socket, or goes on with that of the server before. What a server that is no more has left at its path is taken
// away, and nothing else.
func listenSocket(path string, mode fs.FileMode, inherited net.Listener) (*proxySocket, error) {
	if l, ok := inherited.(*net.UnixListener); ok {
		info, err := os.Lstat(path)
		if err == nil {
			err = os.Chmod(path, mode)
		}
		if err == nil {
			return &proxySocket{listener: l, path: path, made: info, closing: make(chan struct{})}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		l.Close() // somebody has taken its file away: nobody comes that way any more
	}
	if err := clearSocket(path); err != nil {
		return nil, err
	}
	// It is made under another name, and moved when it has its permissions: no moment in which others could connect.
	made := path + newSocketEnding
	if err := clearSocket(made); err != nil {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false) // it would unlink the name that it was made under
	info, err := os.Lstat(made)
	err = errors.Join(err, os.Chmod(made, mode))
	if err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		listener.Close()
		os.Remove(made)
		return nil, err
	}
	return &proxySocket{listener: listener, path: path, made: info, closing: make(chan struct{})}, nil
}

// clearSocket removes a socket at which nobody listens.
func clearSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is no socket: choose another path, or take it away", path)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return fmt.Errorf("another process listens on %s: choose another path, or end it", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("see whether anybody listens on the socket that is there: %w", err)
	}
	return os.Remove(path)
}

// serve begins to accept; close ends it.
func (s *proxySocket) serve(enter func(net.Conn, netip.Addr) error, faults *accept.Faults, log *slog.Logger) {
	for range socketAcceptors {
		s.acceptors.Go(func() { s.acceptLoop(enter, faults, log) })
	}
}

// acceptLoop gives connections to the loops, whose admission counts them. Started by serve, ended by close.
func (s *proxySocket) acceptLoop(enter func(net.Conn, netip.Addr) error, faults *accept.Faults, log *slog.Logger) {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			err = enter(conn, netip.Addr{})
		} else {
			faults.Count(err)
		}
		if err == nil {
			continue
		}
		s.line.Log(log, slog.LevelError, "accept a connection of the Unix socket", "socket", s.path, "err", err)
		select {
		case <-s.closing:
			return
		case <-time.After(acceptPause):
		}
	}
}

// leave ends accepting. Who waits is another's, who has the socket too.
func (s *proxySocket) leave() {
	close(s.closing)
	s.listener.Close()
	s.acceptors.Wait()
}

// close ends accepting and takes the file away, unless it is another's by now.
func (s *proxySocket) close() {
	s.leave()
	if info, err := os.Lstat(s.path); err == nil && os.SameFile(info, s.made) {
		os.Remove(s.path)
	}
}

// closeEntrances ends the Unix socket and the usher, while the loops still take what is being accepted.
func (s *Server) closeEntrances() {
	s.usher.close()
	if s.socket != nil {
		s.socket.close()
	}
}
