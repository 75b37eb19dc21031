// Package floor measures what a delivery costs at least on this machine, whatever the program: one write to a TCP socket on loopback, and
// one read of it behind an epoll_wait. What a server and a load generator use for a delivery is held against these. It owns
// its sockets and threads, and leaves none.
package floor

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"rookery/bench/result"
)

const (
	// fewest and most are the sockets that are written to. A write to one of thousands finds nothing of it in the processor's caches and
	// costs twice what it costs with 64, so there are as many as the run has connections, as far as that changes anything.
	fewest, most = 64, 5000
	// frameBytes is what framing adds to a body, so that 128 bytes are a write of 160.
	frameBytes = 32
	atLeast    = 4 // rounds
)

// Measure writes and reads for so long, frames for bodies of size bytes to as many sockets as there are connections, each frame with a
// call of its own. The times are the CPU times of the writing and of the reading thread, by frame. It needs two descriptors for
// each socket and takes half of what the process may open at most.
func Measure(size, connections int, length time.Duration) (f result.Floor, err error) {
	f.Bytes = size + frameBytes
	f.Sockets = max(fewest, min(connections, most))
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil {
		f.Sockets = max(1, min(f.Sockets, int(files.Cur/4)))
	}
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return f, fmt.Errorf("measure the floor: %w", err)
	}
	defer listener.Close()
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	var writers, readers []int
	for range f.Sockets {
		w, r, err := pair(listener)
		if err != nil {
			return f, fmt.Errorf("measure the floor: %w", err)
		}
		fds = append(fds, w, r)
		writers, readers = append(writers, w), append(readers, r)
	}
	reader, err := newReader(readers)
	if err != nil {
		return f, fmt.Errorf("measure the floor: %w", err)
	}
	read := make(chan time.Duration, 1)
	rounds := make(chan int64)  // what has to be there in all
	arrived := make(chan error) // it is
	go func() { read <- reader.loop(rounds, arrived) }()
	wrote, n, err := write(writers, make([]byte, f.Bytes), length, rounds, arrived)
	close(rounds)
	taken := <-read
	if err != nil {
		return f, fmt.Errorf("measure the floor: %w", err)
	}
	f.WriteSeconds, f.ReadSeconds = wrote.Seconds()/float64(n), taken.Seconds()/float64(n)
	return f, nil
}

// pair gives two ends of a connection, the second of which does not block.
func pair(listener *net.TCPListener) (w, r int, err error) {
	address := listener.Addr().(*net.TCPAddr)
	if r, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, 0, err
	}
	if err := unix.Connect(r, &unix.SockaddrInet4{Port: address.Port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		unix.Close(r)
		return 0, 0, err
	}
	conn, err := listener.AcceptTCP()
	if err == nil {
		defer conn.Close()
		w, err = duplicate(conn)
	}
	if err == nil {
		err = errors.Join(unix.SetNonblock(r, true), unix.SetsockoptInt(w, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	}
	if err != nil {
		unix.Close(r)
		return 0, 0, err
	}
	return w, r, nil
}

func duplicate(conn *net.TCPConn) (fd int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlled := raw.Control(func(original uintptr) { fd, err = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(err, controlled)
}

// write gives the thread's time for n frames. A round is a frame to each socket; the next begins when all are read, so that a read is of
// one frame.
func write(fds []int, frame []byte, length time.Duration, rounds chan<- int64, arrived <-chan error) (used time.Duration, n int64, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	total := int64(0)
	for begun, round := time.Now(), 0; round < atLeast || time.Since(begun) < length; round++ {
		total += int64(len(fds) * len(frame))
		rounds <- total
		from := threadTime()
		for _, fd := range fds {
			if m, err := unix.Write(fd, frame); err != nil || m < len(frame) {
				return 0, 0, errors.Join(err, fmt.Errorf("wrote %d of %d bytes", m, len(frame)))
			}
		}
		used += threadTime() - from
		n += int64(len(fds))
		if err := <-arrived; err != nil {
			return 0, 0, err
		}
	}
	return used, n, nil
}

type reader struct {
	poll   int
	buffer []byte
}

func newReader(fds []int) (*reader, error) {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	for _, fd := range fds {
		if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			unix.Close(poll)
			return nil, err
		}
	}
	return &reader{poll: poll, buffer: make([]byte, 64<<10)}, nil
}

// loop gives the thread's time. It is started by Measure and ends when rounds is closed, or with an error on arrived.
func (r *reader) loop(rounds <-chan int64, arrived chan<- error) (used time.Duration) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer unix.Close(r.poll)
	events := make([]unix.EpollEvent, 256)
	total := int64(0)
	for want := range rounds {
		from := threadTime()
		var failed error
		for total < want && failed == nil {
			n, err := unix.EpollWait(r.poll, events, 5000)
			if n == 0 || err != nil && !errors.Is(err, unix.EINTR) {
				failed = errors.Join(err, fmt.Errorf("%d of %d bytes came", total, want))
			}
			for _, event := range events[:max(n, 0)] {
				if m, _ := unix.Read(int(event.Fd), r.buffer); m > 0 {
					total += int64(m)
				}
			}
		}
		used += threadTime() - from
		arrived <- failed
	}
	return used
}

// threadTime is the CPU time of the calling thread.
func threadTime() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) // can't fail for this clock
	return time.Duration(ts.Nano())
}
