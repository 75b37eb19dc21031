package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rookery/gateway/internal/accept"
	"rookery/gateway/internal/audit"
	"rookery/gateway/internal/identity"
	"rookery/gateway/internal/loop"
	"rookery/gateway/internal/presence"
	"rookery/gateway/internal/takeover"
)

// The side of a takeover that takes: another process, or the one that gave and was left with it.

// inheritance is what a server goes on with.
type inheritance struct {
	address   string
	listeners map[string]net.Listener // by their settings
	bundle    *takeover.Bundle
	// departing are listeners on the same address that are this process's until served has ended.
	departing departing
	// succession and audit are those of the server before, if it was one of this process.
	succession *sync.Mutex
	audit      *audit.Log
	// reading, if it is not nil, is called once, when it is read again what clients have sent.
	reading func()
	// served is called once, with the server when it serves, or with nil if it has ended before. It ends when nothing more comes of whom the
	// server took over from, or with ctx.
	served func(ctx context.Context, s *Server)
}

// TakeOver makes a server that goes on with the connections, the sessions and the log of the one that runs with the same data directory. It
// returns when that has given them, and Run has to follow at once. With an error the other one goes on, and this process has to end.
func TakeOver(cfg Config, logger *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if _, err := descriptorLimit(); err != nil {
		return nil, err
	}
	socket, err := dialIn(cfg.Data)
	if err != nil {
		return nil, fmt.Errorf("take over from the server with the data in %s (setting data): %w: is there one that runs?", cfg.Data, err)
	}
	channel := takeover.NewChannel(socket)
	s, err := takeOver(cfg, logger, channel, giving+cfg.Drain.Timeout)
	if err != nil {
		channel.Close()
		return nil, fmt.Errorf("take over: %w", err)
	}
	return s, nil
}

// dialIn connects to the server that runs with a data directory. One that has taken over a moment ago itself listens when its predecessor has
// left.
func dialIn(dir string) (socket *net.UnixConn, err error) {
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err = throughDirectory(dir, func(name string) (err error) {
			socket, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: name, Net: "unix"})
			return err
		})
		missing := errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT)
		if !missing || time.Since(begun) > settling {
			return socket, err
		}
	}
}

// giving is how long the other process may take for each step, beside what its requests under way may: it closes its log meanwhile, which waits for the disk.
const giving = time.Minute

// settling is how long a server may take until somebody else can take over from it.
const settling = 3 * time.Second

// takeOver is TakeOver with an open channel. The other process has patience for each step, with openingEach more for each connection.
func takeOver(cfg Config, logger *slog.Logger, channel *takeover.Channel, patience time.Duration) (_ *Server, err error) {
	channel.Deadline(time.Now().Add(preparing))
	if err := channel.SendJSON(takeover.Hello, greetingOf(cfg)); err != nil {
		return nil, err
	}
	welcome, err := channel.Await(takeover.Welcome)
	if err != nil {
		return nil, err
	}
	defer welcome.Close()
	var g greeting
	if err := decodeJSON(welcome.Payload, &g); err != nil {
		return nil, err
	}
	in := &inheritance{address: g.Listen}
	if in.listeners, err = inheritListeners(g.Handed, welcome.Descriptors); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			closeAll(in.listeners)
		}
	}()
	makeRoom(g.Connections)
	if err := channel.Send(takeover.Prepared, nil); err != nil {
		return nil, err
	}
	patience += time.Duration(g.Connections) * openingEach
	if in.bundle, err = channel.ReceiveBundle(patience); err != nil {
		return nil, silence(fmt.Errorf("receive connections: %w", err), patience)
	}
	in.reading = func() { _ = channel.Send(takeover.Reading, nil) } // an error is that it has ended, which takeLate hears, too
	in.served = func(ctx context.Context, s *Server) {
		if s != nil {
			s.takeLate(ctx, channel, leavingTime+time.Duration(g.Connections)*openingEach)
		}
		channel.Close()
	}
	s, err := newServer(cfg, logger, in)
	if err != nil {
		in.bundle.Close()
		return nil, err
	}
	logger.Info("taking over", "connections", in.bundle.Len())
	if err := awaitGo(channel, patience, logger); err != nil {
		in.bundle.Close()
		return nil, err
	}
	channel.Deadline(time.Time{})
	return s, nil
}

// awaitGo says that all is there, and waits for the word that it is this process's. With an error it is not, and may never be touched.
func awaitGo(channel *takeover.Channel, patience time.Duration, logger *slog.Logger) error {
	channel.Deadline(time.Now().Add(patience))
	err := channel.Send(takeover.Opened, nil)
	if err == nil {
		_, err = channel.Await(takeover.Go)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded): // it has stopped, and may go on with all of it when it does not any more
		return silence(fmt.Errorf("wait for the word to go on: %w", err), patience)
	case err != nil && !isEnd(err):
		// The end of the stream is the other process's: it does not close it before it has seen to it that this one is dead.
		logger.Warn("the process that gave its connections away ended in the middle", "err", err)
	}
	return nil
}

// silence says what it means if an error is that nothing came in time.
func silence(err error, patience time.Duration) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: the other process has said nothing for %v; is it stopped, or does its disk not answer?", err, patience)
	}
	return err
}

// roomForEach is what a connection takes of the heap in the end.
const roomForEach = 1 << 10

// makeRoom has the kernel make room for so many connections before anybody waits for it. A table of descriptors that grows by and by waits at each step until
// all processors have done something else, some milliseconds; and memory that is new costs more than what is put there.
func makeRoom(connections int) {
	if fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC); err == nil {
		// Over the limit there is none, and then the table grows as it must.
		if last, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, connections+fd); err == nil {
			unix.Close(last)
		}
		unix.Close(fd)
	}
	const block = 64 << 10
	blocks := make([][]byte, connections*roomForEach/block)
	for i := range blocks {
		blocks[i] = make([]byte, block)
		for at := 0; at < block; at += os.Getpagesize() {
			blocks[i][at] = 1
		}
	}
	runtime.GC() // they are free now, and still the process's
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) }

// leavingTime is how long the other process takes at most to leave when this one serves, with openingEach more for each connection that it closes: beyond
// that it is stopped, or hangs.
const leavingTime = ending + lingeringMost + receiving

// takeLate takes what the other process's listeners still accept, until it has left. That has no bound but the end of ctx, for as long as it is there nobody may
// take over from this one, and who comes to its listeners is lost if nobody takes them. If it lasts longer than within the log says what to do.
func (s *Server) takeLate(ctx context.Context, channel *takeover.Channel, within time.Duration) {
	defer context.AfterFunc(ctx, func() { channel.Close() })()
	defer time.AfterFunc(within, func() {
		s.log.Error("the process that was taken over from has not ended: it may have new connections that wait, and until it has nobody takes over from this one; if it is stopped, end it", "after", within)
	}).Stop()
	if err := channel.SendJSON(takeover.Serving, servingMessage{s.loops}); err != nil {
		return // it has ended
	}
	for {
		m, err := channel.Receive()
		if err != nil {
			if ctx.Err() == nil {
				s.unsteer()
			}
			return
		}
		if err := s.enter(m.Descriptors); err != nil {
			s.lateLine.Log(s.log, slog.LevelWarn, "connections were accepted and not taken", "err", err)
		}
		m.Close()
	}
}

// enter gives connections to the loops. The descriptors stay the caller's.
func (s *Server) enter(descriptors []int) error {
	for _, fd := range descriptors {
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("duplicate a descriptor: %w", err)
		}
		if err := s.enterFile(os.NewFile(uintptr(own), "connection")); err != nil {
			s.lateLine.Log(s.log, slog.LevelWarn, "a connection was accepted and not taken", "err", err)
		}
	}
	return nil
}

// enterFile gives a loop the connection that a file is of, and closes the file.
func (s *Server) enterFile(file *os.File) error {
	socket, err := net.FileConn(file)
	file.Close()
	if err != nil {
		return fmt.Errorf("make a connection of a descriptor: %w", err)
	}
	if socket.RemoteAddr() == nil {
		socket.Close() // its peer has left
		return nil
	}
	var from netip.Addr
	if a, ok := socket.RemoteAddr().(*net.TCPAddr); ok {
		from, _ = netip.AddrFromSlice(a.IP)
	}
	return s.engine.Enter(socket, from)
}

// goOn makes a server of this process that takes what no other did. This one's background ends when it serves. errNoDisk, if late was done before. With a
// server it keeps s.succession locked, for Run.
func (s *Server) goOn(late context.Context, bundle *takeover.Bundle, old departing, background *sync.WaitGroup) (*Server, error) {
	s.engine.TakeBack(bundle)
	s.stopEngine()
	abandon := old.close
	listeners, err := inheritListeners(s.handed.list())
	if err != nil {
		bundle.Close()
		abandon()
		return nil, err
	}
	in := &inheritance{address: s.public.addr, listeners: listeners, bundle: bundle, departing: old, succession: s.succession, audit: s.audit}
	in.served = func(_ context.Context, next *Server) { // this process's leaving has its own bound
		if next == nil {
			abandon()
		} else {
			s.leave(old, next.loops, next.enter)
			next.unsteer()
		}
		background.Wait()
	}
	var next *Server
	if !before(late, func() {
		s.succession.Lock()
		cfg := s.cfg
		if read := s.read.Load(); read != nil {
			// With its secrets: what was withdrawn must not be good again.
			cfg = *withSettings(read, &s.cfg, func(name string) bool { return !s.canReload(name) })
			cfg.fs = s.cfg.fs
		}
		next, err = newServer(cfg, s.log, in)
	}) {
		return nil, errNoDisk
	}
	if err != nil {
		s.succession.Unlock()
		bundle.Close()
		abandon()
		return nil, fmt.Errorf("go on after a takeover that failed: %w", err)
	}
	return next, nil
}

// lineage is the lock of the servers of this process that this one follows, or a new one.
func (in *inheritance) lineage() *sync.Mutex {
	if in == nil || in.succession == nil {
		return new(sync.Mutex)
	}
	return in.succession
}

// auditLog is that of the server before, whose file is open, or a new one.
func (in *inheritance) auditLog(path string, log *slog.Logger) (*audit.Log, error) {
	if in == nil || in.audit == nil {
		return audit.Open(path, log)
	}
	return in.audit, nil
}

// carried adds what the loops take over to their configuration.
func (in *inheritance) carried(cfg *loop.Config) error {
	if in == nil {
		return nil
	}
	connections, generations, err := in.bundle.Spread(len(cfg.Inboxes))
	if err != nil {
		return err
	}
	cfg.Returning, cfg.Generations, cfg.Slow = connections, generations, in.bundle.Slow
	identity.SetTokenIDKey(in.bundle.TokenIDKey)
	return nil
}

// heirsLoop sees to what comes late of whom this server took over from, then waits for who takes over from this one: one of the two
// at a time, for the listeners of three would not know whose turn it is. Started by Run, whose end of ctx ends it.
func (s *Server) heirsLoop(ctx context.Context, heirs chan<- heir) {
	if s.inherited != nil {
		s.inherited.served(ctx, s)
		s.inherited = nil // nobody else looks at it any more, and it holds the states that came, and whom they are of
	}
	listener := s.listenForHeirs()
	if listener == nil {
		return
	}
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	defer listener.Close()
	coming := accept.On(listener, s.log, &s.accepts)
	for {
		conn, err := coming.Accept()
		if err != nil {
			return
		}
		socket := conn.(*net.UnixConn)
		ends := context.AfterFunc(ctx, func() { socket.Close() }) // or one that says nothing would hold the end up
		h, err := s.meet(takeover.NewChannel(socket))
		ends()
		if err != nil {
			s.log.Warn("a process that wanted to take over does not", "err", err)
			continue
		}
		select {
		case heirs <- h:
		case <-ctx.Done():
			h.close()
		}
		return
	}
}

func decodeJSON(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read what the other process says: %w", err)
	}
	return nil
}

// watched is what those were told who watch the presence in rooms.
func (in *inheritance) watched() (list []presence.Watched) {
	if in == nil {
		return nil
	}
	for _, w := range in.bundle.Watched {
		list = append(list, presence.Watched(w))
	}
	return list
}

// takeConnections takes in the connections that this server goes on with.
func (s *Server) takeConnections(ended <-chan error) error {
	if s.inherited == nil {
		close(s.hears)
		return nil
	}
	restored := make(chan error, 1)
	go func() { restored <- s.land() }()
	select {
	case err := <-ended:
		return err
	case err := <-restored:
		if err != nil {
			s.stopEngine() // or it would go on to accept connections, and the process with it
			return err
		}
	}
	// Not at once: the first collection takes both processors of a small machine for a while, and now they are needed for those who have waited.
	time.AfterFunc(memoryEvery, func() { close(s.hears) })
	if s.inherited.reading != nil {
		s.inherited.reading()
	}
	return nil
}
