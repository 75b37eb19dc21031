package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// How the old listeners go, when other ones are there: nobody who is in one of their queues or on the way there may be lost with them.

const (
	// lingering is how long nothing has to come before the listeners are closed.
	lingering = 250 * time.Millisecond
	// lingeringMost is how long connections may keep coming, which they only do where the kernel was not steered.
	lingeringMost = 10 * time.Second
	// handshaking is how long is waited for handshakes that are half done: the second time that the kernel asks who does not answer it.
	handshaking = 3 * time.Second
	// changeover is how long a packet may take that meets a filter just before it is replaced.
	changeover = 10 * time.Millisecond
	// reaching is how long a connection of our own to a listener may take.
	reaching = time.Second
)

// departing are further descriptors of the listeners that gnet has: with them these, and who waits in their queues, outlive it.
type departing []int

// depart is called when this process has no other listeners on the address yet.
func depart(address string) (d departing, err error) {
	listeners, err := listenersOn(address)
	if err != nil {
		return nil, err
	}
	for _, listener := range listeners {
		fd, err := unix.FcntlInt(uintptr(listener), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			d.close()
			return nil, fmt.Errorf("hold on to a listener of %s: %w", address, err)
		}
		d = append(d, fd)
	}
	return d, nil
}

func (d departing) close() {
	for _, fd := range d {
		unix.Close(fd)
	}
}

// waiting is how many connections are in the queues: one whose loop has no processor is not empty because nothing comes out of it.
func (d departing) waiting() (n int) {
	for _, fd := range d {
		// Of a listener this field is the length of its queue: tcp_get_info in the kernel's net/ipv4/tcp.c.
		if info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n += int(info.Unacked)
		}
	}
	return n
}

// accept takes out who is in the queues. The descriptors are the caller's.
func (d departing) accept() (came []int) {
	for _, listener := range d {
		came = append(came, acceptFrom(listener, math.MaxInt)...)
	}
	return came
}

// acceptFrom takes out who is in a listener's queue, so many at most. The descriptors are the caller's.
func acceptFrom(listener, most int) (came []int) {
	for len(came) < most {
		fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err == unix.EINTR || err == unix.ECONNABORTED {
			continue
		}
		if err != nil {
			break
		}
		came = append(came, fd)
	}
	return came
}

// closeEach closes the listeners one after the other, when no gnet accepts from them any more. Its error is one of give or settle; warn is told, or given
// nil, whether who connects meanwhile may be refused. give is given who came until then; others is how
// many other listeners there are. settle returns when nobody is on the way to a listener that is given nothing new any more.
func (d departing) closeEach(address string, others int, give func(came []int) error, settle func(departing) error, warn func(error)) (err error) {
	if len(d) == 0 {
		return nil
	}
	if others < len(d) {
		// There are too few for what is below. The first of all keeps its place whichever other one is closed: it is given all until it is the only old one.
		err = give(d.accept())
		front, came, unknown := d.front(address)
		if err = errors.Join(err, give(came)); unknown == nil {
			first, rest := departing{d[front]}, slices.Delete(slices.Clone(d), front, front+1)
			err = errors.Join(err, rest.closeInTurn(give))
			warn(steer(d[front], 1, others))
			return errors.Join(err, settle(first), first.closeInTurn(give))
		}
		warn(unknown)
	}
	// The first behind the old ones keeps its place until the last of these is closed, and then there are only new ones to choose from: with as many of
	// those at least.
	warn(steer(d[0], len(d), 1))
	time.Sleep(changeover)
	return errors.Join(err, d.closeInTurn(give))
}

func (d departing) closeInTurn(give func(came []int) error) (err error) {
	for i, listener := range d {
		err = errors.Join(err, give(d[i:].accept()))
		unix.Close(listener)
	}
	return err
}

// front gives all new connections to the listener that is the first of the kernel's list, and says which of d that is: the one that a connection of our
// own comes to, since the kernel does not say it. came are others that it met there.
func (d departing) front(address string) (place int, came []int, err error) {
	if err := steer(d[0], 0, 1); err != nil {
		return 0, nil, err
	}
	time.Sleep(changeover)
	own, err := net.DialTimeout("tcp", address, reaching)
	if err != nil {
		return 0, nil, fmt.Errorf("look which listener is the first: %w", err)
	}
	defer own.Close()
	for begun := time.Now(); time.Since(begun) < reaching; time.Sleep(time.Millisecond) {
		for i, listener := range d {
			for _, fd := range (departing{listener}).accept() {
				if !isPeer(fd, own) {
					came = append(came, fd)
					continue
				}
				unix.Close(fd)
				return i, append(came, departing{listener}.accept()...), nil
			}
		}
	}
	return 0, came, errors.New("look which listener is the first: a connection of our own came to none")
}

// isPeer says whether a socket is the other end of a connection.
func isPeer(fd int, c net.Conn) bool {
	peer, err := unix.Getpeername(fd)
	if err != nil {
		return false
	}
	from := c.LocalAddr().(*net.TCPAddr)
	switch a := peer.(type) {
	case *unix.SockaddrInet4:
		return a.Port == from.Port && from.IP.Equal(a.Addr[:])
	case *unix.SockaddrInet6:
		return a.Port == from.Port && from.IP.Equal(a.Addr[:])
	}
	return false
}

// gather keeps who is in the queues of listeners that no gnet accepts from.
func (s *Server) gather(old departing) {
	for _, fd := range old.accept() {
		s.engine.Keep(fd)
	}
}

// gatherLoop has nobody wait in vain for a place in a queue, until done. Started and ended by awaitServing.
func (s *Server) gatherLoop(old departing, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-time.After(lingering / 5):
		}
		s.gather(old)
	}
}

// leave gives on what the old listeners are still given, until that is nothing any more, and closes them: the engine has ended, and the next server has
// others.
func (s *Server) leave(old departing, others int, give func(descriptors []int) error) {
	handOn := func(came []int) error {
		if len(came) == 0 {
			return nil
		}
		defer departing(came).close()
		return give(came)
	}
	warn := func(err error) {
		if err != nil {
			s.log.Warn("who connects while the listeners are closed may be refused", "err", err)
		}
	}
	if len(old) > 0 {
		warn(steer(old[0], len(old), others))
	}
	until := time.Now().Add(lingeringMost)
	err := s.linger(old, until, func() []int { s.gather(old); return s.engine.Late() }, handOn)
	settle := func(last departing) error { return s.linger(last, until, last.accept, handOn) }
	if err = errors.Join(err, handOn(s.engine.Late()), old.closeEach(s.public.addr, others, handOn, settle, warn)); err != nil {
		s.log.Error("what the listeners still accepted is lost", "err", err)
	}
}

// linger returns when the old listeners are given nothing any more, and behind until at the latest. next gives who has come since the last time.
func (s *Server) linger(old departing, until time.Time, next func() []int, handOn func(came []int) error) error {
	time.Sleep(changeover)
	begun, half := time.Now(), halfOpen(s.public.addr)
	for quiet := begun; ; time.Sleep(5 * time.Millisecond) {
		late := next()
		if err := handOn(late); err != nil {
			return err
		}
		switch {
		case time.Now().After(until):
			s.log.Warn("the old listeners are closed while connections still come to them: some may be refused", "after", lingeringMost)
			return nil
		case len(late) > 0 || old.waiting() > 0:
			quiet = time.Now()
		case time.Since(quiet) < lingering:
		case len(half) == 0 || time.Since(begun) > handshaking:
			return nil
		default:
			time.Sleep(lingering / 5) // with many connections it is a long list
			now := halfOpen(s.public.addr)
			for peer := range half {
				if !now[peer] {
					delete(half, peer)
				}
			}
		}
	}
}

// halfOpen gives the peers of the address's port whose handshakes are half done: they belong to a listener and are not in its queue yet. The kernel says of none to which.
func halfOpen(address string) map[string]bool {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil
	}
	half, ending := map[string]bool{}, fmt.Sprintf(":%04X", number)
	for _, name := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		file, err := os.Open(name)
		if err != nil {
			continue // without IPv6 there is no list of it
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			// Number, own address, the peer's, state: of proc(5). 03 is SYN_RECV.
			if !bytes.Contains(lines.Bytes(), []byte(" 03 ")) {
				continue
			}
			if f := strings.Fields(lines.Text()); len(f) > 3 && f[3] == "03" && strings.HasSuffix(f[1], ending) {
				half[f[2]] = true
			}
		}
		file.Close()
	}
	return half
}
