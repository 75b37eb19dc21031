package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rookery/gateway/internal/takeover"
)

// The side of a takeover that gives. What is said is in package takeover.

const (
	// takeoverSocket is in the data directory, which is who may come: whoever may open the log.
	takeoverSocket = "takeover.sock"
	// preparing is how long the other process may take to read its configuration, receiving how long for a batch of connections, and opening how
	// long to open the log, with openingEach more for each connection whose state it has to understand: ten times what it took in a machine that is emulated.
	preparing   = 30 * time.Second
	receiving   = 30 * time.Second
	opening     = 30 * time.Second
	openingEach = 100 * time.Microsecond
	// landing is how long the heir may take until it serves, with landingEach more for each connection: far more than it took there.
	landing     = 2 * time.Minute
	landingEach = 2 * time.Millisecond
	// ending is how long the event loops may take to end, with openingEach more for each descriptor that they close.
	ending = 5 * time.Second
	// quieting is how long requests that are under way may take before their connections are sent away.
	quieting = 250 * time.Millisecond
)

// greeting is what the two processes tell each other of themselves.
type greeting struct {
	Version                       int
	Listen, Admin, Secure, Socket string   // the settings listen, admin, tls.listen and proxy.socket; of the old one Listen with its port
	Challenges                    string   // the setting tls.acme.http
	Handed                        []string // by the old one: listeners whose descriptors come with it, by their settings
	Connections                   int      // the same: how many will come
}

func greetingOf(c Config) greeting {
	return greeting{Version: takeover.Version, Listen: c.Listen, Admin: c.Admin, Secure: c.TLS.Listen, Challenges: c.TLS.ACME.HTTP, Socket: c.Proxy.Socket}
}

// servingMessage is what the new process says when it serves.
type servingMessage struct{ Listeners int }

// heir is who takes over, ready to be given all.
type heir struct {
	channel *takeover.Channel
	process int // its id
	handle  int // its pidfd
}

// listenForHeirs makes the socket. nil where there can't be one: then nobody takes over.
func (s *Server) listenForHeirs() *net.UnixListener {
	listener, err := listenIn(s.cfg.Data)
	if err != nil {
		s.log.Warn("no other process can take over from this one", "err", err)
		return nil
	}
	return listener
}

// throughDirectory calls fn with a name of the socket that is short enough, however long that of the directory is.
func throughDirectory(dir string, fn func(name string) error) error {
	open, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer open.Close()
	return fn(filepath.Join("/proc/self/fd", strconv.Itoa(int(open.Fd())), takeoverSocket))
}

func listenIn(dir string) (listener *net.UnixListener, err error) {
	err = throughDirectory(dir, func(name string) error {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err // it is of a process that has ended, or has given all away
		}
		listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", filepath.Join(dir, takeoverSocket), err)
	}
	listener.SetUnlinkOnClose(false) // it may be somebody else's by then
	return listener, nil
}

// meet looks at who wants to take over, and waits until it is prepared.
func (s *Server) meet(c *takeover.Channel) (_ heir, err error) {
	defer func() {
		if err != nil {
			_ = c.Send(takeover.Refusal, []byte(err.Error()))
			c.Close()
		}
	}()
	c.Deadline(time.Now().Add(preparing))
	who, err := c.Peer()
	if err != nil {
		return heir{}, fmt.Errorf("ask the kernel who it is: %w", err)
	}
	if int(who.Uid) != os.Geteuid() { // not root either: the kernel shares an address among processes of one user only
		return heir{}, fmt.Errorf("it is user %d, and this server's is %d", who.Uid, os.Geteuid())
	}
	var g greeting
	if err := receiveJSON(c, takeover.Hello, &g); err != nil {
		return heir{}, err
	}
	switch {
	case g.Version != takeover.Version:
		return heir{}, fmt.Errorf("this server hands over in version %d, and the other program takes version %d: stop this one and start that", takeover.Version, g.Version)
	}
	ours, theirs := greetingOf(s.cfg), g
	for _, address := range []struct{ setting, here, there string }{
		{"listen", ours.Listen, theirs.Listen}, {adminListener, ours.Admin, theirs.Admin},
		{secureListenIn, ours.Secure, theirs.Secure}, {challengeListenIn, ours.Challenges, theirs.Challenges},
		{socketListener, ours.Socket, theirs.Socket},
	} {
		if address.here != address.there {
			return heir{}, fmt.Errorf("the setting %s is %q here and %q there: an address changes with a restart", address.setting, address.here, address.there)
		}
	}
	ours.Listen, ours.Connections = s.public.addr, s.engine.Open()
	var descriptors []int
	ours.Handed, descriptors = s.handed.list()
	if err := c.SendJSON(takeover.Welcome, ours, descriptors...); err != nil {
		return heir{}, err
	}
	if _, err := c.Await(takeover.Prepared); err != nil {
		return heir{}, fmt.Errorf("wait until it is prepared: %w", err)
	}
	handle, err := unix.PidfdOpen(int(who.Pid), 0)
	if err != nil {
		return heir{}, fmt.Errorf("hold on to process %d: %w", who.Pid, err)
	}
	return heir{c, int(who.Pid), handle}, nil
}

// errNoDisk says that a takeover ends in the middle, and this process with it.
var errNoDisk = errors.New("the disk does not answer, amid a takeover, and the end of this process does not wait for it any longer: what was acknowledged is in the log, the next start reads its end again")

// lateEnd is done when this process was asked to end so long ago that it ends without a disk that does not answer: as long as the end of a process that hands
// nothing over waits. Nobody knows how far a takeover would have come, so it has the longer one of its times.
func (s *Server) lateEnd(ctx context.Context) (late context.Context, cancel func()) {
	late, over := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(max(s.cfg.Drain.Timeout, lastClosing)):
			over()
		case <-late.Done():
		}
	})
	return late, func() {
		stop()
		over()
	}
}

// give gives everything to the heir. When it comes back without an error the connections and the log are the other process's. With one
// they are ours, in the bundle, and the other process has ended; but with errNoDisk nobody may go on with them, since late was done before.
func (s *Server) give(ctx, late context.Context, h heir, admin adminServer) (*takeover.Bundle, error) {
	begun := time.Now()
	s.log.Info("handing over", "to", h.process, "connections", s.engine.Open())
	s.state.Store(leaving)
	// Who connects there waits in the queue of the socket, which is handed over with it.
	s.secure.close()
	if s.socket != nil {
		s.socket.leave()
	}
	s.usher.close()
	s.engine.Freeze(s.cfg.Drain.Window)
	s.api.Refuse()
	admin.leave()
	s.await(begun.Add(quieting), func() bool { return s.engine.Quiet() && s.api.Idle() })
	if !before(late, s.closeOwners) {
		h.kill()
		h.close()
		return nil, errNoDisk
	}
	s.await(time.Now().Add(s.cfg.Drain.Timeout), s.engine.Idle)
	bundle, left, lost := s.engine.Pack()
	for _, w := range s.presence.Watched() {
		bundle.Watched = append(bundle.Watched, takeover.Watched(w))
	}
	sent := make(chan error, 1)
	go func() { sent <- h.channel.SendBundle(bundle, receiving) }() // while the log is closed, which waits for the disk
	var unclean error
	if !before(late, func() { unclean = s.closeStorage(0) }) {
		h.kill()
		h.close()
		<-sent // before the descriptors are closed
		return nil, errNoDisk
	}
	if unclean != nil {
		s.log.Error("the log was not closed cleanly", "err", unclean)
	}
	closed := time.Now()
	if left > 0 {
		s.log.Warn("connections were sent away: the process has their records of TLS, or what they had asked for was not answered in time, or was HTTP", "connections", left)
	}
	if lost > 0 {
		s.log.Warn("ephemeral messages were lost that waited for full sockets: limits.outbound_bytes and limits.outbound_total_bytes bound what goes along", "messages", lost)
	}
	err := <-sent
	if err == nil {
		err = ctx.Err() // who ends this server meanwhile means the other one, too
	}
	if err == nil {
		err = h.take(bundle.Len())
	}
	if err != nil {
		if !h.end(late) {
			return nil, errNoDisk
		}
		return bundle, err
	}
	s.log.Info("handed over", "to", h.process, "connections", bundle.Len(), "late", left, "bytes", h.channel.Sent(),
		"closing", closed.Sub(begun).Round(time.Millisecond), "took", time.Since(begun).Round(time.Millisecond))
	return nil, nil
}

// await polls, since the loops have no one to tell: they end with it. To ask takes them a part of the time at most.
func (s *Server) await(until time.Time, done func() bool) {
	for asked := time.Now(); !done() && asked.Before(until); asked = time.Now() {
		time.Sleep(min(10*time.Millisecond, max(time.Millisecond, time.Since(asked))))
	}
}

// take has the heir take so many connections, which it has been sent. After the last word, Go, nothing goes back.
func (h *heir) take(connections int) error {
	h.channel.Deadline(time.Now().Add(opening + time.Duration(connections)*openingEach))
	if err := h.channel.Send(takeover.Everything, nil); err != nil {
		return err
	}
	if _, err := h.channel.Await(takeover.Opened); err != nil {
		return fmt.Errorf("wait until the other process has opened the log: %w", err)
	}
	return h.channel.Send(takeover.Go, nil)
}

// end sees to it that the other process is dead: it has the connections too. False, if it waits for the disk in the kernel, which lets none end that does, and
// late was done.
func (h *heir) end(late context.Context) bool {
	h.kill()
	if !before(late, h.wait) {
		return false
	}
	h.close()
	return true
}

func (h *heir) kill() {
	if h.process == os.Getpid() {
		panic("a process can't go on behind a takeover by itself that failed: both have the connections")
	}
	_ = unix.PidfdSendSignal(h.handle, unix.SIGKILL, nil, 0) // an error means that it has ended
}

// wait waits until it has ended.
func (h *heir) wait() {
	dead := []unix.PollFd{{Fd: int32(h.handle), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(dead, -1); err != unix.EINTR {
			break
		}
	}
}

func (h *heir) close() {
	h.channel.Close()
	unix.Close(h.handle)
}

// handOver gives everything to the heir, and this server is done. If the heir does not take it, the next server of this process goes on. background
// is what ends with the event loops.
func (s *Server) handOver(ctx context.Context, h heir, admin adminServer, background *sync.WaitGroup) (next *Server, err error) {
	old, err := depart(s.public.addr) // now, as long as all that are on it are this server's
	if err != nil {
		s.log.Warn("who connects while the listeners are closed may be refused", "err", err)
	}
	connections := s.engine.Open()
	late, cancel := s.lateEnd(ctx)
	defer cancel()
	bundle, err := s.give(ctx, late, h, admin)
	if errors.Is(err, errNoDisk) {
		s.stopEngine()
		old.close()
		return nil, err
	}
	if err != nil {
		s.log.Error("the other process did not take over, and has ended: this one goes on", "process", h.process, "err", err)
		return s.goOn(late, bundle, old, background)
	}
	defer h.close()
	s.heir.Store(int64(h.process))
	serves, err := s.awaitServing(h, old, landing+time.Duration(connections)*landingEach)
	if err != nil {
		s.log.Error("the other process does not serve, and has everything: if it is there, end it", "process", h.process, "err", err)
		s.stopEngine()
		old.close()
		return nil, nil
	}
	h.channel.Deadline(time.Now().Add(lingeringMost + receiving)) // of all that comes late: if it is taken no more, this one leaves all the same
	s.leave(old, serves.Listeners, h.give)
	return nil, nil
}

// awaitServing waits until the heir serves, for so long. Meanwhile the event loops are ended: with them the last descriptors go that this process has of the connections,
// and an end that the heir makes to one is heard by its peer.
func (s *Server) awaitServing(h heir, old departing, within time.Duration) (serves servingMessage, err error) {
	var gathering sync.WaitGroup
	done := make(chan struct{})
	gathering.Go(func() { s.gatherLoop(old, done) })
	defer gathering.Wait()
	defer close(done)
	h.channel.Deadline(time.Now().Add(within))
	if _, err := h.channel.Await(takeover.Reading); err != nil {
		return serves, err
	}
	s.stopEngine()
	return serves, receiveJSON(h.channel, takeover.Serving, &serves)
}

// give sends connections that were accepted late.
func (h *heir) give(descriptors []int) error {
	for some := range slices.Chunk(descriptors, takeover.MaxDescriptors) {
		if err := h.channel.Send(takeover.Late, nil, some...); err != nil {
			return err
		}
	}
	return nil
}

// stopEngine ends the loops, which have no connections any more.
func (s *Server) stopEngine() {
	ctx, cancel := context.WithTimeout(context.Background(), ending+time.Duration(s.engine.Open())*openingEach)
	defer cancel()
	if err := s.engine.Stop(ctx); err != nil {
		s.log.Error("the event loops did not end", "err", err)
	}
}

// Heir is the process that has taken over when Run has ended, 0 if none has. Safe for concurrent use.
func (s *Server) Heir() int { return int(s.current().heir.Load()) }

// current is this server, or the one that went on after a takeover that failed.
func (s *Server) current() *Server {
	if next := s.successor.Load(); next != nil {
		return next
	}
	return s
}

func receiveJSON(c *takeover.Channel, k takeover.Kind, v any) error {
	m, err := c.Await(k)
	if err != nil {
		return err
	}
	defer m.Close()
	return decodeJSON(m.Payload, v)
}
